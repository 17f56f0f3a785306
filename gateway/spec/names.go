package spec

import "net/netip"

// Resolver is the DNS server of a domain.
type Resolver struct {
	// Address is the VPC's base address + 2, where attachments ask. Network ACLs do not apply to it.
	Address netip.Addr `json:"address,omitzero"`
	// Inbound are further addresses at which tunnels may ask as well.
	Inbound []InboundAddress `json:"inbound,omitempty"`
	// Names are those the domain answers itself, sorted.
	Names []DNSName `json:"names,omitempty"`
	// Rules say who is asked for other names: the rule with the longest suffix counts. Without one the
	// gateway's own forwarders are asked.
	Rules []ForwardRule `json:"rules,omitempty"`
}

// InboundAddress is an address of an inbound resolver endpoint.
type InboundAddress struct {
	// UID of the network interface.
	UID     string     `json:"uid"`
	Address netip.Addr `json:"address"`
	Zone    string     `json:"zone"`
	// Subnet names one of Gateway.Subnets.
	Subnet string `json:"subnet,omitempty"`
}

// DNSName is a name answered with addresses of one endpoint's network interfaces.
type DNSName struct {
	// Name is a lower-case domain name without the final dot. A leading "*." stands for one or more labels.
	Name string `json:"name"`
	// Endpoint is the resource name of the endpoint.
	Endpoint string `json:"endpoint"`
	// Interfaces are UIDs of the endpoint's network interfaces. Those that can serve are given, all if none can.
	Interfaces []string `json:"interfaces"`
	// Probed keeps the name out of the domain until a connection through the endpoint succeeded, and takes it
	// out when none does any more. It is so for private DNS names, which hide public ones.
	Probed bool `json:"probed,omitempty"`
}

// ForwardRule sends the questions for a domain name and those below it to other servers.
type ForwardRule struct {
	// Domain is a lower-case domain name without the final dot; "." is all.
	Domain string `json:"domain"`
	// Targets are asked in turn. They are reached as targets of a load balancer of the VPC are.
	Targets []netip.AddrPort `json:"targets"`
}

// NameStatus tells whether a probed name is answered.
type NameStatus struct {
	Domain string
	Name   string
	// Endpoint is the resource name of the endpoint.
	Endpoint string
	Health
}
