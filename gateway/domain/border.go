package domain

import (
	"causeway/gateway/filter"
	"causeway/tunnel/link"
)

// border applies network ACLs to packets of live connections and to what the stack sends: being stateless, they judge
// every packet, both ways. What would start something, admit judges by the same functions.
type border struct{ d *Domain }

var _ link.Filter = border{}

// Inbound implements link.Filter.
func (b border) Inbound(p link.Packet) link.Verdict {
	t := b.d.table.Load()
	peer := t.peer(p.Port, p.Source.Addr())
	if peer == nil {
		return link.Drop(link.ReasonRefused)
	}
	to := t.place(p.Destination.Addr())
	return crossing{from: peer.Subnet, to: to.subnet, exempt: to.exempt}.verdict(p)
}

// Outbound implements link.Filter.
func (b border) Outbound(p link.Packet) link.Verdict {
	return b.d.table.Load().outbound(&p).verdict(p)
}

// outbound is the way of a packet that the stack sends.
func (t *compiled) outbound(p *link.Packet) crossing {
	from := t.place(p.Source.Addr())
	c := crossing{from: from.subnet, exempt: from.exempt}
	if peer := t.peer(p.Port, p.Destination.Addr()); peer != nil {
		c.to = peer.Subnet
	}
	return c
}

// crossing is the way of a packet over the borders of two subnets, either of which may be missing.
type crossing struct {
	from, to *Subnet
	// exempt is set for packets from and to addresses that network ACLs do not apply to: those of the resolver
	// inside the VPC, and those that the domain does not have.
	exempt bool
}

func (c crossing) verdict(p link.Packet) link.Verdict {
	packet := described(p)
	if rules := c.egress(); rules != nil && !rules.Decide(&packet).Allow {
		return link.Drop(link.ReasonNetworkACL)
	}
	if rules := c.ingress(); rules != nil && !rules.Decide(&packet).Allow {
		return link.Drop(link.ReasonNetworkACL)
	}
	return link.Accept()
}

// egress are the rules by which the packet leaves its subnet, or nil. Within a subnet there are none to pass.
func (c crossing) egress() *filter.Rules {
	if c.exempt || c.from == c.to || c.from == nil || c.from.ACL == nil {
		return nil
	}
	return &c.from.ACL.Egress
}

// ingress are the rules by which the packet enters its subnet, or nil.
func (c crossing) ingress() *filter.Rules {
	if c.exempt || c.from == c.to || c.to == nil || c.to.ACL == nil {
		return nil
	}
	return &c.to.ACL.Ingress
}

// back is the way of the answer.
func (c crossing) back() crossing { return crossing{from: c.to, to: c.from, exempt: c.exempt} }

func described(p link.Packet) filter.Packet {
	return filter.Packet{
		Protocol: p.Protocol, Source: p.Source.Addr(), Destination: p.Destination.Addr(), Port: p.Destination.Port(),
		ICMPType: p.ICMPType, ICMPCode: p.ICMPCode,
	}
}

// filters reports whether the subnet's network ACL can deny something. The receiver may be nil.
func (s *Subnet) filters() bool { return s != nil && s.ACL != nil && !s.ACL.Open() }
