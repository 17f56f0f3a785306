package balance

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"causeway/gateway/spec"
)

// suspicion is how long a target that refused a connection is chosen only when nothing else is left. It is local and
// short: health checks decide what is healthy.
const suspicion = 5 * time.Second

// Group chooses among the targets of one target group. Its methods are safe for concurrent use and take no lock.
type Group struct {
	name string
	// born is what suspicions are counted from: the monotonic clock keeps them right when the wall clock is set.
	born time.Time
	// view is what Pick reads; replaced whole whenever membership or health changes.
	view atomic.Pointer[view]

	// The rest is guarded by Pool.mu.
	spec    spec.TargetGroup
	used    bool
	members map[spec.Target]*member
	running int
	waiting []*member
}

// view is the immutable outcome of membership and health.
type view struct {
	// candidates are the healthy targets, or all of them when none is and the group fails open.
	candidates []candidate
	healthy    int
	status     []spec.TargetStatus
}

// candidate is a target with what Pick needs of it.
type candidate struct {
	addr netip.AddrPort
	seed uint64
	// suspectUntil is in nanoseconds since Group.born, shared with the member so that it outlives views.
	suspectUntil *atomic.Int64
}

// Flow identifies a connection for [Group.Pick].
type Flow struct {
	// Protocol is the IP protocol number: 6 for TCP.
	Protocol uint8
	// Source is the consumer, Destination the endpoint address and port it connected to.
	Source, Destination netip.AddrPort
	// Nonce is random per connection. It plays the part of the TCP sequence number in NLB's flow hash (AWS, "What is a
	// Network Load Balancer"): a client that reuses its port does not return to the same target.
	Nonce uint32
}

// Name is the target group's resource name.
func (g *Group) Name() string { return g.name }

// Available reports whether Pick would find a target for a new connection: a healthy one, or any when the group fails
// open. It is one atomic load, for use per SYN.
func (g *Group) Available() bool { return len(g.view.Load().candidates) > 0 }

// Pick returns the target for a connection, leaving out those in tried. The choice is the flow's highest random weight
// (Thaler and Ravishankar, 1998) among the healthy targets, so that a target that comes or goes moves only its own
// share. A target reported to [Group.Failed] a moment ago is chosen only when all others were tried. False means that
// nothing is left.
func (g *Group) Pick(f Flow, tried []netip.AddrPort) (netip.AddrPort, bool) {
	var (
		best, bestSuspect     netip.AddrPort
		weight, weightSuspect uint64
		now                   = int64(time.Since(g.born))
		key                   = f.hash()
	)
	for _, c := range g.view.Load().candidates {
		if slices.Contains(tried, c.addr) {
			continue
		}
		w := mix(key ^ c.seed)
		if until := c.suspectUntil.Load(); until > now {
			if !bestSuspect.IsValid() || w > weightSuspect {
				bestSuspect, weightSuspect = c.addr, w
			}
			continue
		}
		if !best.IsValid() || w > weight {
			best, weight = c.addr, w
		}
	}
	if best.IsValid() {
		return best, true
	}
	return bestSuspect, bestSuspect.IsValid()
}

// Failed notes that a connection to the target could not be made. For 5 seconds others are preferred to it.
func (g *Group) Failed(target netip.AddrPort) {
	for _, c := range g.view.Load().candidates {
		if c.addr == target {
			c.suspectUntil.Store(int64(time.Since(g.born) + suspicion))
			return
		}
	}
}

// Status is the health of every target, in the order of the spec. The result is shared: do not change it.
func (g *Group) Status() []spec.TargetStatus { return g.view.Load().status }

// Healthy is the number of healthy targets.
func (g *Group) Healthy() int { return g.view.Load().healthy }

// probes reports whether m is still a target of the group and to be probed. Called with Pool.mu held.
func (g *Group) probes(m *member) bool { return g.used && g.members[m.target] == m }

// publish computes the view anew. Called with Pool.mu held.
func (g *Group) publish() {
	v := &view{status: make([]spec.TargetStatus, 0, len(g.spec.Targets))}
	var all []candidate
	for _, t := range g.spec.Targets {
		m := g.members[t.Target]
		v.status = append(v.status, m.status())
		addr := netip.AddrPortFrom(t.Address, t.Port)
		c := candidate{addr: addr, seed: seedOf(addr), suspectUntil: &m.suspectUntil}
		all = append(all, c)
		if m.state == spec.TargetHealthy {
			v.healthy++
			v.candidates = append(v.candidates, c)
		}
	}
	if v.healthy == 0 && g.spec.FailOpen {
		v.candidates = all
	}
	g.view.Store(v)
}
