package spec

import (
	"log/slog"
	"net/netip"
	"time"
)

// LoadBalancer distributes the connections of a service's endpoints.
type LoadBalancer struct {
	// Name is the resource name: accounts/{account}/loadBalancers/{load_balancer}.
	Name string `json:"name"`
	// Domain is the provider's VPC, in which the nodes have their addresses.
	Domain    string     `json:"domain"`
	Nodes     []Node     `json:"nodes,omitempty"`
	Listeners []Listener `json:"listeners,omitempty"`
}

// Node is a load balancer's presence in one zone. Connections to targets inside the provider's
// domain come from its addresses: from the first until its ports to the target are used up, then
// from the next.
type Node struct {
	Zone    string     `json:"zone"`
	Address netip.Addr `json:"address"`
	// Secondary are further addresses of the node, at most 7.
	Secondary []netip.Addr `json:"secondary,omitempty"`
	// Subnet names one of Gateway.Subnets.
	Subnet string `json:"subnet,omitempty"`
}

// Addresses are all of the node's, the first one first; none of a node without address.
func (n *Node) Addresses() []netip.Addr {
	if !n.Address.IsValid() {
		return nil
	}
	return append([]netip.Addr{n.Address}, n.Secondary...)
}

// Protocol is a transport or health check protocol.
type Protocol string

// The protocols. TCP and TLS are those of listeners; a TLS listener ends TLS and sends the plain
// bytes on. TCP, HTTP and HTTPS are those of health checks.
const (
	TCP   Protocol = "TCP"
	TLS   Protocol = "TLS"
	HTTP  Protocol = "HTTP"
	HTTPS Protocol = "HTTPS"
)

// Listener accepts connections on one port of every interface of the service's endpoints.
type Listener struct {
	Port     uint16   `json:"port"`
	Protocol Protocol `json:"protocol"`
	// TargetGroup names one of Gateway.TargetGroups.
	TargetGroup string `json:"target_group"`
	// IdleTimeout ends a connection without segments from either side: 60 to 6000 s.
	IdleTimeout time.Duration `json:"idle_timeout"`
	// TLS is there for listeners of protocol TLS only.
	TLS *ListenerTLS `json:"tls,omitempty"`
}

// ListenerTLS is how a listener ends TLS.
type ListenerTLS struct {
	// Certificates name some of Gateway.Certificates: the first is the default, the others are
	// chosen by server name.
	Certificates []string `json:"certificates"`
	// MinimumVersion is "1.2" or "1.3".
	MinimumVersion string `json:"minimum_version"`
	// ALPN are the protocols offered, most preferred first; none disables ALPN.
	ALPN []string `json:"alpn,omitempty"`
}

// Certificate is what a TLS listener shows and proves.
type Certificate struct {
	// Name is the resource name: accounts/{account}/certificates/{certificate}.
	Name string `json:"name"`
	// Chain has the certificate and then its issuers, in PEM.
	Chain string `json:"chain"`
	// PrivateKey is the key of the first certificate, in PEM.
	PrivateKey Secret `json:"private_key"`
}

// Secret is text that formatting and logging do not show. Only its JSON form has it.
type Secret string

// String implements fmt.Stringer.
func (Secret) String() string { return "redacted" }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return "redacted" }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue("redacted") }

// TargetGroup is a set of interchangeable targets of one provider VPC.
type TargetGroup struct {
	// Name is the resource name: accounts/{account}/targetGroups/{target_group}.
	Name        string      `json:"name"`
	Domain      string      `json:"domain"`
	HealthCheck HealthCheck `json:"health_check"`
	// FailOpen sends connections to all targets when none is healthy, as NLB documents;
	// without it such a connection is reset.
	FailOpen bool `json:"fail_open,omitempty"`
	// CrossZone lets interfaces use the targets of every zone; without it those of their own zone and
	// those without one.
	CrossZone bool `json:"cross_zone,omitempty"`
	// Sticky sends a consumer address to the same target as long as that is healthy.
	Sticky bool `json:"sticky,omitempty"`
	// SlowStart is the time in which the share of a target that became healthy grows to its whole
	// weight; zero gives it at once.
	SlowStart time.Duration `json:"slow_start,omitempty"`
	// DeregistrationDelay is how long the flows of a target that left the group may go on. At its end
	// they are reset if DeregistrationReset is set, and left alone otherwise.
	DeregistrationDelay time.Duration `json:"deregistration_delay,omitempty"`
	DeregistrationReset bool          `json:"deregistration_reset,omitempty"`
	// UnhealthyReset resets the flows of a target that becomes unhealthy while another is healthy.
	UnhealthyReset bool `json:"unhealthy_reset,omitempty"`
	// ProxyProtocol makes connections to targets begin with a PROXY protocol v2 header, and
	// ProxyProtocolChecks those of health checks as well.
	ProxyProtocol       bool           `json:"proxy_protocol,omitempty"`
	ProxyProtocolChecks bool           `json:"proxy_protocol_checks,omitempty"`
	Targets             []Registration `json:"targets,omitempty"`
}

// Registration is a target as a member of a group.
type Registration struct {
	Target
	// Zone the target is in; empty for one that serves every zone, as those outside the VPC do.
	Zone string `json:"zone,omitempty"`
	// Weight is the target's share of connections relative to the group's others, 0 to 999; zero
	// gives it none while another target can take them.
	Weight int `json:"weight"`
}

// HealthCheck probes every target of a group. Ranges are NLB's.
type HealthCheck struct {
	Protocol Protocol `json:"protocol"`
	// Port is probed instead of the target's own port when not zero.
	Port               uint16        `json:"port,omitempty"`
	Interval           time.Duration `json:"interval"`
	Timeout            time.Duration `json:"timeout"`
	HealthyThreshold   int           `json:"healthy_threshold"`
	UnhealthyThreshold int           `json:"unhealthy_threshold"`
	// Path is requested by HTTP and HTTPS checks, which succeed when the answer's status is one of Codes.
	Path  string      `json:"path,omitempty"`
	Codes []CodeRange `json:"codes,omitempty"`
}

// CodeRange is a range of HTTP status codes, both ends included.
type CodeRange struct {
	First int `json:"first"`
	Last  int `json:"last"`
}

// Target is one address and port that serves connections.
type Target struct {
	Address netip.Addr `json:"address"`
	Port    uint16     `json:"port"`
}
