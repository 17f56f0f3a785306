package api

import (
	"net/netip"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

// completeProtocol spells the protocol of a rule as it is stored and checks that it has ports if, and
// only if, there are any. It says which protocol it is; ok is false for none.
func (c *change) completeProtocol(field string, protocol *string, ports *pb.PortRange) (number int, ok bool) {
	number, ok = resource.ParseProtocol(*protocol)
	if !ok {
		c.wrong.Add(field+".protocol", "%s is not tcp, udp, icmp, all or the number of an IP protocol from -1 to 255", quote(*protocol))
		return number, false
	}
	*protocol = resource.FormatProtocol(number)
	switch {
	case !resource.HasPorts(number) && ports != nil:
		c.wrong.Add(field+".port_range", "is for tcp and udp; leave it out for protocol %s", *protocol)
	case resource.HasPorts(number) && ports == nil:
		c.wrong.Add(field+".port_range", "is required for protocol %s; from 0 to 65535 is all ports", *protocol)
	case ports.GetFrom() > ports.GetTo():
		c.wrong.Add(field+".port_range.to", "%d is below from, %d", ports.GetTo(), ports.GetFrom())
	}
	return number, true
}

// completeRulePrefix gives the canonical form of the prefix of a rule, as AWS does. Any IPv4 prefix may
// be one: rules may speak of addresses that no host has.
func (c *change) completeRulePrefix(field, text string) string {
	prefix, err := netip.ParsePrefix(text)
	if err != nil || !prefix.Addr().Is4() {
		c.wrong.Add(field, "%s is not an IPv4 prefix such as 10.0.0.0/16", quote(text))
		return text
	}
	return prefix.Masked().String()
}
