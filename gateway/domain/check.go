package domain

import (
	"causeway/gateway/filter"
	"causeway/tunnel/link"
)

func (a *attempt) byPeer() link.Verdict {
	if a.peer == nil {
		return link.Drop(link.ReasonRefused)
	}
	return link.Accept()
}

// bySource refuses an address as source at which peers are served: a site's prefix may cover one, and its answer would go
// there.
func (a *attempt) bySource() link.Verdict {
	if a.from.serves() {
		return link.Drop(link.ReasonMartian)
	}
	return link.Accept()
}

// byRules asks one direction of a network ACL; nil when there is none to ask.
func (a *attempt) byRules(rules *filter.Rules) link.Verdict {
	if rules != nil {
		if p := described(a.packet); !rules.Decide(&p).Allow {
			return link.Drop(link.ReasonNetworkACL)
		}
	}
	return link.Accept()
}

// byResolver decides about a packet to an address of the DNS server: a question, or the answer to one that the server
// itself has asked, for every UDP datagram counts as a beginning.
func (a *attempt) byResolver() link.Verdict {
	port := a.packet.Destination.Port()
	switch {
	case port != DNSPort && a.packet.Protocol == link.ProtocolUDP && a.domain.awaits(&a.packet):
		return link.Accept()
	case a.peer.Tunnel && !a.to.resolver.Tunnels:
		return link.Drop(link.ReasonTunnelAccess)
	case port != DNSPort:
		return link.Reset(link.ReasonNoListener)
	}
	return link.Accept()
}

func (a *attempt) byExposure() link.Verdict {
	if a.to.exposure == nil {
		return link.Drop(link.ReasonNoExposure)
	}
	return link.Accept()
}

// byTunnelAccess drops what a peering shuts out.
func (a *attempt) byTunnelAccess() link.Verdict {
	if a.peer.Tunnel && !a.to.exposure.Tunnels {
		return link.Drop(link.ReasonTunnelAccess)
	}
	return link.Accept()
}

func (a *attempt) byListener() link.Verdict {
	switch {
	case a.packet.Protocol != link.ProtocolTCP:
		return link.Drop(link.ReasonNoListener)
	case a.to.exposure.ports[a.packet.Destination.Port()] == nil:
		return link.Reset(link.ReasonNoListener)
	}
	return link.Accept()
}

// bySecurityGroup is asked at the beginning of a connection only: what belongs to one that was admitted passes, whatever
// becomes of the groups.
func (a *attempt) bySecurityGroup() link.Verdict {
	if len(a.to.exposure.SecurityGroups) == 0 {
		return link.Accept()
	}
	p := described(a.packet)
	for _, g := range a.to.exposure.SecurityGroups {
		if _, ok := g.Admits(&p, a.peer.SecurityGroups); ok {
			return link.Accept()
		}
	}
	return link.Drop(link.ReasonSecurityGroup)
}

func (a *attempt) byConnectionLimit() link.Verdict {
	if a.domain.busy(a.packet.Source.Addr()) {
		return link.Drop(link.ReasonConnectionLimit)
	}
	return link.Accept()
}

func (a *attempt) byHealthyTarget() link.Verdict {
	if !a.to.exposure.ports[a.packet.Destination.Port()]() {
		return link.Reset(link.ReasonNoHealthyTarget)
	}
	return link.Accept()
}
