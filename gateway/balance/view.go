package balance

import (
	"math"
	"net/netip"
	"slices"

	"causeway/gateway/spec"
)

// view is the immutable outcome of membership and health.
type view struct {
	// zones have the choices of zones that have targets of their own; other is that of the rest, and of all when targets
	// are used across zones.
	zones map[string]*choice
	other choice

	sticky bool
	// passive is how many failures in a row make a target unhealthy; zero is never.
	passive int
	pulses  map[netip.AddrPort]*pulse
	healthy int
	status  []spec.TargetStatus
}

// choice is what the flows of a zone choose from: the healthy targets that the zone may use, or all of those when no
// target of the group is healthy and it fails open.
type choice struct {
	weighted candidates
	// weightless have weight zero: they are for when nothing else is left.
	weightless candidates
}

func (c *choice) empty() bool { return len(c.weighted.list) == 0 && len(c.weightless.list) == 0 }

// candidates are targets that differ at most in their weights.
type candidates struct {
	list []candidate
	// uniform tells that all have the same weight, once warm, in nanoseconds since Group.born, is over.
	uniform bool
	warm    int64
}

// candidate is a target with what Pick needs of it.
type candidate struct {
	addr   netip.AddrPort
	seed   uint64
	pulse  *pulse // shared with the member, so that it outlives views
	weight float64
	// ramp is how long the weight grows and warm when it is whole, in nanoseconds since Group.born.
	ramp, warm int64
}

func (v *view) choice(zone string) *choice {
	if c := v.zones[zone]; c != nil {
		return c
	}
	return &v.other
}

// pick returns the candidate of the highest random weight among those not tried, a suspect only if there is no other.
func (c *candidates) pick(key uint64, now int64, tried []netip.AddrPort) (netip.AddrPort, bool) {
	highest := c.highestWeighted
	if c.uniform && now >= c.warm {
		highest = c.highest
	}
	best := highest(key, now, tried)
	if best < 0 {
		return netip.AddrPort{}, false
	}
	return c.list[best].addr, true
}

// highest is highestWeighted for equal weights, which then need no logarithms: the order is the same.
func (c *candidates) highest(key uint64, now int64, tried []netip.AddrPort) int {
	best, suspect := -1, -1
	var bestHash, suspectHash uint64
	for i := range c.list {
		x := &c.list[i]
		if slices.Contains(tried, x.addr) {
			continue
		}
		h := mix(key ^ x.seed)
		if x.pulse.suspectUntil.Load() > now {
			if suspect < 0 || h > suspectHash {
				suspect, suspectHash = i, h
			}
			continue
		}
		if best < 0 || h > bestHash {
			best, bestHash = i, h
		}
	}
	if best < 0 {
		return suspect
	}
	return best
}

// highestWeighted returns the index of the candidate for which weight / -ln(hash) is greatest, with the hash in (0, 1), or
// -1. A candidate wins with the probability of its share of the weights, and a weight that changes moves flows only to
// or from its own candidate (Schindelhauer and Schomaker, "Weighted distributed hash tables", 2005).
func (c *candidates) highestWeighted(key uint64, now int64, tried []netip.AddrPort) int {
	best, suspect := -1, -1
	cost, suspectCost := math.Inf(1), math.Inf(1)
	for i := range c.list {
		x := &c.list[i]
		if slices.Contains(tried, x.addr) {
			continue
		}
		u, w := unit(mix(key^x.seed)), x.weightAt(now)
		if x.pulse.suspectUntil.Load() > now {
			if k := -math.Log(u) / w; k < suspectCost {
				suspect, suspectCost = i, k
			}
			continue
		}
		if 1-u > cost*w {
			continue // -ln(u) is greater still: most candidates need no logarithm
		}
		if k := -math.Log(u) / w; k < cost {
			best, cost = i, k
		}
	}
	if best < 0 {
		return suspect
	}
	return best
}

