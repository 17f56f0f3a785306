package notify

import (
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

func TestDeliversSignedAndInOrder(t *testing.T) {
	r := newRig(t)
	h, url := serve(t)
	n := r.notification("n", url)
	want := r.eventsOf(150, n) // more than one batch
	r.start()
	r.eventually("delivered", func() bool { return len(h.ids()) == len(want) })
	want = append(want, r.eventsOf(3, n)...)
	r.eventually("delivered what came later", func() bool { return r.pending(n) == 0 })
	if !slices.Equal(h.ids(), want) {
		t.Errorf("delivered %v\nwant %v", h.ids(), want)
	}
	for i, m := range h.accepted {
		if m.Sequence != int64(i+1) {
			t.Fatalf("event %d has number %d", i, m.Sequence)
		}
	}
	m := h.accepted[0]
	if m.Type != "Connect" || m.ServiceUID != "vpce-svc-1" || m.EndpointUID != "vpce-1" || m.ConsumerAccount != "accounts/b" || time.Since(m.Time) > time.Hour {
		t.Errorf("sent %+v", m)
	}
	if d := r.delivery(n); d.GetLastSuccessTime() == nil || d.GetLastError() != "" {
		t.Errorf("state %v", d)
	}
	if got := value(t, r.d.metrics.delivered); got != float64(len(want)) {
		t.Errorf("counted %v", got)
	}
}

// TestRetries has a receiver that is away, fails and redirects before it accepts; nothing is lost,
// and nothing overtakes.
func TestRetries(t *testing.T) {
	r := newRig(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := l.Addr().String()
	must(t, l.Close())
	n := r.notification("n", "http://"+address+"/s3cr3t-path?token=s3cr3t-path")
	want := r.eventsOf(3, n)
	r.start()
	r.eventually("failure is shown", func() bool { return r.delivery(n).GetLastError() == "the receiver's host refused the connection" })

	h := &receiver{t: t}
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(other.Close)
	answers := []int{500, 503, 302, 404, 101 + 300}
	h.answer = func(w http.ResponseWriter, _ message) int {
		if h.called() > len(answers) {
			return http.StatusAccepted
		}
		w.Header().Set("Location", other.URL)
		return answers[h.called()-1]
	}
	if l, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
	server.Start()
	t.Cleanup(server.Close)
	r.eventually("delivered", func() bool { return r.pending(n) == 0 })
	if !slices.Equal(h.ids(), want) {
		t.Errorf("delivered %v, want %v", h.ids(), want)
	}
	if elsewhere.Load() != 0 {
		t.Error("a redirect was followed")
	}
	if got := value(t, r.d.metrics.failed); got < float64(1+len(answers)) {
		t.Errorf("counted %v failures", got)
	}
	r.wantNoSecrets()
}

// TestRestart opens the store anew, as another process does, with events that wait.
func TestRestart(t *testing.T) {
	r := newRig(t)
	h, url := serve(t)
	h.respond(func(http.ResponseWriter, message) int { return 500 })
	n := r.notification("n", url)
	r.start()
	want := r.eventsOf(5, n)
	r.eventually("tried", func() bool { return h.called() > 0 })
	r.close()
	r.open()
	want = append(want, r.event(n))
	h.respond(nil)
	r.start()
	r.eventually("delivered", func() bool { return r.pending(n) == 0 })
	if !slices.Equal(h.ids(), want) {
		t.Errorf("delivered %v, want %v", h.ids(), want)
	}
	r.stop()
	r.start()
	want = append(want, r.event(n))
	r.eventually("delivered again", func() bool { return len(h.ids()) == len(want) })
	if last := h.accepted[len(want)-1]; last.Sequence != int64(len(want)) {
		t.Errorf("number %d after a restart, want %d", last.Sequence, len(want))
	}
}

// TestReceiversDoNotWaitForEachOther has a receiver that never answers beside one that does.
func TestReceiversDoNotWaitForEachOther(t *testing.T) {
	r := newRig(t)
	r.limits.attempt = patience
	release := make(chan struct{})
	hanging, slow := serve(t)
	hanging.respond(func(http.ResponseWriter, message) int { <-release; return 204 })
	prompt, fast := serve(t)
	a, b := r.notification("a", slow), r.notification("b", fast)
	r.start()
	want := r.eventsOf(20, a, b)
	r.eventually("hanging", func() bool { return hanging.called() == 1 })
	r.eventually("others are served", func() bool { return len(prompt.ids()) == len(want) })
	if got := r.pending(a); got != 20 {
		t.Errorf("%d wait for the one that hangs", got)
	}
	close(release)
	r.eventually("all are served", func() bool { return r.pending(service) == 0 })
	if !slices.Equal(hanging.ids(), want) {
		t.Errorf("delivered %v, want %v", hanging.ids(), want)
	}
}

// TestChangesEndTheWait has waits of a minute, which a new URL and a deletion end.
func TestChangesEndTheWait(t *testing.T) {
	r := newRig(t)
	r.limits.retryFirst, r.limits.retryMost = time.Minute, 5*time.Minute
	bad, badURL := serve(t)
	bad.respond(func(http.ResponseWriter, message) int { return 500 })
	good, goodURL := serve(t)
	a, b := r.notification("a", badURL), r.notification("b", badURL)
	r.start()
	id := r.event(a, b)
	r.eventually("both failed", func() bool { return r.delivery(a).GetLastError() != "" && r.delivery(b).GetLastError() != "" })
	stored, err := resource.Notifications.Get(t.Context(), r.store, a)
	must(t, err)
	stored.Value.Url = goodURL
	r.commit(func(tx *store.Txn) { resource.Notifications.Update(tx, a, stored.Value, stored.Revision) })
	r.eventually("sent to the new URL", func() bool { return slices.Equal(good.ids(), []string{id}) })

	gone, err := resource.Notifications.Get(t.Context(), r.store, b)
	must(t, err)
	r.commit(func(tx *store.Txn) { resource.RemoveNotification(tx, gone) })
	again := r.notification("b2", goodURL)
	r.event(again)
	r.eventually("another is served", func() bool { return len(good.ids()) == 2 && r.pending(service) == 0 })
	if n, err := resource.NotificationDeliveries.Count(t.Context(), r.store, service); err != nil || n != 2 {
		t.Errorf("%d deliveries are kept of 2 notifications: %v", n, err)
	}
}

// TestOutboxIsBounded has more events than may wait, and later some that have waited too long.
func TestOutboxIsBounded(t *testing.T) {
	r := newRig(t)
	r.limits.retryFirst, r.limits.retryMost, r.limits.pending = time.Minute, 5*time.Minute, 10
	h, url := serve(t)
	h.respond(func(http.ResponseWriter, message) int { return 500 })
	n := r.notification("n", url)
	r.start()
	ids := r.eventsOf(1, n)
	r.eventually("failed", func() bool { return r.delivery(n).GetLastError() != "" })
	ids = append(ids, r.eventsOf(24, n)...)
	r.eventually("dropped", func() bool { return r.pending(n) == 10 && r.delivery(n).GetDroppedCount() == 15 })
	if h.called() != 1 {
		t.Errorf("the receiver was asked %d times in its minute", h.called())
	}
	if got := value(t, r.d.metrics.dropped.WithLabelValues(reasonOverflow)); got != 15 {
		t.Errorf("counted %v", got)
	}
	r.stop()
	h.respond(nil)
	r.start()
	r.eventually("delivered", func() bool { return r.pending(n) == 0 })
	if !slices.Equal(h.ids(), ids[15:]) || h.accepted[0].Sequence != 16 {
		t.Errorf("delivered %v from number %d, want %v from 16", h.ids(), h.accepted[0].Sequence, ids[15:])
	}
	r.stop()
	r.eventsOf(3, n)
	r.ahead = maxAge
	r.start()
	r.eventually("dropped", func() bool { return r.delivery(n).GetDroppedCount() == 18 && r.pending(n) == 0 })
	if got := value(t, r.d.metrics.dropped.WithLabelValues(reasonAge)); got != 3 || len(h.ids()) != 10 {
		t.Errorf("counted %v, delivered %d", got, len(h.ids()))
	}
}

func TestFailuresInWords(t *testing.T) {
	for status, want := range map[statusError]string{
		500: "the receiver answered 500 Internal Server Error", 299 + 500: "the receiver answered 799",
		307: "the receiver answered 307 Temporary Redirect; redirects are not followed",
	} {
		if got := describe(status); got != want {
			t.Errorf("%d: %q", status, got)
		}
	}
	r := newRig(t)
	r.limits.attempt = 50 * time.Millisecond
	release := make(chan struct{})
	answers := map[string]http.HandlerFunc{
		"did not answer within": func(http.ResponseWriter, *http.Request) { <-release },
		"closed the connection": func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := w.(http.Hijacker).Hijack()
			must(t, err)
			_ = c.Close()
		},
		"none of HTTP": func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := w.(http.Hijacker).Hijack()
			must(t, err)
			_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*maxHeaderBytes) + "\r\n\r\n"))
			_ = c.Close()
		},
	}
	names := map[string]string{}
	for want, answer := range answers {
		server := httptest.NewServer(answer)
		t.Cleanup(server.Close)
		names[want] = r.notification("n"+want[:1], server.URL)
	}
	server := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })
	names["no TLS connection: tls: failed to verify certificate"] = r.notification("tls", server.URL)
	for _, n := range names {
		r.event(n)
	}
	r.start()
	for want, n := range names {
		r.eventually(want, func() bool { return strings.Contains(r.delivery(n).GetLastError(), want) })
	}
}

func TestEventTypes(t *testing.T) {
	for event, want := range map[pb.Notification_Event]string{1: "Connect", 2: "Accept", 3: "Reject", 4: "Delete"} {
		if types[event] != want {
			t.Errorf("%v is sent as %q", event, types[event])
		}
	}
	if len(types) != len(pb.Notification_Event_name)-1 {
		t.Errorf("%d types", len(types))
	}
}
