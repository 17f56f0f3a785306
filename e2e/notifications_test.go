package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"causeway/controlplane/notify"
	causewayv1 "causeway/proto/causeway/v1"
)

// TestNotifications makes endpoints come and go while their provider's receiver is away, and kills
// the daemon in the middle: once the receiver comes up it has every event, signed and in order.
func TestNotifications(t *testing.T) {
	w := newWorld(t, settings{extra: "notifications:\n  allow: [" + underlayPrefix + "]\n"})
	w.vpc("prod", "10.0.0.0/16")
	w.publish("vpcs/prod", "orders", 80, 8080, w.underlayAddr.String())
	const name = "endpointServices/orders/notifications/ops"
	address := w.underlayAddr.String() + ":9000"
	made := w.call("Notifications/CreateNotification", `{"parent":"endpointServices/orders","notification_id":"ops","notification":{"url":"http://%s/hook"}}`, address).(*causewayv1.Notification)
	if _, err := w.api.Call(w.Context(), "Notifications/CreateNotification", fmt.Sprintf(
		`{"parent":"endpointServices/orders","notification_id":"bad","notification":{"url":"http://%s/hook"}}`, httpListen)); err == nil {
		t.Error("the daemon's own metrics were accepted as a receiver")
	}

	var want []string
	round := func(n int) {
		for i := range 5 {
			id := fmt.Sprintf("e%d-%d", n, i)
			e := w.call("Endpoints/CreateEndpoint", `{"parent":"vpcs/prod","endpoint_id":%q,"endpoint":{"service_name":"endpointServices/orders","subnets":["vpcs/prod/subnets/a"]}}`, id).(*causewayv1.Endpoint)
			want = append(want, "Connect "+e.GetUid())
			if i%2 == 0 {
				w.call("Endpoints/DeleteEndpoint", `{"name":"vpcs/prod/endpoints/%s"}`, id)
				want = append(want, "Delete "+e.GetUid())
			}
		}
	}
	round(1)
	await(w, "Notifications/GetNotification", name, func(n *causewayv1.Notification) bool {
		return n.GetPendingEventCount() == 8 && n.GetLastError() == "the receiver's host refused the connection"
	})
	w.daemon.Kill()
	w.daemon.Restart()
	round(2)
	w.daemon.Kill()
	hook := w.hook(address, made.GetSecret())
	w.daemon.Restart()
	w.Eventually(patience, "all events", func() error {
		if got := hook.accepted(); len(got) < len(want) {
			return fmt.Errorf("%d of %d events", len(got), len(want))
		}
		return nil
	})
	if got := strings.Join(hook.accepted(), "\n"); got != strings.Join(want, "\n") {
		t.Errorf("received\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	after := await(w, "Notifications/GetNotification", name, func(n *causewayv1.Notification) bool { return n.GetPendingEventCount() == 0 })
	if after.GetLastSuccessTime() == nil || after.GetLastError() != "" || after.GetSecret() != "" || after.GetDroppedEventCount() != 0 {
		t.Errorf("after delivery: %v", after)
	}
	for _, faults := range hook.faults() {
		t.Error(faults)
	}
	if strings.Contains(w.daemon.Log(), made.GetSecret()) {
		t.Error("the daemon's log shows the secret")
	}
}

// webhook is a receiver on the underlay that believes only what is signed, and drops what it has.
type webhook struct {
	secret string

	mu     sync.Mutex
	seen   map[string]bool
	events []string
	wrong  []string
}

// hook serves one at an address of the underlay's host until the test ends.
func (w *world) hook(address, secret string) *webhook {
	w.t.Helper()
	h := &webhook{secret: secret, seen: map[string]bool{}}
	l, err := w.underlay.Listen(w.Context(), "tcp", address)
	if err != nil {
		w.t.Fatal(err)
	}
	server := &http.Server{Handler: h, BaseContext: func(net.Listener) context.Context { return w.Context() }}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	w.t.Cleanup(func() {
		_ = server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			w.t.Errorf("serve the receiver: %v", err)
		}
	})
	return h
}

// ServeHTTP implements http.Handler.
func (h *webhook) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var event struct {
		ID, Type    string
		Sequence    int
		EndpointUID string `json:"endpoint_uid"`
		Account     string `json:"consumer_account"`
	}
	if err == nil {
		err = json.Unmarshal(body, &event)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	signature := notify.Sign(h.secret, r.Header.Get("Causeway-Timestamp"), body)
	if err != nil || r.Header.Get("Causeway-Signature") != signature || r.URL.Path != "/hook" || event.Account != "accounts/default" {
		h.wrong = append(h.wrong, fmt.Sprintf("%s %s %v: %s, %v", r.Method, r.URL, r.Header, body, err))
	}
	if h.seen[event.ID] {
		return
	}
	h.seen[event.ID] = true
	h.events = append(h.events, event.Type+" "+event.EndpointUID)
	if event.Sequence != len(h.events) {
		h.wrong = append(h.wrong, fmt.Sprintf("event %d has number %d", len(h.events), event.Sequence))
	}
}

func (h *webhook) accepted() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.events...)
}

func (h *webhook) faults() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.wrong
}
