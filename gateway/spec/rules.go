package spec

import "net/netip"

// Subnet is a part of a VPC as far as packets are judged by it.
type Subnet struct {
	// Name is the resource name: accounts/{account}/vpcs/{vpc}/subnets/{subnet}.
	Name string `json:"name"`
	// NetworkACL names one of Gateway.NetworkACLs; empty lets everything in and out.
	NetworkACL string `json:"network_acl,omitempty"`
}

// NetworkACL is a stateless packet filter at the border of subnets. It is not applied to packets that stay
// within one subnet. The rules are sorted by number; the first that matches decides, and what none matches
// is denied.
type NetworkACL struct {
	// Name is the resource name: accounts/{account}/vpcs/{vpc}/networkAcls/{network_acl}.
	Name    string    `json:"name"`
	Ingress []ACLRule `json:"ingress,omitempty"`
	Egress  []ACLRule `json:"egress,omitempty"`
}

// ACLRule is one numbered rule of a network ACL.
type ACLRule struct {
	// Number is 1 to 32766, unique in its direction.
	Number int  `json:"number"`
	Allow  bool `json:"allow,omitempty"`
	// Prefix holds the source of ingress packets and the destination of egress packets.
	Prefix netip.Prefix `json:"prefix"`
	Traffic
}

// Traffic is a kind of packet.
type Traffic struct {
	// Protocol is an IP protocol number, or AllProtocols.
	Protocol int `json:"protocol"`
	// FirstPort to LastPort are the destination ports of TCP and UDP, both ends included.
	FirstPort uint16 `json:"first_port,omitempty"`
	LastPort  uint16 `json:"last_port,omitempty"`
	// ICMPType and ICMPCode are those of ICMP; Any matches all.
	ICMPType int `json:"icmp_type,omitempty"`
	ICMPCode int `json:"icmp_code,omitempty"`
}

const (
	// AllProtocols is the Protocol that matches every packet, whatever its ports.
	AllProtocols = -1
	// Any is the ICMPType or ICMPCode that matches all.
	Any = -1
)

// SecurityGroup is a stateful filter of connections to endpoints. It has rules for what may come in only: an
// endpoint never starts a connection, and answers belong to the connection they answer.
type SecurityGroup struct {
	// Name is the resource name: accounts/{account}/vpcs/{vpc}/securityGroups/{security_group}.
	Name    string      `json:"name"`
	Ingress []GroupRule `json:"ingress,omitempty"`
}

// GroupRule admits connections of a kind of traffic from a prefix or from the members of a group.
type GroupRule struct {
	Traffic
	// Prefix holds the consumers admitted; the zero value with a rule that names a Group.
	Prefix netip.Prefix `json:"prefix,omitzero"`
	// Group names the security group whose attachments are admitted.
	Group string `json:"group,omitempty"`
}
