package domain

import (
	"net/netip"

	"causeway/tunnel/link"
)

// admit decides about a packet that would begin something, before the stack sees it. Only TCP to a port of an
// exposure is ever let in, and what the DNS server is asked and answered; an address of a load balancer node, though the stack's own, is not one of these, so
// nothing that a provider's attachment sends opens a connection. It allocates nothing.
//
// A tunnel that a peering shuts out is dropped before its port is looked at, so that it cannot tell which ports exist.
func (d *Domain) admit(p link.Packet) link.Verdict {
	t := d.table.Load()
	peer := t.peer(p.Port, p.Source.Addr())
	if peer == nil {
		return link.Drop(link.ReasonRefused)
	}
	if t.serves(p.Source.Addr()) {
		return link.Drop(link.ReasonMartian) // a site's prefix may cover an exposure; its answer would go there
	}
	if tunnels, ok := t.resolvers[p.Destination.Addr()]; ok {
		return d.admitQuestion(&p, peer.Tunnel && !tunnels)
	}
	exposed := t.exposures[p.Destination.Addr()]
	if exposed == nil {
		return link.Drop(link.ReasonNoExposure)
	}
	if peer.Tunnel && !exposed.tunnels {
		return link.Drop(link.ReasonTunnelAccess)
	}
	if p.Protocol != link.ProtocolTCP {
		return link.Drop(link.ReasonNoListener)
	}
	available := exposed.ports[p.Destination.Port()]
	if available == nil {
		return link.Reset(link.ReasonNoListener)
	}
	if d.busy(p.Source.Addr()) {
		return link.Drop(link.ReasonConnectionLimit)
	}
	if !available() {
		return link.Reset(link.ReasonNoHealthyTarget)
	}
	return link.Accept()
}

// admitQuestion decides about a packet to an address of the DNS server: a question, or the answer to one that the server
// itself has asked, for every UDP datagram counts as a beginning.
func (d *Domain) admitQuestion(p *link.Packet, shutOut bool) link.Verdict {
	switch {
	case p.Destination.Port() != DNSPort && p.Protocol == link.ProtocolUDP && d.awaits(p):
		return link.Accept()
	case shutOut:
		return link.Drop(link.ReasonTunnelAccess)
	case p.Destination.Port() != DNSPort:
		return link.Reset(link.ReasonNoListener)
	}
	return link.Accept()
}

// MayUse reports whether a consumer at address may, as things stand, hold a connection to an exposure. It is admit's
// opinion of peer and exposure, for connections that began earlier, and names the peer.
func (d *Domain) MayUse(consumer, exposed netip.Addr) (peer string, ok bool) {
	p, known := d.PeerOf(consumer)
	if !known {
		return "", false
	}
	e := d.table.Load().exposures[exposed]
	return p.Name, e != nil && (e.tunnels || !p.Tunnel)
}
