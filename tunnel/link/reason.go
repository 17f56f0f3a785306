package link

// Reason says why a packet was dropped. The set is closed, so it can be a metric label.
type Reason uint8

const (
	// ReasonRefused: denied without a nearer reason; also the reason when Admit is nil.
	ReasonRefused Reason = iota

	// Reasons of the link itself, in the order in which a packet meets them.

	// ReasonNotIPv4: the packet is empty or its version is not 4.
	ReasonNotIPv4
	// ReasonIPHeader: truncated, or a header or total length that does not fit (RFC 791 section 3.1).
	ReasonIPHeader
	// ReasonIPChecksum: the header checksum is wrong.
	ReasonIPChecksum
	// ReasonMartian: source or destination is loopback, unspecified, multicast, broadcast or in 240/4, or the
	// destination is link-local
	// (RFC 1812 section 5.3.7, RFC 6890).
	ReasonMartian
	// ReasonFragment: a fragment; ports of later fragments are unknown, so no rule could be applied to them.
	ReasonFragment
	// ReasonIPOptions: an IP header with options (source routing among them, RFC 7126).
	ReasonIPOptions
	// ReasonOversized: more than [MaxMTU] bytes. Outbound, a segment is larger than what the WireGuard device can carry.
	ReasonOversized
	// ReasonProtocol: neither TCP nor UDP.
	ReasonProtocol
	// ReasonTransportHeader: a truncated TCP or UDP header, or an impossible data offset or length.
	ReasonTransportHeader
	// ReasonTransportChecksum: the TCP or UDP checksum is wrong.
	ReasonTransportChecksum
	// ReasonDetached: no stack is attached to the link, or, outbound, the port is closed.
	ReasonDetached

	// Outbound only.

	// ReasonNoRoute: no port holds the destination.
	ReasonNoRoute
	// ReasonQueueFull: the port's queue stayed full for the whole bounded wait, or the packet may not wait.
	ReasonQueueFull

	// Reasons for [Config.Admit] and a [Filter] to give.

	// ReasonNetworkACL: denied by a subnet's network ACL.
	ReasonNetworkACL
	// ReasonNoExposure: the destination address is no exposure of this domain.
	ReasonNoExposure
	// ReasonNoListener: the exposure has no listener on this port.
	ReasonNoListener
	// ReasonSecurityGroup: denied by a security group.
	ReasonSecurityGroup
	// ReasonEndpointState: the endpoint is not available (pending, rejected, deleting).
	ReasonEndpointState
	// ReasonEndpointPolicy: denied by the endpoint policy.
	ReasonEndpointPolicy
	// ReasonTunnelAccess: the peering denies its tunnels this exposure.
	ReasonTunnelAccess
	// ReasonConnectionLimit: the domain or the client has too many connections or dials in flight.
	ReasonConnectionLimit
	// ReasonNoHealthyTarget: no target can serve the connection.
	ReasonNoHealthyTarget

	numReasons
)

// NumReasons is the number of reasons; every Reason is less than it.
const NumReasons = int(numReasons)

var reasonNames = [NumReasons]string{
	ReasonRefused:           "refused",
	ReasonNotIPv4:           "not_ipv4",
	ReasonIPHeader:          "ip_header",
	ReasonIPChecksum:        "ip_checksum",
	ReasonMartian:           "martian",
	ReasonFragment:          "fragment",
	ReasonIPOptions:         "ip_options",
	ReasonProtocol:          "protocol",
	ReasonTransportHeader:   "transport_header",
	ReasonTransportChecksum: "transport_checksum",
	ReasonDetached:          "detached",
	ReasonNoRoute:           "no_route",
	ReasonQueueFull:         "queue_full",
	ReasonOversized:         "oversized",
	ReasonNetworkACL:        "network_acl",
	ReasonNoExposure:        "no_exposure",
	ReasonNoListener:        "no_listener",
	ReasonSecurityGroup:     "security_group",
	ReasonEndpointState:     "endpoint_state",
	ReasonEndpointPolicy:    "endpoint_policy",
	ReasonTunnelAccess:      "tunnel_access",
	ReasonConnectionLimit:   "connection_limit",
	ReasonNoHealthyTarget:   "no_healthy_target",
}

// String returns the stable snake_case name of r, or "refused" for a value that is no Reason.
func (r Reason) String() string { return reasonNames[r.clamp()] }

// clamp keeps the set closed whatever a caller passes, so that counters stay complete.
func (r Reason) clamp() Reason {
	if r >= numReasons {
		return ReasonRefused
	}
	return r
}
