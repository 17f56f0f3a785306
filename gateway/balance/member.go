package balance

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"causeway/gateway/spec"
)

// Reason codes of target health (AWS, "TargetHealth" of Elastic Load Balancing v2).
const (
	reasonInitial = "Elb.InitialHealthChecking"
	reasonFailed  = "Target.FailedHealthChecks"
	reasonUnused  = "Target.NotInUse"
)

// member is one target of a group with its health. All fields but suspectUntil are guarded by Pool.mu.
type member struct {
	group  *Group
	target spec.Target

	state       spec.TargetState
	description string
	since       time.Time
	// successes and failures are the current runs of equal outcomes.
	successes, failures int

	due    time.Time
	index  int // in the due queue, -1 when absent
	cancel context.CancelFunc
	// stale tells that the probe under way was called off and its outcome means nothing.
	stale bool

	suspectUntil atomic.Int64
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
	case spec.TargetHealthy:
	}
	return s
}

// observe counts the outcome of a probe and reports whether anything visible changed. A target that was never healthy
// takes traffic after its first success whatever the threshold, as NLB documents.
func (m *member) observe(err error, now time.Time) bool {
	check := &m.group.spec.HealthCheck
	description := ""
	if err != nil {
		m.successes, m.failures = 0, m.failures+1
		description = err.Error()
	} else {
		m.successes, m.failures = m.successes+1, 0
		m.suspectUntil.Store(0)
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
		m.state, m.since = next, now
	}
	return changed
}

// enter puts the member at the beginning of its life: initial when it is to be probed, unused when nothing refers to it.
func (m *member) enter(used bool, now time.Time) {
	m.state, m.since, m.description = spec.TargetUnused, now, ""
	if used {
		m.state = spec.TargetInitial
	}
	m.successes, m.failures = 0, 0
}

// probeAddr is where the health check connects.
func (m *member) probeAddr() netip.AddrPort {
	port := m.target.Port
	if p := m.group.spec.HealthCheck.Port; p != 0 {
		port = p
	}
	return netip.AddrPortFrom(m.target.Address, port)
}
