package gateway

import (
	"errors"
	"io"
	"testing"
	"time"

	"causeway/gateway/endpoint"
	"causeway/gateway/spec"
)

// TestKeptFlowsLoseTheirTarget ends a flow of a revoked endpoint when another peer holds its target's address.
func TestKeptFlowsLoseTheirTarget(t *testing.T) {
	g := run(t, config(t, t.TempDir()))
	var w world
	client, server := w.pair(t, 1)
	g.apply(t, &w.Gateway)
	live := client.open(t, serviceAt, connectPair(t, g, 1, client, server))
	w.Endpoints[0].Revocation = &spec.Revocation{Keep: true}
	g.apply(t, &w.Gateway)
	other := newHost("10.0.1.4").peer(provider(1)+"/subnets/a/attachments/other", spec.Attachment)
	w.domain(provider(1)).TunnelEndpoints[0].Peers = []spec.Peer{other}
	g.apply(t, &w.Gateway)
	ended(t, live)
	if n := g.stats().Ended[endpoint.ReasonTargetRemoved]; n != 1 {
		t.Errorf("%d flows ended for their target", n)
	}
}

// TestRevocation takes an endpoint's use away in each way: nothing new is accepted, and live flows go on, or end at the
// deadline. What is given back serves again.
func TestRevocation(t *testing.T) {
	const wait = 300 * time.Millisecond
	for name, tt := range map[string]struct {
		revoke   func() *spec.Revocation
		soonest  time.Duration
		survives bool
	}{
		"keep":  {func() *spec.Revocation { return &spec.Revocation{Keep: true} }, 0, true},
		"drain": {func() *spec.Revocation { return &spec.Revocation{Deadline: time.Now().Add(wait)} }, wait, false},
		"cut":   {func() *spec.Revocation { return &spec.Revocation{Deadline: time.Now()} }, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := run(t, config(t, t.TempDir()))
			var w world
			client, server := w.pair(t, 1)
			g.apply(t, &w.Gateway)
			service := connectPair(t, g, 1, client, server)
			live := client.open(t, serviceAt, service)

			w.Endpoints[0].Revocation = tt.revoke()
			if name == "cut" {
				w.Endpoints[0].LoadBalancers = nil // the service may be gone already
			}
			begun := time.Now()
			g.apply(t, &w.Gateway)
			if c, err := client.dial(t, serviceAt, 0, patience); err == nil {
				t.Errorf("a new connection was accepted: %v", c.Close())
			}
			if tt.survives {
				if err := ask(live, service); err != nil {
					t.Errorf("a live connection was disturbed: %v", err)
				}
				g.apply(t, &w.Gateway) // again, with another revision
				if err := ask(live, service); err != nil {
					t.Errorf("a live connection was disturbed later: %v", err)
				}
			} else {
				if err := live.SetReadDeadline(time.Now().Add(patience)); err != nil {
					t.Fatal(err)
				}
				if _, err := live.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
					t.Errorf("a live connection ended with %v, want a reset", err)
				}
				if took := time.Since(begun); took < tt.soonest {
					t.Errorf("live connection ended after %v, want %v at least", took, tt.soonest)
				}
				// The reset leaves before it is counted.
				eventually(t, "one flow ended for the rejection", func() bool {
					return g.stats().Ended[endpoint.ReasonConnectionRejected] == 1
				})
			}
			w.Endpoints[0].Revocation = nil
			w.Endpoints[0].LoadBalancers = []string{w.LoadBalancers[0].Name}
			g.apply(t, &w.Gateway)
			client.open(t, serviceAt, service)
			if tt.survives {
				w.Endpoints, w.domain(consumer(1)).Exposures = nil, nil
				g.apply(t, &w.Gateway)
				ended(t, live)
			}
		})
	}
}
