// Package spec is the desired state of one gateway and the status it reports back, as plain
// types that the control plane compiles and the data plane applies. It holds values, their
// validation and their comparison, and nothing that acts on them.
//
// A spec is complete: what is absent from it does not exist. Lists are sorted by their first
// field, so that equal states have equal encodings. References between objects are by name.
package spec

import (
	"net/netip"
	"reflect"
	"time"
)

// Gateway is everything one gateway serves.
type Gateway struct {
	// Revision is the store revision the spec was compiled from. A gateway never goes back
	// to a smaller one.
	Revision int64 `json:"revision"`
	// Zones are the availability zones the gateway serves.
	Zones         []string       `json:"zones,omitempty"`
	Domains       []Domain       `json:"domains,omitempty"`
	Endpoints     []Endpoint     `json:"endpoints,omitempty"`
	LoadBalancers []LoadBalancer `json:"load_balancers,omitempty"`
	TargetGroups  []TargetGroup  `json:"target_groups,omitempty"`
}

// Domain is a routing domain: one netstack with the WireGuard devices that lead into it.
type Domain struct {
	// Name is the resource name of the VPC: accounts/{account}/vpcs/{vpc}.
	Name string `json:"name"`
	// Prefixes are the VPC's own address ranges. Addresses of other domains may be equal.
	Prefixes        []netip.Prefix   `json:"prefixes,omitempty"`
	TunnelEndpoints []TunnelEndpoint `json:"tunnel_endpoints,omitempty"`
	// Exposures are the network interfaces reachable in this domain.
	Exposures []Exposure `json:"exposures,omitempty"`
}

// TunnelEndpoint is one WireGuard device of a domain. Its private key is made and kept by the
// gateway; the spec never carries one.
type TunnelEndpoint struct {
	// UID names the device for its whole life: key file, UAPI socket and status use it.
	UID  string `json:"uid"`
	Zone string `json:"zone"`
	// Port is the UDP port the device listens on, unique in a gateway.
	Port  uint16 `json:"port"`
	Peers []Peer `json:"peers,omitempty"`
}

// PeerKind tells what a WireGuard peer stands for.
type PeerKind string

const (
	// Attachment is a workload inside the VPC, holding one address of a subnet.
	Attachment PeerKind = "attachment"
	// Tunnel carries an on-premises site. A peering may deny its use to the other side's tunnels.
	Tunnel PeerKind = "tunnel"
)

// Peer is a WireGuard peer of a tunnel endpoint.
type Peer struct {
	// Name is the resource name of the attachment or tunnel.
	Name string   `json:"name"`
	Kind PeerKind `json:"kind"`
	// PublicKey identifies the peer; exclusive within a tunnel endpoint.
	PublicKey Key `json:"public_key"`
	// AllowedIPs are the source addresses the peer may use and the destinations sent to it.
	// Two peers of one tunnel endpoint never share a prefix.
	AllowedIPs []netip.Prefix `json:"allowed_ips,omitempty"`
	// Keepalive is WireGuard's persistent keepalive in whole seconds; zero is off.
	Keepalive time.Duration `json:"keepalive,omitempty"`
}

// Exposure makes a network interface reachable in a domain.
type Exposure struct {
	// Interface is the UID of a network interface of one of Gateway.Endpoints.
	Interface string `json:"interface"`
	// Via is the resource name of the peering that shows the interface here; empty in the
	// endpoint's own VPC.
	Via string `json:"via,omitempty"`
	// Tunnels tells whether this domain's tunnels may use the exposure. Attachments always may.
	Tunnels bool `json:"tunnels,omitempty"`
}

// Endpoint is a consumer's use of an endpoint service.
type Endpoint struct {
	// Name is the resource name: accounts/{account}/vpcs/{vpc}/endpoints/{endpoint}.
	Name string `json:"name"`
	UID  string `json:"uid"`
	// Service is the resource name of the endpoint service.
	Service string `json:"service"`
	// LoadBalancers are the names of the service's load balancers. An interface uses the
	// first that has a node in its zone.
	LoadBalancers []string           `json:"load_balancers,omitempty"`
	Bandwidth     Bandwidth          `json:"bandwidth"`
	Interfaces    []NetworkInterface `json:"interfaces,omitempty"`
}

// Bandwidth bounds each of an endpoint's zone budgets, in each direction apart.
type Bandwidth struct {
	// BaselineBPS is the limit a budget starts from and never falls below, in bits per second.
	BaselineBPS int64 `json:"baseline_bps"`
	// MaximumBPS is the limit a budget may grow to under sustained use, in bits per second.
	MaximumBPS int64 `json:"maximum_bps"`
}

// NetworkInterface is the address an endpoint holds in one subnet.
type NetworkInterface struct {
	UID  string `json:"uid"`
	Zone string `json:"zone"`
	// Address lies in a subnet of the endpoint's VPC and is kept until the endpoint's deletion.
	Address netip.Addr `json:"address"`
}

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
// domain come from its address.
type Node struct {
	Zone    string     `json:"zone"`
	Address netip.Addr `json:"address"`
}

// Protocol is a transport or health check protocol.
type Protocol string

// TCP is the transport of listeners and the plain health check of target groups.
const TCP Protocol = "TCP"

// Listener accepts connections on one port of every interface of the service's endpoints.
type Listener struct {
	Port     uint16   `json:"port"`
	Protocol Protocol `json:"protocol"`
	// TargetGroup names one of Gateway.TargetGroups.
	TargetGroup string `json:"target_group"`
	// IdleTimeout ends a connection without segments from either side: 60 to 6000 s.
	IdleTimeout time.Duration `json:"idle_timeout"`
}

// TargetGroup is a set of interchangeable targets of one provider VPC.
type TargetGroup struct {
	// Name is the resource name: accounts/{account}/targetGroups/{target_group}.
	Name        string      `json:"name"`
	Domain      string      `json:"domain"`
	HealthCheck HealthCheck `json:"health_check"`
	// FailOpen sends connections to all targets when none is healthy, as NLB documents;
	// without it such a connection is reset.
	FailOpen bool     `json:"fail_open,omitempty"`
	Targets  []Target `json:"targets,omitempty"`
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
}

// Target is one address and port that serves connections.
type Target struct {
	Address netip.Addr `json:"address"`
	Port    uint16     `json:"port"`
}

// Equal reports whether both describe the same state, revisions aside.
func (g *Gateway) Equal(other *Gateway) bool {
	a, b := *g, *other
	a.Revision, b.Revision = 0, 0
	return reflect.DeepEqual(a, b)
}
