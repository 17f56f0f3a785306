package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"causeway/gateway/balance"
	"causeway/gateway/endpoint"
	"causeway/gateway/spec"
)

// TestUnrelatedChangesTouchNothing changes all there is around a live flow.
func TestUnrelatedChangesTouchNothing(t *testing.T) {
	g := run(t, config(t, t.TempDir()))
	var w world
	client, server := w.pair(t, 1)
	g.apply(t, &w.Gateway)
	name := connectPair(t, g, 1, client, server)
	live := client.open(t, serviceAt, name)
	clientSession, serverSession := client.handshake(t), server.handshake(t)
	before := g.served.domains[consumer(1)]
	device, listening := before.tunnels[uid("tepc", 1)].device, before.listeners[serviceKey{uid("eni", 1), 443}].Listener
	steady := func(step string) {
		t.Helper()
		if err := ask(live, name); err != nil {
			t.Fatalf("%s: live flow: %v", step, err)
		}
		if client.handshake(t) != clientSession || server.handshake(t) != serverSession {
			t.Errorf("%s: a WireGuard session was renewed", step)
		}
		v := g.served.domains[consumer(1)]
		if v != before || v.tunnels[uid("tepc", 1)].device != device {
			t.Errorf("%s: domain or device was replaced", step)
		}
		client.open(t, serviceAt, name).Close()
	}
	g.apply(t, &w.Gateway)
	steady("nothing")
	w.pair(t, 2)
	g.apply(t, &w.Gateway)
	steady("another pair comes")
	d := w.domain(consumer(1))
	d.TunnelEndpoints[0].Peers = append(d.TunnelEndpoints[0].Peers, newHost("10.0.1.5").peer("second", spec.Tunnel))
	g.apply(t, &w.Gateway)
	steady("another peer comes")
	d.TunnelEndpoints = append(d.TunnelEndpoints, spec.TunnelEndpoint{UID: "tep-second", Zone: zone, Port: freePort(t)})
	g.apply(t, &w.Gateway)
	steady("another tunnel endpoint comes")
	w.addEndpointAt(1, consumer(1)+"/endpoints/second", "eni-second", "10.0.1.11")
	d.Exposures = append(d.Exposures, spec.Exposure{Interface: "eni-second"})
	g.apply(t, &w.Gateway)
	steady("another exposure comes")
	w.Endpoints[0].Bandwidth.BaselineBPS = 1e9
	w.TargetGroups[0].Targets = append(w.TargetGroups[0].Targets, registration(addr("10.0.1.5"), 9))
	w.TargetGroups[0].HealthCheck.Interval = 10 * time.Second
	g.apply(t, &w.Gateway)
	steady("budget and target group change")
	if got := g.served.domains[consumer(1)].listeners[serviceKey{uid("eni", 1), 443}].Listener; got != listening {
		t.Error("the listener was replaced")
	}
	w.LoadBalancers[0].Listeners[0].IdleTimeout = time.Minute
	g.apply(t, &w.Gateway)
	steady("idle timeout changes")
	d.Exposures, d.TunnelEndpoints = d.Exposures[:1], d.TunnelEndpoints[:1]
	d.TunnelEndpoints[0].Peers = d.TunnelEndpoints[0].Peers[:1]
	w.Endpoints = w.Endpoints[:1:1]
	w.Domains, w.LoadBalancers, w.TargetGroups = w.Domains[:2], w.LoadBalancers[:1], w.TargetGroups[:1]
	g.apply(t, &w.Gateway)
	steady("all of that goes")
	if n := len(g.served.domains); n != 2 {
		t.Errorf("%d domains served, want 2", n)
	}
}

