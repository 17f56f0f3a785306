package balance

import (
	"container/heap"
	"context"
	"log/slog"
	"net/netip"
	"reflect"
	"sync"
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
	// Random returns a number in [0, 1); it spreads probes in time.
	Random func() float64
	Logger *slog.Logger
}

// Pool holds target groups and probes their targets: one goroutine plans, a bounded number of them probes. Its methods
// are safe for concurrent use.
type Pool struct {
	cfg  Config
	wake chan struct{}

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
	return &Pool{cfg: cfg, wake: make(chan struct{}, 1), groups: map[string]*Group{}}
}

// Apply makes groups the ones of the pool, by difference: a target that stays keeps its health. Only groups for which
// used answers true are probed; targets of the others are in state unused.
func (p *Pool) Apply(groups []spec.TargetGroup, used func(name string) bool) {
	p.mu.Lock()
	keep := make(map[string]bool, len(groups))
	for i := range groups {
		keep[groups[i].Name] = true
		p.set(&groups[i], used(groups[i].Name))
	}
	for name, g := range p.groups {
		if keep[name] {
			continue
		}
		for _, m := range g.members {
			p.drop(m)
		}
		g.used = false
		g.waiting = nil
		g.view.Store(&view{})
		delete(p.groups, name)
	}
	p.mu.Unlock()
	p.kick()
}

// Group returns the group of that name, or nil. It stays valid, though empty, after the group's removal.
func (p *Pool) Group(name string) *Group {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.groups[name]
}

// set creates or updates one group. Called with mu held.
func (p *Pool) set(want *spec.TargetGroup, used bool) {
	g := p.groups[want.Name]
	if g == nil {
		g = &Group{name: want.Name, born: time.Now(), members: map[spec.Target]*member{}}
		p.groups[want.Name] = g
	} else if g.used == used && reflect.DeepEqual(&g.spec, want) {
		return
	}
	now := time.Now()
	if g.used != used {
		for _, m := range g.members {
			m.enter(used, now)
			p.plan(m, used)
		}
	}
	g.spec, g.used = *want, used
	keep := make(map[spec.Target]bool, len(want.Targets))
	for _, r := range want.Targets {
		t := r.Target
		keep[t] = true
		if g.members[t] == nil {
			m := &member{group: g, target: t, index: -1}
			m.enter(used, now)
			g.members[t] = m
			p.plan(m, used)
		}
	}
	for t, m := range g.members {
		if !keep[t] {
			p.drop(m)
			delete(g.members, t)
		}
	}
	g.publish()
}

// plan queues the member's first probe soon, or takes it out of the queue. Called with mu held.
func (p *Pool) plan(m *member, used bool) {
	if !used {
		p.drop(m)
		return
	}
	if m.index < 0 && m.cancel == nil {
		m.due = time.Now().Add(time.Duration(p.cfg.Random() * float64(firstSpread)))
		heap.Push(&p.queue, m)
	}
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
		timer.Reset(p.startDue(ctx))
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		case <-timer.C:
		}
	}
}

// startDue starts what is due and returns the time until the next is.
func (p *Pool) startDue(ctx context.Context) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for len(p.queue) > 0 && p.running < maxProbes && ctx.Err() == nil {
		m := p.queue[0]
		if wait := m.due.Sub(now); wait > 0 {
			return wait
		}
		heap.Pop(&p.queue)
		if m.group.running >= maxGroupProbes {
			m.group.waiting = append(m.group.waiting, m)
			continue
		}
		p.start(ctx, m)
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
	p.mu.Lock()
	g := m.group
	p.running--
	g.running--
	m.cancel = nil
	before, changed := m.state, false
	if g.probes(m) {
		if valid && !m.stale {
			changed = m.observe(err, time.Now())
		}
		if changed {
			g.publish()
		}
		m.due = p.next(begun, g.spec.HealthCheck.Interval)
		heap.Push(&p.queue, m)
	}
	after, addr := m.state, m.probeAddr()
	p.releaseWaiting(g)
	p.mu.Unlock()
	p.kick()
	if !changed {
		return
	}
	if before != after {
		p.cfg.Logger.Info("target health changed", "target_group", g.name, "target", addr,
			"from", string(before), "to", string(after), "error", err)
	}
	p.cfg.Changed()
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

// dueQueue is a heap of members by due time.
type dueQueue []*member

func (q dueQueue) Len() int           { return len(q) }
func (q dueQueue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q dueQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements heap.Interface.
func (q *dueQueue) Push(x any) {
	m := x.(*member)
	m.index = len(*q)
	*q = append(*q, m)
}

// Pop implements heap.Interface.
func (q *dueQueue) Pop() any {
	old := *q
	m := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	m.index = -1
	return m
}
