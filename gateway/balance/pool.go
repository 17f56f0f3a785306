package balance

import (
	"container/heap"
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"causeway/gateway/spec"
)

// Bounds of probing. The second keeps one tenant's unreachable targets from using up the first.
const (
	maxProbes      = 1024
	maxGroupProbes = 16
	// firstSpread is the time over which first probes are spread: short, because a group that does not fail open serves
	// nobody until one succeeded.
	firstSpread = 250 * time.Millisecond
)

// Prober connects to a target of a group, as a health check, and reports what it met: nil is a success. It must end soon
// after ctx does. It is called concurrently.
type Prober func(ctx context.Context, group *spec.TargetGroup, target netip.AddrPort) error

// Config is what a Pool needs.
type Config struct {
	// Probe makes one health check.
	Probe Prober
	// Changed is called, without any lock held, when a target's health changed. Nil is allowed.
	Changed func()
	// Lost is called, without any lock held, when the flows of a target are to be reset. It must not block, for it may be
	// called where a connection failed. Nil is allowed.
	Lost func(Loss)
	// Random returns a number in [0, 1); it spreads probes in time.
	Random func() float64
	Logger *slog.Logger
}

// Pool holds target groups and probes their targets: one goroutine plans, a bounded number of them probes. Its methods
// are safe for concurrent use.
type Pool struct {
	cfg  Config
	wake chan struct{}
	// named is a copy of groups for those who only look.
	named atomic.Pointer[map[string]*Group]

	mu      sync.Mutex
	groups  map[string]*Group
	queue   dueQueue
	running int
	probes  sync.WaitGroup
}

// NewPool returns a Pool without groups. Nothing is probed before [Pool.Run].
func NewPool(cfg Config) *Pool {
	if cfg.Changed == nil {
		cfg.Changed = func() {}
	}
	if cfg.Lost == nil {
		cfg.Lost = func(Loss) {}
	}
	p := &Pool{cfg: cfg, wake: make(chan struct{}, 1), groups: map[string]*Group{}}
	p.named.Store(&map[string]*Group{})
	return p
}

// Apply makes groups the ones of the pool, by difference: a target that stays keeps its health, one that leaves drains
// for the group's deregistration delay. Only groups for which used answers true are probed; targets of the others are
// in state unused.
func (p *Pool) Apply(groups []spec.TargetGroup, used func(name string) bool) {
	var n news
	p.mu.Lock()
	keep := make(map[string]bool, len(groups))
	for i := range groups {
		keep[groups[i].Name] = true
		p.set(&groups[i], used(groups[i].Name), &n)
	}
	for name, g := range p.groups {
		if !keep[name] && !g.removed {
			p.remove(g, &n)
		}
	}
	p.publishNames()
	p.mu.Unlock()
	p.tell(&n)
	p.kick()
}

// Group returns the group of that name, or nil. It stays valid, though empty, after the group's removal. It takes no
// lock.
func (p *Pool) Group(name string) *Group { return (*p.named.Load())[name] }

// publishNames is called with mu held.
func (p *Pool) publishNames() {
	if !maps.Equal(*p.named.Load(), p.groups) {
		named := maps.Clone(p.groups)
		p.named.Store(&named)
	}
}

// set creates or updates one group. Called with mu held.
func (p *Pool) set(want *spec.TargetGroup, used bool, n *news) {
	g := p.groups[want.Name]
	if g == nil {
		g = &Group{name: want.Name, pool: p, born: time.Now(), members: map[spec.Target]*member{}}
		p.groups[want.Name] = g
	} else if g.used == used && !g.removed && reflect.DeepEqual(&g.spec, want) {
		return
	}
	now := time.Now()
	founders := g.used != used || len(g.spec.Targets) == 0
	if g.used != used {
		for _, m := range g.members {
			if m.state != spec.TargetDraining {
				m.enter(used, now)
				m.founder = true
				p.plan(m, used)
			}
		}
	}
	old := g.spec
	g.spec, g.used, g.removed = *want, used, false
	keep := make(map[spec.Target]bool, len(want.Targets))
	for _, r := range want.Targets {
		keep[r.Target] = true
		p.register(g, r.Target, founders, now)
	}
	for t, m := range g.members {
		if !keep[t] && m.state != spec.TargetDraining {
			p.deregister(m, &old, now, n)
		}
	}
	g.publish()
}