// TestWhatLeavesTakesItsFlowsAlong removes one thing at a time under a live flow.
func TestWhatLeavesTakesItsFlowsAlong(t *testing.T) {
	for name, tt := range map[string]struct {
		remove func(*world)
		reason endpoint.Reason
	}{
		"exposure":        {func(w *world) { w.domain(consumer(1)).Exposures = nil }, endpoint.ReasonEndpointDeleted},
		"endpoint":        {func(w *world) { w.domain(consumer(1)).Exposures, w.Endpoints = nil, nil }, endpoint.ReasonEndpointDeleted},
		"consumer's peer": {func(w *world) { w.domain(consumer(1)).TunnelEndpoints[0].Peers = nil }, endpoint.ReasonPeerRemoved},
		"consumer's peer, address reused": {func(w *world) {
			w.domain(consumer(1)).TunnelEndpoints[0].Peers[0] = newHost("10.0.1.4").peer("another", spec.Attachment)
		}, endpoint.ReasonPeerRemoved},
		"tunnel endpoint": {func(w *world) { w.domain(consumer(1)).TunnelEndpoints = nil }, endpoint.ReasonPeerRemoved},
		"target's peer":   {func(w *world) { w.domain(provider(1)).TunnelEndpoints[0].Peers = nil }, endpoint.ReasonTargetRemoved},
		"listener":        {func(w *world) { w.LoadBalancers[0].Listeners = nil }, endpoint.ReasonServiceDeleted},
		"node":            {func(w *world) { w.LoadBalancers[0].Nodes = nil }, endpoint.ReasonServiceDeleted},
		"everything":      {func(w *world) { w.Gateway = spec.Gateway{Revision: w.Revision} }, endpoint.ReasonEndpointDeleted},
		"tunnels shut out": {func(w *world) {
			w.domain(consumer(1)).TunnelEndpoints[0].Peers[0].Kind = spec.Tunnel
			w.domain(consumer(1)).Exposures[0].Tunnels = false
		}, endpoint.ReasonPolicyChanged},
	} {
		t.Run(name, func(t *testing.T) {
			g := run(t, config(t, t.TempDir()))
			var w world
			client, server := w.pair(t, 1)
			g.apply(t, &w.Gateway)
			service := connectPair(t, g, 1, client, server)
			live := client.open(t, serviceAt, service)
			tt.remove(&w)
			g.apply(t, &w.Gateway)
			stats := g.stats()
			if stats.Active != 0 || stats.Ended[tt.reason] != 1 {
				t.Errorf("%d flows alive, ended by %v", stats.Active, reasons(stats))
			}
			// A peer that is gone cannot be told any more.
			if !strings.Contains(name, "consumer's peer") && name != "tunnel endpoint" && name != "everything" {
				ended(t, live)
			}
		})
	}
}

func reasons(s endpoint.Stats) map[string]uint64 {
	m := map[string]uint64{}
	for i, n := range s.Ended {
		if n > 0 {
			m[endpoint.Reason(i).String()] = n
		}
	}
	return m
}

func TestApplyRefuses(t *testing.T) {
	g := run(t, config(t, t.TempDir()))
	var w world
	w.pair(t, 1)
	w.Revision = 41
	g.apply(t, &w.Gateway)
	<-g.Changed()
	bad := w.Gateway
	bad.Revision = 50
	bad.LoadBalancers = nil
	if err := g.Apply(t.Context(), bad); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "accounts/p1/loadBalancers/lb") {
		t.Errorf("missing load balancer: %v", err)
	}
	status := g.Status()
	if status.Revision != 42 || status.Refused == nil || status.Refused.Revision != 50 {
		t.Errorf("status after a refusal: revision %d, refused %+v", status.Revision, status.Refused)
	}
	select {
	case <-g.Changed():
	default:
		t.Error("a refusal is not reported")
	}
	old := w.Gateway
	old.Revision = 7
	if err := g.Apply(t.Context(), old); !errors.Is(err, ErrOutdated) {
		t.Errorf("older revision: %v", err)
	}
	g.apply(t, &w.Gateway)
	if status := g.Status(); status.Refused != nil || status.Revision != 43 {
		t.Errorf("status after a good one: revision %d, refused %+v", status.Revision, status.Refused)
	}
	g.stop()
	if err := g.Apply(t.Context(), w.Gateway); !errors.Is(err, ErrStopped) {
		t.Errorf("after the end: %v", err)
	}
}

