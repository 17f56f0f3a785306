package balance

import (
	"context"
	"net/netip"
	"time"

	"causeway/gateway/spec"
)

// Reason codes of target health (AWS, "TargetHealth" of Elastic Load Balancing v2).
const (
	reasonInitial  = "Elb.InitialHealthChecking"
	reasonFailed   = "Target.FailedHealthChecks"
	reasonUnused   = "Target.NotInUse"
	reasonDraining = "Target.DeregistrationInProgress"
)

// member is one target of a group with its health. All fields but pulse are guarded by Pool.mu.
type member struct {
	group  *Group
	target spec.Target

	state       spec.TargetState
	description string
	since       time.Time
	// successes and failures are the current runs of equal outcomes.
	successes, failures int
	// served tells that the target may have flows: its group was in use.
	served bool
	// founder came with all others of its group, and does not start slowly.
	founder bool
	// warmAt ends the slow start, which lasts ramp; zero without one.
	warmAt time.Time
	ramp   time.Duration

	// due is when to probe, or when the draining ends.
	due    time.Time
	index  int // in the due queue, -1 when absent
	cancel context.CancelFunc
	// stale tells that the probe under way was called off and its outcome means nothing.
	stale bool

	pulse pulse
}

// status is the member's health in the words of the API.
func (m *member) status() spec.TargetStatus {
	s := spec.TargetStatus{Target: m.target, State: m.state, Description: m.description, Since: m.since}
	switch m.state {
	case spec.TargetInitial:
		s.Reason = reasonInitial
	case spec.TargetUnhealthy:
		s.Reason = reasonFailed
	case spec.TargetUnused:
		s.Reason = reasonUnused
	case spec.TargetDraining:
		s.Reason = reasonDraining
	case spec.TargetHealthy:
	}
	return s
}

// observe counts the outcome of a probe and reports whether anything visible changed. A target that was never healthy
// takes traffic after its first success whatever the threshold, as NLB documents.
func (m *member) observe(err error, now time.Time, n *news) bool {
	check := &m.group.spec.HealthCheck
	description := ""
	if err != nil {
		m.group.checksFailed.Add(1)
		m.successes, m.failures = 0, m.failures+1
		description = err.Error()
	} else {
		m.group.checksPassed.Add(1)
		m.successes, m.failures = m.successes+1, 0
		m.pulse.suspectUntil.Store(0)
		m.pulse.dials.succeeded()
	}
	next := m.state
	switch {
	case err == nil && (m.state == spec.TargetInitial || m.successes >= check.HealthyThreshold):
		next = spec.TargetHealthy
	case err != nil && m.failures >= check.UnhealthyThreshold:
		next = spec.TargetUnhealthy
	}
	changed := next != m.state || description != m.description
	m.description = description
	if next != m.state {
		m.become(next, now, n)
	}
	return changed
}

// become changes the state to healthy or unhealthy, and what follows from that.
func (m *member) become(next spec.TargetState, now time.Time, n *news) {
	g := m.group
	n.changes = append(n.changes, change{g.name, addrOf(m.target), m.state, next, m.description})
	m.state, m.since = next, now
	m.warmAt = time.Time{}
	m.pulse.clear()
	if next == spec.TargetHealthy && !m.founder && g.spec.SlowStart > 0 && g.warmBut(m, now) {
		m.ramp, m.warmAt = g.spec.SlowStart, now.Add(g.spec.SlowStart)
	}
	m.founder = false
	if next == spec.TargetUnhealthy && g.spec.UnhealthyReset && g.healthyBut(m) > 0 {
		n.lost = append(n.lost, Loss{Group: g.name, Target: addrOf(m.target)})
	}
}

// enter puts the member at the beginning of its life: initial when it is to be probed, unused when nothing refers to it.
func (m *member) enter(used bool, now time.Time) {
	m.state, m.since, m.description = spec.TargetUnused, now, ""
	if used {
		m.state, m.served = spec.TargetInitial, true
	}
	m.successes, m.failures = 0, 0
	m.warmAt = time.Time{}
}

// probeAddr is where the health check connects.
func (m *member) probeAddr() netip.AddrPort {
	port := m.target.Port
	if p := m.group.spec.HealthCheck.Port; p != 0 {
		port = p
	}
	return netip.AddrPortFrom(m.target.Address, port)
}
