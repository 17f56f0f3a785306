package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"

	"causeway/controlplane/resource"
	"causeway/controlplane/secret"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	patience = 20 * time.Second
	service  = "accounts/a/endpointServices/orders"
	hmacKey  = "cwn_not-to-be-logged"
)

// rig is a store with notifications, and a deliverer on it that can be restarted.
type rig struct {
	t       *testing.T
	dir     string
	store   *store.Store
	cache   *store.Cache
	log     *logBuffer
	stop    func()
	secrets *secret.Box
	// allow, resolver and limits are those of the next start.
	allow    []netip.Prefix
	resolver *net.Resolver
	limits   limits
	ahead    time.Duration
	events   int
	d        *Deliverer
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{
		t: t, dir: t.TempDir(), log: &logBuffer{}, allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		limits: limits{retryFirst: time.Millisecond, retryMost: 20 * time.Millisecond, attempt: 2 * time.Second, storeRetry: time.Millisecond, pending: maxPending},
	}
	var err error
	r.secrets, err = secret.OpenFile(filepath.Join(t.TempDir(), "secrets.key"))
	must(t, err)
	r.open()
	t.Cleanup(func() { r.close() })
	return r
}

func (r *rig) open() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	var err error
	r.store, err = store.OpenEmbedded(ctx, r.dir, slog.New(slog.DiscardHandler))
	must(r.t, err)
}

func (r *rig) close() {
	r.t.Helper()
	if r.stop != nil {
		r.stop()
	}
	must(r.t, r.store.Close())
}

// start runs a deliverer until stop.
func (r *rig) start() {
	r.t.Helper()
	logger := slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	r.cache = store.NewCache(r.store, logger, Collections()...)
	ahead := r.ahead
	var err error
	r.d, err = New(Config{
		Store: r.store, Cache: r.cache, Guard: NewGuard(r.allow), Secrets: r.secrets, Resolver: r.resolver, Logger: logger,
		Now: func() time.Time { return time.Now().Add(ahead) },
	})
	must(r.t, err)
	r.d.limits = r.limits
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{r.cache.Run, r.d.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				r.t.Error(err)
			}
		})
	}
	r.stop = func() {
		cancel()
		running.Wait()
		r.stop = nil
	}
}

// commit commits a transaction that fill fills.
func (r *rig) commit(fill func(tx *store.Txn)) {
	r.t.Helper()
	tx := r.store.Begin()
	fill(tx)
	_, err := tx.Commit(r.t.Context())
	must(r.t, err)
}

// notification stores one that posts to a URL.
func (r *rig) notification(id, to string) string {
	r.t.Helper()
	name := service + "/notifications/" + id
	sealed, err := r.secrets.Seal([]byte(hmacKey), name)
	must(r.t, err)
	r.commit(func(tx *store.Txn) {
		resource.Notifications.Create(tx, name, &pb.Notification{Name: name, Uid: "vpce-nfn-" + id, Url: to})
		resource.NotificationKeys.Put(tx, name, &pb.NotificationKey{Secret: sealed})
	})
	return name
}

// event stores one for each of the notifications. Its id tells nothing of the order.
func (r *rig) event(notifications ...string) string {
	r.t.Helper()
	r.events++
	id := fmt.Sprintf("evt-%03d", (r.events*577)%1000)
	r.commit(func(tx *store.Txn) {
		for _, n := range notifications {
			resource.NotificationEvents.Put(tx, n+"/"+id, &pb.NotificationEvent{
				Id: id, Type: pb.Notification_CONNECT, Time: timestamppb.Now(), Region: "us-east-1",
				ServiceName: "com.causeway.vpce.us-east-1.vpce-svc-1", ServiceUid: "vpce-svc-1", EndpointUid: "vpce-1", ConsumerAccount: "accounts/b",
			})
		}
	})
	return id
}

func (r *rig) eventsOf(n int, notifications ...string) []string {
	r.t.Helper()
	var ids []string
	for range n {
		ids = append(ids, r.event(notifications...))
	}
	return ids
}

// eventually waits until done, looking at every change of the store and on a ticker.
func (r *rig) eventually(what string, done func() bool) {
	r.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			r.t.Fatalf("%s: not within %v; log:\n%s", what, patience, r.log)
		}
	}
}

func (r *rig) pending(notification string) int64 {
	n, err := resource.NotificationEvents.Count(r.t.Context(), r.store, notification)
	must(r.t, err)
	return n
}

func (r *rig) delivery(notification string) *pb.NotificationDelivery {
	v, err := resource.NotificationDeliveries.Get(r.t.Context(), r.store, notification)
	if err != nil {
		return &pb.NotificationDelivery{}
	}
	return v.Value
}

// receiver is a webhook that checks signatures and keeps what it accepts.
type receiver struct {
	t  *testing.T
	mu sync.Mutex
	// answer gives the status of an answer; nil is 204.
	answer   func(w http.ResponseWriter, m message) int
	accepted []message
	calls    int
}

func (h *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	var m message
	if err = cmpErr(err, json.Unmarshal(body, &m)); err != nil {
		h.t.Error(err)
	}
	if got := req.Header.Get("Causeway-Signature"); got != Sign(hmacKey, req.Header.Get("Causeway-Timestamp"), body) {
		h.t.Errorf("signature %q", got)
	}
	if req.Header.Get("Causeway-Event-Id") != m.ID || req.Method != http.MethodPost || req.Header.Get("Content-Type") != "application/json" {
		h.t.Errorf("%s with %v for %v", req.Method, req.Header, m)
	}
	status := http.StatusNoContent
	h.mu.Lock()
	answer := h.answer
	h.calls++
	h.mu.Unlock()
	if answer != nil {
		status = answer(w, m)
	}
	w.WriteHeader(status)
	if status/100 == 2 {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.accepted = append(h.accepted, m)
	}
}

func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (h *receiver) respond(answer func(http.ResponseWriter, message) int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = answer
}

// ids gives the ids of what was accepted, in order.
func (h *receiver) ids() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var ids []string
	for _, m := range h.accepted {
		ids = append(ids, m.ID)
	}
	return ids
}

func (h *receiver) called() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.calls
}

func serve(t *testing.T) (*receiver, string) {
	t.Helper()
	h := &receiver{t: t}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return h, server.URL
}

type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (r *rig) wantNoSecrets() {
	r.t.Helper()
	for _, hidden := range []string{hmacKey, "s3cr3t-path"} {
		if strings.Contains(r.log.String(), hidden) {
			r.t.Errorf("the log shows %q:\n%s", hidden, r.log)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// value reads a counter.
func value(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	must(t, c.Write(&m))
	return m.GetCounter().GetValue()
}