// unit spreads a hash over (0, 1), the ends left out.
func unit(h uint64) float64 { return (float64(h>>11) + 0.5) / (1 << 53) }

// coldShare is what a target has of its weight at the very beginning of its slow start: not nothing, for it may be the
// only one that is left to try.
const coldShare = 1e-3

// weightAt grows in a straight line while the target starts slowly.
func (x *candidate) weightAt(now int64) float64 {
	if now >= x.warm {
		return x.weight
	}
	return x.weight * max(coldShare, 1-float64(x.warm-now)/float64(x.ramp))
}

// add puts a candidate into the choice.
func (c *choice) add(x candidate) {
	if x.weight == 0 {
		x.weight, x.warm = 1, 0
		c.weightless.add(x)
		return
	}
	c.weighted.add(x)
}

func (c *candidates) add(x candidate) {
	c.uniform = len(c.list) == 0 || c.uniform && x.weight == c.list[0].weight
	c.warm = max(c.warm, x.warm)
	c.list = append(c.list, x)
}

// publish computes the view anew. Called with Pool.mu held.
func (g *Group) publish() {
	v := &view{
		sticky: g.spec.Sticky, pulses: make(map[netip.AddrPort]*pulse, len(g.spec.Targets)),
		status: make([]spec.TargetStatus, 0, len(g.members)),
	}
	if !v.sticky {
		v.passive = g.spec.HealthCheck.UnhealthyThreshold
	}
	for _, t := range g.spec.Targets {
		m := g.members[t.Target]
		v.pulses[addrOf(t.Target)] = &m.pulse
		v.status = append(v.status, m.status())
		if m.state == spec.TargetHealthy {
			v.healthy++
		}
	}
	g.choose(v)
	drained := len(v.status)
	for _, m := range g.members {
		if m.state == spec.TargetDraining {
			v.status = append(v.status, m.status())
		}
	}
	slices.SortFunc(v.status[drained:], func(a, b spec.TargetStatus) int { return addrOf(a.Target).Compare(addrOf(b.Target)) })
	g.view.Store(v)
}

// choose fills in what each zone chooses from.
func (g *Group) choose(v *view) {
	all := v.healthy == 0 && g.spec.FailOpen
	if !g.spec.CrossZone {
		v.zones = map[string]*choice{}
		for _, t := range g.spec.Targets {
			if t.Zone != "" && v.zones[t.Zone] == nil {
				v.zones[t.Zone] = &choice{}
			}
		}
	}
	for _, t := range g.spec.Targets {
		m := g.members[t.Target]
		if m.state != spec.TargetHealthy && !all {
			continue
		}
		x := g.candidate(&t, m)
		if g.spec.CrossZone || t.Zone == "" {
			v.other.add(x)
		}
		for zone, c := range v.zones {
			if t.Zone == zone || t.Zone == "" {
				c.add(x)
			}
		}
	}
}

func (g *Group) candidate(t *spec.Registration, m *member) candidate {
	addr := addrOf(t.Target)
	x := candidate{addr: addr, seed: seedOf(addr), pulse: &m.pulse, weight: float64(t.Weight)}
	if !m.warmAt.IsZero() && m.state == spec.TargetHealthy {
		x.ramp, x.warm = int64(m.ramp), int64(m.warmAt.Sub(g.born))
	}
	return x
}

// replaceable reports whether every zone that may use the healthy target has another. Called with Pool.mu held.
func (g *Group) replaceable(target netip.AddrPort) bool {
	v := g.view.Load()
	for _, c := range v.zones {
		if c.onlyHas(target) {
			return false
		}
	}
	return !v.other.onlyHas(target)
}

func (c *choice) onlyHas(target netip.AddrPort) bool {
	list := c.weighted.list
	if len(list) == 0 {
		list = c.weightless.list
	}
	return len(c.weighted.list)+len(c.weightless.list) == 1 && list[0].addr == target
}

func addrOf(t spec.Target) netip.AddrPort { return netip.AddrPortFrom(t.Address, t.Port) }
