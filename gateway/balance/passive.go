package balance

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"causeway/gateway/spec"
)

const (
	// suspicion is how long a target that refused a connection is chosen only when nothing else is left. It is local and
	// short: health checks and failures in a row decide what is healthy.
	suspicion = 5 * time.Second
	// passiveWindow is the time within which failures in a row have to come to make a target unhealthy.
	passiveWindow = 10 * time.Second
)

// errReset is what a target met that resets connections before it sent anything.
var errReset = errors.New("connection reset before the first byte")

// pulse is what connections tell of a target. Times are in nanoseconds since Group.born.
type pulse struct {
	suspectUntil atomic.Int64
	// Dials and what follows them fail apart: a target that accepts everything and resets it is not made well by being
	// connected to.
	dials, answers failureRun
}

// failureRun counts failures that no success came between. Counts of concurrent failures need not be exact.
type failureRun struct {
	count atomic.Int32
	since atomic.Int64
}

// failed counts a failure and returns the length of the run.
func (r *failureRun) failed(now int64) int {
	if r.count.Load() == 0 || now-r.since.Load() > int64(passiveWindow) {
		r.since.Store(now)
		r.count.Store(1)
		return 1
	}
	return int(r.count.Add(1))
}

func (r *failureRun) succeeded() {
	if r.count.Load() != 0 {
		r.count.Store(0)
	}
}

func (p *pulse) clear() {
	p.suspectUntil.Store(0)
	p.dials.succeeded()
	p.answers.succeeded()
}

// Connected notes that a connection to the target was made.
func (g *Group) Connected(target netip.AddrPort) {
	if p := g.view.Load().pulses[target]; p != nil {
		p.dials.succeeded()
	}
}

// Failed notes that a connection to the target could not be made. For 5 seconds others are preferred to it. As many in
// a row as the group's unhealthy threshold, within 10 seconds, make it unhealthy at once, unless the group is sticky or
// a zone would be left without a target; then health checks decide when it is healthy again.
func (g *Group) Failed(target netip.AddrPort, err error) {
	v := g.view.Load()
	p := v.pulses[target]
	if p == nil {
		return
	}
	now := time.Since(g.born)
	p.suspectUntil.Store(int64(now + suspicion))
	g.eject(v, target, p.dials.failed(int64(now)), err)
}

// Answered notes that the target sent something on a connection.
func (g *Group) Answered(target netip.AddrPort) {
	if p := g.view.Load().pulses[target]; p != nil {
		p.answers.succeeded()
	}
}

// Reset notes that the target reset a connection before it sent anything. Resets in a row count as in [Group.Failed], but
// do not make the target suspect.
func (g *Group) Reset(target netip.AddrPort) {
	v := g.view.Load()
	if p := v.pulses[target]; p != nil {
		g.eject(v, target, p.answers.failed(int64(time.Since(g.born))), errReset)
	}
}

// eject makes a healthy target unhealthy after a run of failures. Every so many it is asked for again, should it have
// been refused.
func (g *Group) eject(v *view, target netip.AddrPort, run int, err error) {
	if v.passive == 0 || run%v.passive != 0 {
		return
	}
	p := g.pool
	p.mu.Lock()
	m := g.members[spec.Target{Address: target.Addr(), Port: target.Port()}]
	if m == nil || m.state != spec.TargetHealthy || !g.replaceable(target) {
		p.mu.Unlock()
		return
	}
	g.ejections.Add(1)
	var n news
	m.successes, m.failures = 0, run
	m.description = fmt.Sprintf("%d connections in a row failed, the last one: %v", run, err)
	m.become(spec.TargetUnhealthy, time.Now(), &n)
	g.publish()
	p.mu.Unlock()
	p.tell(&n)
}
