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
	Certificates  []Certificate  `json:"certificates,omitempty"`
	// Subnets, NetworkACLs and SecurityGroups are those that attachments, network interfaces and nodes name.
	Subnets        []Subnet        `json:"subnets,omitempty"`
	NetworkACLs    []NetworkACL    `json:"network_acls,omitempty"`
	SecurityGroups []SecurityGroup `json:"security_groups,omitempty"`
}

// Domain is a routing domain: one netstack with the WireGuard devices that lead into it.
type Domain struct {
	// Name is the resource name of the VPC: accounts/{account}/vpcs/{vpc}.
	Name string `json:"name"`
	// UID is what endpoint policies know the VPC by.
	UID string `json:"uid,omitempty"`
	// Prefixes are the VPC's own address ranges. Addresses of other domains may be equal.
	Prefixes        []netip.Prefix   `json:"prefixes,omitempty"`
	TunnelEndpoints []TunnelEndpoint `json:"tunnel_endpoints,omitempty"`
	// Exposures are the network interfaces reachable in this domain.
	Exposures []Exposure `json:"exposures,omitempty"`
	// Resolver is nil in a domain without DNS.
	Resolver *Resolver `json:"resolver,omitempty"`
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
	// Subnet names the one of Gateway.Subnets that an attachment is in; empty for tunnels.
	Subnet string `json:"subnet,omitempty"`
	// SecurityGroups name those that an attachment is a member of. They admit it to endpoints, and are not
	// applied to what it sends or receives.
	SecurityGroups []string `json:"security_groups,omitempty"`
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
	// Service is the resource name of the endpoint service. ServiceUID and Region are what endpoint policies know
	// it by.
	Service    string `json:"service"`
	ServiceUID string `json:"service_uid,omitempty"`
	Region     string `json:"region,omitempty"`
	// LoadBalancers are the names of the service's load balancers. An interface uses one that
	// has a node in its zone, always the same.
	LoadBalancers []string `json:"load_balancers,omitempty"`
	// CrossZone lets an interface in a zone without a load balancer node use one of another zone.
	CrossZone bool `json:"cross_zone,omitempty"`
	// Revocation is nil while the endpoint may be used. With it nothing new is accepted.
	Revocation *Revocation `json:"revocation,omitempty"`
	// SecurityGroups name those whose rules admit connections, any of them; none admits all.
	SecurityGroups []string `json:"security_groups,omitempty"`
	// Policy is the endpoint policy as JSON; empty gives full access. With PolicyDryRun it is evaluated and
	// its decision recorded, and nothing is refused for it.
	Policy       string             `json:"policy,omitempty"`
	PolicyDryRun bool               `json:"policy_dry_run,omitempty"`
	Bandwidth    Bandwidth          `json:"bandwidth"`
	Interfaces   []NetworkInterface `json:"interfaces,omitempty"`
}

// Revocation says what becomes of the live flows of an endpoint that may no longer be used.
type Revocation struct {
	// Keep lets them go on until they end by themselves. Otherwise they are reset at Deadline, at once
	// if it has passed.
	Keep     bool      `json:"keep,omitempty"`
	Deadline time.Time `json:"deadline,omitzero"`
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
	// Subnet names one of Gateway.Subnets.
	Subnet string `json:"subnet,omitempty"`
}

// Equal reports whether both describe the same state, revisions aside.
func (g *Gateway) Equal(other *Gateway) bool {
	a, b := *g, *other
	a.Revision, b.Revision = 0, 0
	return reflect.DeepEqual(a, b)
}
