package balance

import (
	"container/heap"
	"time"

	"causeway/gateway/spec"
)

// deregister ends a member, at once or after the deregistration delay that was agreed when it was registered: it gets no
// new flows, and those it has go on. Called with mu held, before the group is published.
func (p *Pool) deregister(m *member, old *spec.TargetGroup, now time.Time, n *news) {
	p.drop(m)
	if !m.served || old.DeregistrationDelay == 0 {
		p.forget(m, n)
		return
	}
	m.state, m.since, m.description = spec.TargetDraining, now, ""
	m.due = now.Add(old.DeregistrationDelay)
	heap.Push(&p.queue, m)
}

// drained ends a member of which the deregistration delay is over. Called with mu held.
func (p *Pool) drained(m *member, n *news) {
	g := m.group
	p.forget(m, n)
	g.publish()
	n.changed = true
	if g.removed && len(g.members) == 0 {
		delete(p.groups, g.name)
		p.publishNames()
	}
}

// forget takes a member out of its group. Called with mu held.
func (p *Pool) forget(m *member, n *news) {
	delete(m.group.members, m.target)
	if m.served && m.group.spec.DeregistrationReset {
		n.lost = append(n.lost, Loss{Group: m.group.name, Target: addrOf(m.target), Deregistered: true})
	}
}

// remove empties a group that is in no spec any more. What drains keeps it known until it has drained, so that
// a group that comes back under its name finds it. Called with mu held.
func (p *Pool) remove(g *Group, n *news) {
	now := time.Now()
	for _, m := range g.members {
		if m.state != spec.TargetDraining {
			p.deregister(m, &g.spec, now, n)
		}
	}
	g.used, g.removed = false, true
	g.waiting = nil
	g.spec.Targets = nil
	g.publish()
	if len(g.members) == 0 {
		delete(p.groups, g.name)
	}
}