func TestApplyWaitsForRun(t *testing.T) {
	g, err := New(config(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.Apply(ctx, spec.Gateway{}); !errors.Is(err, context.Canceled) {
		t.Errorf("apply before run: %v", err)
	}
	if s := g.Status(); s.Revision != 0 {
		t.Errorf("status before run: %+v", s)
	}
}

// TestRestartWithoutControlPlane stops a gateway and starts another on its state: the same keys serve the same peers.
func TestRestartWithoutControlPlane(t *testing.T) {
	dir := t.TempDir()
	g := run(t, config(t, dir))
	var w world
	client, server := w.pair(t, 1)
	g.apply(t, &w.Gateway)
	name := connectPair(t, g, 1, client, server)
	client.open(t, serviceAt, name)
	key := g.tunnelEndpoint(t, uid("tepc", 1)).PublicKey
	g.stop()

	g = run(t, config(t, dir))
	eventually(t, "the last good spec in force", func() bool { return g.Status().Revision == w.Revision })
	if got := g.tunnelEndpoint(t, uid("tepc", 1)).PublicKey; got != key {
		t.Errorf("public key %v, want %v as before", got, key)
	}
	eventually(t, "a new connection", func() bool {
		c, err := client.dial(t, serviceAt, 0, time.Second)
		if err != nil {
			return false
		}
		defer c.Close()
		return ask(c, name) == nil
	})
	for _, f := range []string{"spec.json", filepath.Join("keys", uid("tepc", 1))} {
		if info, err := os.Stat(filepath.Join(dir, f)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600", f, info, err)
		}
	}
	w.Gateway = spec.Gateway{Revision: w.Revision}
	g.apply(t, &w.Gateway)
	if left, err := os.ReadDir(filepath.Join(dir, "keys")); err != nil || len(left) != 0 {
		t.Errorf("keys left after their tunnel endpoints: %v, %v", left, err)
	}
}

func TestUnusableStateIsMovedAside(t *testing.T) {
	good, err := json.Marshal(spec.Gateway{Revision: 3})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"bad json": "{", "bad empty": "", "bad field": `{"revision":3,"from_the_future":true}`, "bad trailer": string(good) + "{}",
		"bad spec": `{"revision":3,"domains":[{"name":""}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "spec.json")
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			g := run(t, config(t, dir))
			if err := g.Apply(t.Context(), spec.Gateway{Revision: 1}); err != nil {
				t.Errorf("apply after a bad start: %v", err)
			}
			if aside, err := os.ReadFile(file + ".bad"); err != nil || string(aside) != content {
				t.Errorf("moved aside: %q, %v", aside, err)
			}
		})
	}
}

// TestTakenPortDoesNotStopOthers takes one device's UDP port away, and gives it back.
func TestTakenPortDoesNotStopOthers(t *testing.T) {
	g := run(t, config(t, t.TempDir()))
	var w world
	client, server := w.pair(t, 1)
	w.addDomain(t, "accounts/x/vpcs/x", "tep-x")
	taken := net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr("127.0.0.1"), w.domain("accounts/x/vpcs/x").TunnelEndpoints[0].Port))
	squatter, err := net.ListenUDP("udp4", taken)
	if err != nil {
		t.Fatal(err)
	}
	defer squatter.Close()
	g.apply(t, &w.Gateway)
	if s := g.tunnelEndpoint(t, "tep-x"); s.Serving || !strings.Contains(s.Reason, "address already in use") {
		t.Errorf("status of the device without a port: %+v", s.Health)
	}
	name := connectPair(t, g, 1, client, server)
	client.open(t, serviceAt, name)
	squatter.Close()
	eventually(t, "retried", func() bool { return g.tunnelEndpoint(t, "tep-x").Serving })
}

// TestGateAsksOnceMore: a flow that was accepted before its peer lost the right is refused when it looks for a target.
func TestGateAsksOnceMore(t *testing.T) {
	var s service
	pool := balance.NewPool(balance.Config{Random: func() float64 { return 0 }})
	pool.Apply([]spec.TargetGroup{{Name: "g", FailOpen: true, Targets: []spec.Registration{registration(addr("10.0.0.1"), 1)}}}, func(string) bool { return true })
	s.route.Store(&route{group: pool.Group("g")})
	var refusal error
	g := gate{&s, func(endpoint.FlowKey) error { return refusal }}
	if _, err := g.Pick(endpoint.FlowKey{}, nil); err != nil {
		t.Errorf("admitted: %v", err)
	}
	refusal = errNotAdmitted
	if target, err := g.Pick(endpoint.FlowKey{}, nil); !errors.Is(err, errNotAdmitted) {
		t.Errorf("refused: picked %v, %v", target, err)
	}
}

func TestInterfaceWithoutNodeSaysWhy(t *testing.T) {
	g := run(t, config(t, t.TempDir()))
	var w world
	w.pair(t, 1)
	w.LoadBalancers[0].Nodes[0].Zone = "us-east-1b"
	g.apply(t, &w.Gateway)
	if s := g.Status().Interfaces[0]; s.Serving || !strings.Contains(s.Reason, zone) {
		t.Errorf("status %+v", s.Health)
	}
}
