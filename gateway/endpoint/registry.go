package endpoint

import (
	"cmp"
	"errors"
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"causeway/gateway/shape"
)

// ErrClosed is returned by an engine that has been closed.
var ErrClosed = errors.New("relay engine is closed")

// ifaceCounters are the counters of a network interface. They live while it
// has listeners or flows.
type ifaceCounters struct {
	uid          string
	users        int   // listeners and flows, guarded by Engine.mu
	active       int64 // flows, guarded by Engine.mu
	opened       atomic.Uint64
	refused      atomic.Uint64
	ingressBytes atomic.Uint64
	egressBytes  atomic.Uint64
}

// use finds or makes the counters of a network interface. It is called with mu
// held, as is unuse.
func (e *Engine) use(uid string) *ifaceCounters {
	c := e.ifaces[uid]
	if c == nil {
		c = &ifaceCounters{uid: uid}
		e.ifaces[uid] = c
	}
	c.users++
	return c
}

func (e *Engine) unuse(c *ifaceCounters) {
	if c.users--; c.users == 0 {
		delete(e.ifaces, c.uid)
	}
}

func (e *Engine) addListener(l *Listener) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing {
		return ErrClosed
	}
	l.iface = e.use(l.cfg.NetworkInterface)
	e.listeners[l] = struct{}{}
	return nil
}

func (e *Engine) removeListener(l *Listener) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.listeners, l)
	e.unuse(l.iface)
}

// register makes a flow known; false means that the engine closes.
func (e *Engine) register(f *Flow) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing {
		return false
	}
	f.index = int32(len(e.flows))
	e.flows = append(e.flows, f)
	f.listener.iface.users++
	f.listener.iface.active++
	return true
}

// finish forgets a flow that ended and counts it.
func (e *Engine) finish(f *Flow, why Reason) {
	e.mu.Lock()
	last := len(e.flows) - 1
	e.flows[f.index] = e.flows[last]
	e.flows[f.index].index = f.index
	e.flows[last] = nil
	e.flows = e.flows[:last]
	f.index = -1
	f.listener.iface.active--
	e.unuse(f.listener.iface)
	if e.waiters > 0 {
		e.gone.Broadcast()
	}
	e.mu.Unlock()
	e.count(f, why)
}

// count notes the end of a flow, registered or refused.
func (e *Engine) count(f *Flow, why Reason) {
	e.endedBy[why].Add(1)
	if why.Refused() {
		f.listener.iface.refused.Add(1)
	}
	if e.cfg.OnEnd == nil {
		return
	}
	r := f.Record()
	r.End, r.Reason = e.cfg.Now(), why
	e.cfg.OnEnd(r)
}

func (e *Engine) moved(c *ifaceCounters, way shape.Direction, n int) {
	if way == shape.Ingress {
		e.ingressBytes.Add(uint64(n))
		c.ingressBytes.Add(uint64(n))
		return
	}
	e.egressBytes.Add(uint64(n))
	c.egressBytes.Add(uint64(n))
}

// snapshot returns the live flows.
func (e *Engine) snapshot() []*Flow {
	e.mu.Lock()
	defer e.mu.Unlock()
	flows := make([]*Flow, len(e.flows))
	copy(flows, e.flows)
	return flows
}

// endLater makes a worker end the flow. The first reason given stays.
func (f *Flow) endLater(why Reason) {
	f.ending.CompareAndSwap(uint32(ReasonNone), uint32(why))
	f.kick(&f.engine.queue, evEnd)
}

// CloseWhere resets both sides of every live flow that match selects, and
// returns how many those were. When it returns none of them relays any more.
// Flows accepted meanwhile may be missed: close their listeners, or make Peer
// and Admit refuse them, before. It must not be called from functions that the
// engine calls.
func (e *Engine) CloseWhere(match func(*Flow) bool, why Reason) int {
	var ending []*Flow
	for _, f := range e.snapshot() {
		if match(f) {
			f.endLater(why)
			ending = append(ending, f)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiters++
	defer func() { e.waiters-- }()
	for _, f := range ending {
		for f.index >= 0 {
			e.gone.Wait()
		}
	}
	return len(ending)
}

// Flows returns a record of every live flow.
func (e *Engine) Flows() []Record { return slices.Collect(e.FlowsAfter(0)) }

// FlowsAfter gives a record of every live flow with a greater number, in the
// order of their numbers, which is that of their beginnings.
func (e *Engine) FlowsAfter(id uint64) iter.Seq[Record] {
	flows := slices.DeleteFunc(e.snapshot(), func(f *Flow) bool { return f.id <= id })
	slices.SortFunc(flows, func(a, b *Flow) int { return cmp.Compare(a.id, b.id) })
	return func(yield func(Record) bool) {
		for _, f := range flows {
			if !yield(f.Record()) {
				return
			}
		}
	}
}

// Stats are an engine's counters since it was made.
type Stats struct {
	// Active flows, those that still dial included.
	Active int64
	// Dialling is how many of them have no target yet.
	Dialling int64
	// Opened counts flows that were connected to a target.
	Opened uint64
	// Ended counts flows by why they ended or were refused.
	Ended        [ReasonCount]uint64
	IngressBytes uint64
	EgressBytes  uint64
	// PolicyAllowed, PolicyDenied and PolicyDryRun count what endpoint policies
	// said of flows: PolicyDryRun those denied by one that is not enforced.
	PolicyAllowed, PolicyDenied, PolicyDryRun uint64
	// DialsFailed counts targets that refused or did not answer.
	DialsFailed uint64
	// Interfaces holds the counters of each network interface that has a
	// listener or a flow, by uid.
	Interfaces map[string]InterfaceStats
}

// InterfaceStats are the counters of one network interface since its first
// listener.
type InterfaceStats struct {
	Active       int64
	Opened       uint64
	Refused      uint64
	IngressBytes uint64
	EgressBytes  uint64
}

// Stats returns the engine's counters.
func (e *Engine) Stats() Stats {
	s := Stats{
		Opened:       e.opened.Load(),
		IngressBytes: e.ingressBytes.Load(),
		EgressBytes:  e.egressBytes.Load(),
		DialsFailed:  e.dialsFailed.Load(),

		PolicyAllowed: e.policyAllowed.Load(),
		PolicyDenied:  e.policyDenied.Load(),
		PolicyDryRun:  e.policyDryRun.Load(),
	}
	for i := range e.endedBy {
		s.Ended[i] = e.endedBy[i].Load()
	}
	e.dialMu.Lock()
	s.Dialling = int64(len(e.dials))
	e.dialMu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	s.Active = int64(len(e.flows))
	s.Interfaces = make(map[string]InterfaceStats, len(e.ifaces))
	for uid, c := range e.ifaces {
		s.Interfaces[uid] = InterfaceStats{
			Active:       c.active,
			Opened:       c.opened.Load(),
			Refused:      c.refused.Load(),
			IngressBytes: c.ingressBytes.Load(),
			EgressBytes:  c.egressBytes.Load(),
		}
	}
	return s
}

// now is the time since the engine was made.
func (e *Engine) now() time.Duration { return e.cfg.Now().Sub(e.epoch) }
