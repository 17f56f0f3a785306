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
	if v := a.meets(borderChecks); !v.Accepted() {
		return v
	}
	return a.meets(a.destinationChecks())
}

// attempt is a packet that would begin something, with what the table has about it. It is handed on by value: behind a
// pointer it would be allocated.
type attempt struct {
	domain *Domain
	packet link.Packet
	table  *compiled
	// peer and exposed are nil when there is none.
	peer     *Peer
	exposed  *exposure
	crossing crossing
}

func (d *Domain) attempt(p link.Packet) attempt {
	t := d.table.Load()
	a := attempt{
		domain: d, packet: p, table: t,
		peer: t.peer(p.Port, p.Source.Addr()), exposed: t.exposures[p.Destination.Addr()],
	}
	a.crossing.to, a.crossing.bounded = t.borders[p.Destination.Addr()]
	if a.peer != nil {
		a.crossing.from = a.peer.Subnet
	}
	return a
}

// check is one question that admission asks.
type check struct {
	// name is what an explanation calls it.
	name string
	// decide may count on the checks before to have accepted.
	decide func(attempt) link.Verdict
	// explain tells, for the same attempt, whether the check applied at all, and what decided.
	explain func(attempt) finding
}

// meets is the first verdict of the checks that does not accept, if there is one.
func (a attempt) meets(checks []check) link.Verdict {
	for i := range checks {
		if v := checks[i].decide(a); !v.Accepted() {
			return v
		}
	}
	return link.Accept()
}

// destinationChecks are those that follow on the border's.
func (a attempt) destinationChecks() []check {
	if _, resolves := a.table.resolvers[a.packet.Destination.Addr()]; resolves {
		return resolverChecks
	}
	return exposureChecks
}

// borderChecks are for whatever comes in, resolverChecks for what then goes to an address of the DNS server, and
// exposureChecks for everything else, in the order in which they are made. It is fixed by what a refusal may give away: who may not use an exposure cannot tell which ports it has.
var borderChecks = []check{
	{"peer", attempt.byPeer, attempt.explainPeer},
	{"source", attempt.bySource, attempt.explainSource},
	{"network_acl_out", attempt.byEgress, attempt.explainEgress},
	{"network_acl_in", attempt.byIngress, attempt.explainIngress},
}

var resolverChecks = []check{
	{"resolver", attempt.byResolver, attempt.explainResolver},
}

var exposureChecks = []check{
	{"exposure", attempt.byExposure, attempt.explainExposure},
	{"tunnel_access", attempt.byTunnelAccess, attempt.explainTunnelAccess},
	{"listener", attempt.byListener, attempt.explainListener},
	{"security_group", attempt.bySecurityGroup, attempt.explainSecurityGroup},
	{"connection_limit", attempt.byConnectionLimit, attempt.explainConnectionLimit},
	{"healthy_target", attempt.byHealthyTarget, attempt.explainHealthyTarget},
}

// MayUse reports whether a consumer at address may, as things stand, hold a connection to an exposure. It is admit's
// opinion of peer and exposure, for connections that began earlier, and names the peer. Rules are not asked: security groups
// keep to what began earlier, and network ACLs judge each of its packets.
func (d *Domain) MayUse(consumer, exposed netip.Addr) (peer string, ok bool) {
	p, known := d.PeerOf(consumer)
	if !known {
		return "", false
	}
	e := d.table.Load().exposures[exposed]
	return p.Name, e != nil && (e.Tunnels || !p.Tunnel)
}