// register makes a target a member, also one that drains. Called with mu held.
func (p *Pool) register(g *Group, t spec.Target, founder bool, now time.Time) {
	m := g.members[t]
	switch {
	case m == nil:
		m = &member{group: g, target: t, index: -1}
		g.members[t] = m
	case m.state != spec.TargetDraining:
		return
	default:
		p.drop(m)
	}
	m.enter(g.used, now)
	m.founder = founder
	p.plan(m, g.used)
}

// plan queues the member's first probe soon, or takes it out of the queue. Called with mu held.
func (p *Pool) plan(m *member, used bool) {
	if !used {
		p.drop(m)
		return
	}
	if m.index < 0 && m.cancel == nil {
		m.due = p.soon()
		heap.Push(&p.queue, m)
	}
}

func (p *Pool) soon() time.Time {
	return time.Now().Add(time.Duration(p.cfg.Random() * float64(firstSpread)))
}

// drop ends the member's probing. Called with mu held.
func (p *Pool) drop(m *member) {
	if m.index >= 0 {
		heap.Remove(&p.queue, m.index)
	}
	if m.cancel != nil {
		m.stale = true
		m.cancel()
	}
}

// kick lets the planner look at the queue again.
func (p *Pool) kick() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Run probes until ctx ends, then waits for the probes under way. It returns nil.
func (p *Pool) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer p.probes.Wait()
	for {
		var n news
		timer.Reset(p.startDue(ctx, &n))
		p.tell(&n)
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		case <-timer.C:
		}
	}
}

// startDue starts what is due and returns the time until the next is.
func (p *Pool) startDue(ctx context.Context, n *news) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for len(p.queue) > 0 && p.running < maxProbes && ctx.Err() == nil {
		m := p.queue[0]
		if wait := m.due.Sub(now); wait > 0 {
			return wait
		}
		heap.Pop(&p.queue)
		switch {
		case m.state == spec.TargetDraining:
			p.drained(m, n)
		case m.group.running >= maxGroupProbes:
			m.group.waiting = append(m.group.waiting, m)
		default:
			p.start(ctx, m)
		}
	}
	return time.Hour // the end of a probe or a new target wakes the planner before
}

// start launches a probe. Called with mu held.
func (p *Pool) start(ctx context.Context, m *member) {
	group := m.group.spec
	probe, cancel := context.WithTimeout(ctx, group.HealthCheck.Timeout)
	m.cancel, m.stale = cancel, false
	m.group.running++
	p.running++
	addr := m.probeAddr()
	p.probes.Go(func() {
		defer cancel()
		begun := time.Now()
		err := p.cfg.Probe(probe, &group, addr)
		p.finish(m, begun, err, ctx.Err() == nil)
	})
}

// finish takes the outcome of a probe, unless it was called off, and plans the next.
func (p *Pool) finish(m *member, begun time.Time, err error, valid bool) {
	var n news
	p.mu.Lock()
	g := m.group
	p.running--
	g.running--
	m.cancel = nil
	if g.probes(m) {
		m.due = p.next(begun, g.spec.HealthCheck.Interval)
		switch {
		case m.stale:
			m.due = p.soon() // it left and came back
		case valid && m.observe(err, time.Now(), &n):
			n.changed = true
			g.publish()
		}
		heap.Push(&p.queue, m)
	}
	p.releaseWaiting(g)
	p.mu.Unlock()
	p.kick()
	p.tell(&n)
}

// releaseWaiting makes due the first of the members that waited for one of the group's slots. Called with mu held.
func (p *Pool) releaseWaiting(g *Group) {
	for len(g.waiting) > 0 {
		m := g.waiting[0]
		g.waiting[0] = nil
		g.waiting = g.waiting[1:]
		if g.probes(m) && m.index < 0 && m.cancel == nil {
			heap.Push(&p.queue, m)
			return
		}
	}
}

// next is an interval after the probe's begin, five percent to either side, so that probes of many targets do not march
// in step.
func (p *Pool) next(begun time.Time, interval time.Duration) time.Time {
	return begun.Add(time.Duration(float64(interval) * (0.95 + 0.1*p.cfg.Random())))
}
