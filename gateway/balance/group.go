package balance

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"causeway/gateway/spec"
)

// Group chooses among the targets of one target group. Its methods are safe for concurrent use and, but for the failures
// that make a target unhealthy, take no lock.
type Group struct {
	name string
	pool *Pool
	// born is what suspicions and slow starts are counted from: the monotonic clock keeps them right when the wall clock
	// is set.
	born time.Time
	// view is what Pick reads; replaced whole whenever membership or health changes.
	view atomic.Pointer[view]

	checksPassed, checksFailed, ejections atomic.Uint64

	// The rest is guarded by Pool.mu.
	spec    spec.TargetGroup
	used    bool
	removed bool // no longer in the spec, kept for what drains
	members map[spec.Target]*member
	running int
	waiting []*member
}

// Flow identifies a connection for [Group.Pick].
type Flow struct {
	// Zone is that of the network interface the consumer connected to.
	Zone string
	// Protocol is the IP protocol number: 6 for TCP.
	Protocol uint8
	// Source is the consumer, Destination the endpoint address and port it connected to.
	Source, Destination netip.AddrPort
	// Nonce is random per connection. It plays the part of the TCP sequence number in NLB's flow hash (AWS, "What is a
	// Network Load Balancer"): a client that reuses its port does not return to the same target.
	Nonce uint32
}

// Stats are a group's counters since it was made.
type Stats struct {
	// ChecksPassed and ChecksFailed count health checks by their outcome.
	ChecksPassed, ChecksFailed uint64
	// Ejections counts targets that became unhealthy because connections failed, before a health check told.
	Ejections uint64
}

// Name is the target group's resource name.
func (g *Group) Name() string { return g.name }

// Available reports whether Pick would find a target for a new connection of a zone: a healthy one, or any when the
// group fails open. It takes no lock, for use per SYN.
func (g *Group) Available(zone string) bool { return !g.view.Load().choice(zone).empty() }

// HealthyIn reports whether Pick would find a healthy target for a zone: not one that is only tried because the group fails
// open. It takes no lock.
func (g *Group) HealthyIn(zone string) bool {
	v := g.view.Load()
	return v.healthy > 0 && !v.choice(zone).empty()
}

// Undecided reports whether no target is healthy and the first health check of one is still to come.
func (g *Group) Undecided() bool {
	v := g.view.Load()
	return v.healthy == 0 && slices.ContainsFunc(v.status, func(s spec.TargetStatus) bool { return s.State == spec.TargetInitial })
}

// Pick returns the target for a connection, leaving out those in tried. The choice is the flow's highest random weight
// (Thaler and Ravishankar, 1998) among the healthy targets that its zone may use, so that a target that comes or goes
// or changes its weight moves only the share that it must. In a sticky group a flow's address alone decides. A target
// reported to [Group.Failed] a moment ago is chosen only when all others were tried, and one without weight when all
// with weight were. False means that nothing is left.
func (g *Group) Pick(f Flow, tried []netip.AddrPort) (netip.AddrPort, bool) {
	v := g.view.Load()
	key := uint64(0)
	if v.sticky {
		key = f.sourceHash()
	} else {
		key = f.hash()
	}
	now := int64(time.Since(g.born))
	c := v.choice(f.Zone)
	if to, ok := c.weighted.pick(key, now, tried); ok {
		return to, true
	}
	return c.weightless.pick(key, now, tried)
}

// Status is the health of every target, in the order of the spec, and then of those that drain. The result is shared: do
// not change it.
func (g *Group) Status() []spec.TargetStatus { return g.view.Load().status }

// Healthy is the number of healthy targets.
func (g *Group) Healthy() int { return g.view.Load().healthy }

// Stats returns the group's counters.
func (g *Group) Stats() Stats {
	return Stats{ChecksPassed: g.checksPassed.Load(), ChecksFailed: g.checksFailed.Load(), Ejections: g.ejections.Load()}
}

// probes reports whether m is still a target of the group and to be probed. Called with Pool.mu held.
func (g *Group) probes(m *member) bool {
	return g.used && g.members[m.target] == m && m.state != spec.TargetDraining
}

// healthyBut counts the healthy members other than m. Called with Pool.mu held.
func (g *Group) healthyBut(m *member) (n int) {
	for _, o := range g.members {
		if o != m && o.state == spec.TargetHealthy {
			n++
		}
	}
	return n
}

// warmBut reports whether a member other than m is healthy and past its slow start. Called with Pool.mu held.
func (g *Group) warmBut(m *member, now time.Time) bool {
	for _, o := range g.members {
		if o != m && o.state == spec.TargetHealthy && !now.Before(o.warmAt) {
			return true
		}
	}
	return false
}
