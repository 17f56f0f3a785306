package gateway

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"causeway/gateway/endpoint"
	"causeway/gateway/spec"
	"causeway/tunnel/link"
)

// TestExplainAgreesWithTheDataPath makes random topologies and flows. Each flow is explained and then made, with packets
// handed to the domains' links as WireGuard devices do: what the packets and the connection met, by the counters of
// drops, the record of the flow or the target that was dialled, must be what the explanation said.
func TestExplainAgreesWithTheDataPath(t *testing.T) {
	topologies := 10_000
	if testing.Short() {
		topologies = 500
	}
	b := newBench(t)
	r := rand.New(rand.NewPCG(1, 2))
	met := map[string]int{}
	for n := range topologies {
		s := randomTopology(r, int64(n)+1)
		b.apply(&s.Gateway)
		q := s.randomQuestion(r)
		q.Source = netip.AddrPortFrom(q.Source.Addr(), b.nextPort())
		e := b.Explain(q)
		said := conclusion(e)
		live := b.make(q)
		met[said.check+" "+said.reason]++
		if !said.agrees(live, s) {
			t.Fatalf("topology %d: %+v is explained by\n%+v\nbut met %+v", n, q, e.Checks, live)
		}
	}
	t.Logf("%d topologies ended in %v", topologies, met)
	for _, end := range []string{
		" ", "peer refused", "source martian", "network_acl_out network_acl", "network_acl_in network_acl", "exposure no_exposure",
		"endpoint_zone no_exposure", "endpoint_state no_listener", "tunnel_access tunnel_access", "listener no_listener", "security_group security_group",
		"healthy_target no_healthy_target", "network_acl_out_return network_acl", "network_acl_in_return network_acl", "endpoint_policy refused_policy",
		"target_guard refused_target_guard", "target_path refused_targets_failed", "target_network_acl_out network_acl",
	} {
		if met[end] == 0 && !testing.Short() {
			t.Errorf("no flow ended in %q", end)
		}
	}
}

// outcome is what an explanation says, or what a live connection met.
type outcome struct {
	check, reason string
	target        netip.AddrPort // that was reached
	// byPort tells that the network ACL lets answers of a target through to some of the ports that dials come from.
	byPort bool
}

// conclusion is what an explanation comes to.
func conclusion(e spec.Explanation) (o outcome) {
	for _, c := range e.Checks {
		switch {
		case c.Verdict == spec.Deny:
			o.check, o.reason = c.Name, c.Reason
		case strings.HasPrefix(c.Name, "target_network_acl") && strings.Contains(c.Detail, "denies"):
			o.byPort = true
		}
	}
	return o
}

// agrees compares an explanation with what was met. Where a connection's number has a part in the choice of its target, any
// target of the group may be tried first, and so the last one that fails may be another.
func (o outcome) agrees(live outcome, s *topology) bool {
	late := []string{endpoint.ReasonRefusedTargetGuard.String(), endpoint.ReasonRefusedTargetsFailed.String()}
	want := o.reason
	if strings.HasPrefix(o.check, "target_") && o.reason == link.ReasonNetworkACL.String() {
		want = endpoint.ReasonRefusedTargetsFailed.String() // which the dial finds out by waiting
	}
	if want == live.reason {
		return want != "" || s.isTarget(live.target)
	}
	if o.byPort && slices.Contains(late, live.reason) {
		return true
	}
	return slices.Contains(late, want) && slices.Contains(late, live.reason) && s.choosesByNumber()
}

// waiting bounds what a flow may take.
const waiting = 20 * time.Second

// make makes a connection and tells what it met.
func (b *bench) make(q spec.Question) outcome {
	b.t.Helper()
	port := b.portOf(q)
	before := b.counters(q.Domain)
	port.send(b.t, segment{from: q.Source, to: q.Destination, flags: flagSYN, seq: 1000})
	if why := b.dropped(q.Domain, before); why != "" {
		return outcome{reason: why}
	}
	deadline, tick := time.After(waiting), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case got := <-port.received:
			if got.to == q.Source && got.from == q.Destination && got.flags&flagSYN != 0 {
				port.send(b.t, segment{from: q.Source, to: q.Destination, flags: flagACK, seq: 1001, ack: got.seq + 1})
				return b.established(q, port, got.seq+1)
			}
		case <-tick.C:
			if why := b.dropped(q.Domain, before); why != "" { // the answer, which would be sent again
				port.send(b.t, segment{from: q.Source, to: q.Destination, flags: flagRST, seq: 1001})
				return outcome{reason: why}
			}
		case <-deadline:
			b.t.Fatalf("nothing comes of %+v", q)
		}
	}
}

// established goes on after the handshake: the target answers, and the consumer resets.
func (b *bench) established(q spec.Question, port *benchPort, ack uint32) (met outcome) {
	b.t.Helper()
	targets := b.ports["tep-p"]
	deadline := time.After(waiting)
	for {
		select {
		case got := <-targets.received:
			if got.flags != flagSYN || got.to.Port() == probePort || met.target.IsValid() {
				continue
			}
			before := b.counters(providerVPC)
			targets.send(b.t, segment{from: got.to, to: got.from, flags: flagSYN | flagACK, seq: 5000, ack: got.seq + 1})
			if b.counters(providerVPC).InDrops != before.InDrops {
				continue // the dial goes on waiting
			}
			met.target = got.to
			port.send(b.t, segment{from: q.Source, to: q.Destination, flags: flagRST | flagACK, seq: 1001, ack: ack})
		case <-port.received:
		case r := <-b.records:
			if r.Consumer != q.Source {
				continue
			}
			if !met.target.IsValid() {
				met.reason = r.Reason
			}
			return met
		case <-deadline:
			b.t.Fatalf("%+v was accepted, and nothing comes of it", q)
		}
	}
}
