package endpoint

// Reason says why a flow ended or was refused. Its names are bounded and
// stable: they are used as metric labels.
type Reason uint8

// Reasons. Those up to ReasonInternal end flows that were open; the
// "refused" ones end flows before any byte was relayed.
const (
	// ReasonNone is the zero value: the flow lives.
	ReasonNone Reason = iota
	// ReasonCompleted: both sides closed their direction in order.
	ReasonCompleted
	// ReasonConsumerReset: the consumer reset the connection.
	ReasonConsumerReset
	// ReasonTargetReset: the target reset the connection.
	ReasonTargetReset
	// ReasonConsumerTimeout: the consumer no longer answered.
	ReasonConsumerTimeout
	// ReasonTargetTimeout: the target no longer answered.
	ReasonTargetTimeout
	// ReasonIdleTimeout: nothing moved for the listener's idle timeout.
	ReasonIdleTimeout
	// ReasonEndpointDeleted: the endpoint was deleted or disabled.
	ReasonEndpointDeleted
	// ReasonServiceDeleted: the endpoint service or its listener went away.
	ReasonServiceDeleted
	// ReasonConnectionRejected: the provider withdrew its acceptance.
	ReasonConnectionRejected
	// ReasonPeeringDeleted: the peering or association the flow came over ended.
	ReasonPeeringDeleted
	// ReasonPeerRemoved: the consumer's attachment or tunnel was removed.
	ReasonPeerRemoved
	// ReasonTargetRemoved: the target was deregistered.
	ReasonTargetRemoved
	// ReasonTargetUnhealthy: the target became unhealthy while another was healthy.
	ReasonTargetUnhealthy
	// ReasonPolicyChanged: a policy or security group no longer allows the flow.
	ReasonPolicyChanged
	// ReasonTLSHandshake: the consumer and the listener did not come to terms
	// about TLS, or not in time.
	ReasonTLSHandshake
	// ReasonShutdown: the engine closed.
	ReasonShutdown
	// ReasonInternal: the gateway broke its own rules; logged.
	ReasonInternal
	// ReasonRefusedNotAdmitted: Admit refused.
	ReasonRefusedNotAdmitted
	// ReasonRefusedPolicy: the endpoint policy denied, or depends on a server name
	// that did not come.
	ReasonRefusedPolicy
	// ReasonRefusedUnknownPeer: no peer owns the consumer's address.
	ReasonRefusedUnknownPeer
	// ReasonRefusedNoTarget: no target could be picked.
	ReasonRefusedNoTarget
	// ReasonRefusedTargetGuard: the guard denied every target picked.
	ReasonRefusedTargetGuard
	// ReasonRefusedTargetsFailed: every target failed or timed out.
	ReasonRefusedTargetsFailed
	// ReasonRefusedPortsExhausted: no source port towards the last target tried
	// is free.
	ReasonRefusedPortsExhausted
	// ReasonRefusedConsumerGone: the consumer left while a target was dialled.
	ReasonRefusedConsumerGone
	// ReasonRefusedDomainDials: too many dials in flight in the domain.
	ReasonRefusedDomainDials
	// ReasonRefusedClientDials: too many dials in flight for the client.
	ReasonRefusedClientDials
	// ReasonRefusedDomainFlows: too many flows in the domain.
	ReasonRefusedDomainFlows
	// ReasonCount is the number of reasons, for tables.
	ReasonCount
)

var reasonNames = [ReasonCount]string{
	ReasonNone:                  "none",
	ReasonCompleted:             "completed",
	ReasonConsumerReset:         "consumer_reset",
	ReasonTargetReset:           "target_reset",
	ReasonConsumerTimeout:       "consumer_timeout",
	ReasonTargetTimeout:         "target_timeout",
	ReasonIdleTimeout:           "idle_timeout",
	ReasonEndpointDeleted:       "endpoint_deleted",
	ReasonServiceDeleted:        "service_deleted",
	ReasonConnectionRejected:    "connection_rejected",
	ReasonPeeringDeleted:        "peering_deleted",
	ReasonPeerRemoved:           "peer_removed",
	ReasonTargetRemoved:         "target_removed",
	ReasonTargetUnhealthy:       "target_unhealthy",
	ReasonPolicyChanged:         "policy_changed",
	ReasonTLSHandshake:          "tls_handshake",
	ReasonShutdown:              "shutdown",
	ReasonInternal:              "internal",
	ReasonRefusedNotAdmitted:    "refused_not_admitted",
	ReasonRefusedPolicy:         "refused_policy",
	ReasonRefusedUnknownPeer:    "refused_unknown_peer",
	ReasonRefusedNoTarget:       "refused_no_target",
	ReasonRefusedTargetGuard:    "refused_target_guard",
	ReasonRefusedTargetsFailed:  "refused_targets_failed",
	ReasonRefusedPortsExhausted: "refused_ports_exhausted",
	ReasonRefusedConsumerGone:   "refused_consumer_gone",
	ReasonRefusedDomainDials:    "refused_domain_dials",
	ReasonRefusedClientDials:    "refused_client_dials",
	ReasonRefusedDomainFlows:    "refused_domain_flows",
}

// String returns the snake_case name of r.
func (r Reason) String() string {
	if r < ReasonCount {
		return reasonNames[r]
	}
	return "unknown"
}

// Refused reports whether r means that the flow was never relayed.
func (r Reason) Refused() bool {
	return r >= ReasonRefusedNotAdmitted && r < ReasonCount
}
