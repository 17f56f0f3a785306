package spec

import (
	"net/netip"
	"time"
)

// Status is what a gateway reports of itself.
type Status struct {
	// Revision is that of the spec in force; zero before the first.
	Revision int64
	// Refused is the newest spec that did not validate, nil after a newer one was applied.
	Refused         *Refusal
	TunnelEndpoints []TunnelEndpointStatus
	Interfaces      []InterfaceStatus
	TargetGroups    []TargetGroupStatus
	// Names are those that are answered only after a probe.
	Names []NameStatus
}

// Refusal tells why a spec was not applied. The one before stays in force.
type Refusal struct {
	Revision int64
	Reason   string
}

// Health is the state of a part of the gateway.
type Health struct {
	// Serving is true when the part does its work.
	Serving bool
	// Reason says in words why it does not.
	Reason string
}

// TunnelEndpointStatus is a WireGuard device as it runs.
type TunnelEndpointStatus struct {
	UID string
	Health
	// PublicKey is what clients name as their peer.
	PublicKey Key
	// Endpoint is the host:port that clients dial.
	Endpoint string
	Peers    []PeerStatus
}

// PeerStatus is the life of one WireGuard peer.
type PeerStatus struct {
	Name string
	// LastHandshake is zero before the first.
	LastHandshake time.Time
	// Endpoint is where the peer was last heard; invalid before.
	Endpoint         netip.AddrPort
	ReceivedBytes    int64
	TransmittedBytes int64
}

// InterfaceStatus is a network interface as it is served.
type InterfaceStatus struct {
	UID string
	Health
	// Ingress is the budget from consumers to the service, Egress the one back.
	Ingress, Egress BudgetStatus
	ActiveFlows     int64
}

// BudgetStatus is one direction of a zone budget.
type BudgetStatus struct {
	// LimitBPS is the limit in force and UsedBPS the recent use, in bits per second.
	LimitBPS, UsedBPS int64
	// Steps are the newest changes of the limit, oldest first, at most 16.
	Steps []BudgetStep
}

// BudgetStep is one growth or shrinking of a limit.
type BudgetStep struct {
	Time           time.Time
	FromBPS, ToBPS int64
}

// TargetState is a target's health in NLB's words.
type TargetState string

// The states a target may be in.
const (
	TargetInitial   TargetState = "initial"
	TargetHealthy   TargetState = "healthy"
	TargetUnhealthy TargetState = "unhealthy"
	TargetUnused    TargetState = "unused"
	// TargetDraining has left the group and keeps the flows it has for a while.
	TargetDraining TargetState = "draining"
)

// TargetGroupStatus is the health of a target group's targets.
type TargetGroupStatus struct {
	Name    string
	Targets []TargetStatus
}

// TargetStatus is the health of one target.
type TargetStatus struct {
	Target
	State TargetState
	// Reason is one of NLB's reason codes, such as Target.FailedHealthChecks; empty when healthy.
	Reason string
	// Description says in words what the last probe met.
	Description string
	Since       time.Time
}
