package domain

import (
	"net/netip"

	"causeway/tunnel/link"
)

// admit decides about a packet that would begin something, before the stack sees it. Only TCP to a port of an
// exposure is ever let in, and what the DNS server is asked and answered; an address of a load balancer node, though the
// stack's own, is not one of these, so nothing that a provider's attachment sends opens a connection. It allocates nothing.
func (d *Domain) admit(p link.Packet) link.Verdict {
	a := d.attempt(p)
	if v := a.meets(borderQuestions); !v.Accepted() {
		return v
	}
	return a.meets(a.destinationQuestions())
}

// attempt is a packet that would begin something, with what the table has about it.
type attempt struct {
	domain *Domain
	packet link.Packet
	// peer is nil when no peer holds the source, to and from are what the domain has at the addresses.
	peer     *Peer
	from, to *place
	crossing crossing
}

func (d *Domain) attempt(p link.Packet) attempt {
	t := d.table.Load()
	a := attempt{
		domain: d, packet: p,
		peer: t.peer(p.Port, p.Source.Addr()), from: t.place(p.Source.Addr()), to: t.place(p.Destination.Addr()),
	}
	a.crossing = crossing{to: a.to.subnet, exempt: a.to.exempt}
	if a.peer != nil {
		a.crossing.from = a.peer.Subnet
	}
	return a
}

// question is one of those that admission asks about an attempt.
type question uint8

const (
	byPeer question = iota
	bySource
	byEgress
	byIngress
	byResolver
	byExposure
	byTunnelAccess
	byListener
	bySecurityGroup
	byConnectionLimit
	byHealthyTarget
)

// borderQuestions are asked about whatever comes in, resolverQuestions then about what goes to an address of the DNS server,
// and exposureQuestions about everything else, in this order. It is fixed by what a refusal may give away: who may not
// use an exposure cannot tell which ports it has.
var (
	borderQuestions   = []question{byPeer, bySource, byEgress, byIngress}
	resolverQuestions = []question{byResolver}
	exposureQuestions = []question{byExposure, byTunnelAccess, byListener, bySecurityGroup, byConnectionLimit, byHealthyTarget}
)

// destinationQuestions are those that follow on the border's.
func (a *attempt) destinationQuestions() []question {
	if a.to.resolver != nil {
		return resolverQuestions
	}
	return exposureQuestions
}

// meets is the first verdict that does not accept, if there is one.
func (a *attempt) meets(questions []question) link.Verdict {
	for _, q := range questions {
		if v := a.decide(q); !v.Accepted() {
			return v
		}
	}
	return link.Accept()
}

// decide answers one question, the ones before it having been answered with accept. The answers are called by name, and not
// through a table of functions, so that the attempt stays on the stack.
func (a *attempt) decide(q question) link.Verdict {
	switch q {
	case byPeer:
		return a.byPeer()
	case bySource:
		return a.bySource()
	case byEgress:
		return a.byRules(a.crossing.egress())
	case byIngress:
		return a.byRules(a.crossing.ingress())
	case byResolver:
		return a.byResolver()
	case byExposure:
		return a.byExposure()
	case byTunnelAccess:
		return a.byTunnelAccess()
	case byListener:
		return a.byListener()
	case bySecurityGroup:
		return a.bySecurityGroup()
	case byConnectionLimit:
		return a.byConnectionLimit()
	case byHealthyTarget:
		return a.byHealthyTarget()
	}
	return link.Drop(link.ReasonRefused)
}

// MayUse reports whether a consumer at address may, as things stand, hold a connection to an exposure. It is admit's
// opinion of peer and exposure, for connections that began earlier, and names the peer. Rules are not asked: security groups
// keep to what began earlier, and network ACLs judge each of its packets.
func (d *Domain) MayUse(consumer, exposed netip.Addr) (peer string, ok bool) {
	p, known := d.PeerOf(consumer)
	if !known {
		return "", false
	}
	e := d.table.Load().place(exposed).exposure
	return p.Name, e != nil && (e.Tunnels || !p.Tunnel)
}
