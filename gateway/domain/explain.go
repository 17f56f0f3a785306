package domain

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"causeway/gateway/filter"
	"causeway/gateway/spec"
	"causeway/tunnel/link"
)

// The destination ports of answers to a client whose port is not known: the widest range that clients take them from (AWS,
// "Custom network ACLs", ephemeral ports).
const firstEphemeral, lastEphemeral = 1024, 65535

// finding is what a check has to say beside its verdict.
type finding struct {
	// skipped tells that the check does not apply.
	skipped bool
	detail  string
	object  string
}

// checks are what explanations call the questions of admission, and what they have to say about each.
var checks = [...]struct {
	name    string
	explain func(*attempt) finding
}{
	byPeer:            {"peer", (*attempt).explainPeer},
	bySource:          {"source", (*attempt).explainSource},
	byEgress:          {"network_acl_out", (*attempt).explainEgress},
	byIngress:         {"network_acl_in", (*attempt).explainIngress},
	byResolver:        {"resolver", (*attempt).explainResolver},
	byExposure:        {"exposure", (*attempt).explainExposure},
	byTunnelAccess:    {"tunnel_access", (*attempt).explainTunnelAccess},
	byListener:        {"listener", (*attempt).explainListener},
	bySecurityGroup:   {"security_group", (*attempt).explainSecurityGroup},
	byConnectionLimit: {"connection_limit", (*attempt).explainConnectionLimit},
	byHealthyTarget:   {"healthy_target", (*attempt).explainHealthyTarget},
}

// Explain tells what a TCP connection from a consumer to a destination would meet at this moment: every check that admission
// makes, in its order and by the same functions, up to the one that denies, and if none does, the network ACLs on the
// way back ("network_acl_out_return", "network_acl_in_return"). The consumer's port only matters for the way back; 0
// stands for all ephemeral ports, 1024 to 65535, of which one has to pass.
//
// Where several peers hold the consumer's address, the connection is taken to come from the one that sent last. Nothing
// is changed or counted by asking.
func (d *Domain) Explain(consumer, destination netip.AddrPort) []spec.Check {
	a := d.attempt(link.Packet{
		Protocol: link.ProtocolTCP, Source: consumer, Destination: destination, Port: d.link.ActivePort(consumer.Addr()),
	})
	var list []spec.Check
	for _, q := range slices.Concat(borderQuestions, a.destinationQuestions()) {
		v, c := a.decide(q), checks[q]
		list = append(list, explained(c.name, v, c.explain(&a)))
		if !v.Accepted() {
			return list
		}
	}
	back := a.crossing.back()
	list = append(list, a.explainReturn("network_acl_out_return", back.from, back.egress(), back))
	if list[len(list)-1].Verdict != spec.Deny {
		list = append(list, a.explainReturn("network_acl_in_return", back.to, back.ingress(), back))
	}
	return list
}

// ExplainTarget tells what a TCP connection from an address of a load balancer node to a target behind one of the domain's
// peers would meet at the network ACLs, there and back ("target_network_acl_out", "target_network_acl_in",
// "target_network_acl_out_return", "target_network_acl_in_return"), up to the one that denies. Connections to targets come
// from ports 1024 to 65535, of which one has to pass.
func (d *Domain) ExplainTarget(node netip.Addr, target netip.AddrPort) []spec.Check {
	a := attempt{domain: d, packet: link.Packet{
		Protocol: link.ProtocolTCP, Source: netip.AddrPortFrom(node, 0), Destination: target, Port: d.link.ActivePort(target.Addr()),
	}}
	there := d.table.Load().outbound(&a.packet)
	back := there.back()
	var list []spec.Check
	for _, check := range []func() spec.Check{
		func() spec.Check { return a.explainWay("target_network_acl_out", there.from, there.egress(), there) },
		func() spec.Check { return a.explainWay("target_network_acl_in", there.to, there.ingress(), there) },
		func() spec.Check {
			return a.explainReturn("target_network_acl_out_return", back.from, back.egress(), back)
		},
		func() spec.Check {
			return a.explainReturn("target_network_acl_in_return", back.to, back.ingress(), back)
		},
	} {
		list = append(list, check())
		if list[len(list)-1].Verdict == spec.Deny {
			break
		}
	}
	return list
}

// explainWay judges the packet by the rules at one border.
func (a *attempt) explainWay(name string, s *Subnet, rules *filter.Rules, c crossing) spec.Check {
	return explained(name, a.byRules(rules), a.explainRules(s, rules, c))
}

func explained(name string, v link.Verdict, f finding) spec.Check {
	c := spec.Check{Name: name, Verdict: spec.Pass, Detail: f.detail, Object: f.object}
	switch {
	case !v.Accepted():
		c.Verdict, c.Reason = spec.Deny, v.Reason().String()
	case f.skipped:
		c.Verdict = spec.Skip
	}
	return c
}

func (a *attempt) explainPeer() finding {
	source := a.packet.Source.Addr()
	if a.peer == nil {
		return finding{detail: fmt.Sprintf("no attachment or tunnel of the domain holds %v", source)}
	}
	kind := "attachment"
	if a.peer.Tunnel {
		kind = "tunnel"
	}
	return finding{detail: fmt.Sprintf("%s holds %v", kind, source), object: a.peer.Name}
}

func (a *attempt) explainSource() finding {
	source := a.packet.Source.Addr()
	if x := a.from.exposure; x != nil {
		return finding{detail: fmt.Sprintf("source %v is an address of an endpoint", source), object: x.Endpoint}
	}
	if a.from.serves() {
		return finding{detail: fmt.Sprintf("source %v is an address of the resolver", source)}
	}
	return finding{detail: fmt.Sprintf("source %v is no address of an endpoint or the resolver", source)}
}

func (a *attempt) explainEgress() finding {
	return a.explainRules(a.crossing.from, a.crossing.egress(), a.crossing)
}

func (a *attempt) explainIngress() finding {
	return a.explainRules(a.crossing.to, a.crossing.ingress(), a.crossing)
}

func (a *attempt) explainRules(s *Subnet, rules *filter.Rules, c crossing) finding {
	if rules == nil {
		return unfiltered(s, c)
	}
	p := described(a.packet)
	return finding{detail: rule(rules.Decide(&p)), object: s.ACL.Name}
}

// unfiltered says why no rules apply at the border of a subnet.
func unfiltered(s *Subnet, c crossing) finding {
	f := finding{skipped: true}
	switch {
	case c.exempt:
		f.detail = "network ACLs do not apply to the destination"
	case s == nil:
		f.detail = "not in a subnet"
	case c.from == c.to:
		f.detail, f.object = "within one subnet", s.Name
	default:
		f.detail, f.object = "the subnet has no network ACL", s.Name
	}
	return f
}

// rule names what decided: AWS shows the rule that denies when no other matches as "*".
func rule(d filter.Decision) string {
	switch {
	case d.Allow:
		return fmt.Sprintf("rule %d allows", d.Number)
	case d.Number > 0:
		return fmt.Sprintf("rule %d denies", d.Number)
	}
	return "rule * denies: no other rule matches"
}

func (a *attempt) explainResolver() finding {
	destination, port := a.packet.Destination.Addr(), a.packet.Destination.Port()
	switch {
	case port != DNSPort:
		return finding{detail: fmt.Sprintf("the resolver has no listener on port %d", port)}
	case a.peer.Tunnel && !a.to.resolver.Tunnels:
		return finding{detail: "tunnels may not ask the resolver inside the VPC, only at an inbound resolver endpoint"}
	}
	return finding{detail: fmt.Sprintf("%v is an address of the resolver", destination)}
}

func (a *attempt) explainExposure() finding {
	destination := a.packet.Destination.Addr()
	if a.to.exposure == nil {
		return finding{detail: fmt.Sprintf("%v is no address of an endpoint in this domain", destination)}
	}
	return finding{detail: fmt.Sprintf("%v is an address of the endpoint", destination), object: a.to.exposure.Endpoint}
}

func (a *attempt) explainTunnelAccess() finding {
	f := finding{object: a.to.exposure.Endpoint}
	switch {
	case !a.peer.Tunnel:
		f.skipped, f.detail = true, "the consumer is an attachment"
	case a.to.exposure.Tunnels:
		f.detail = "tunnels may use the endpoint"
	default:
		f.detail = "the peering does not let tunnels use the endpoint"
	}
	return f
}

func (a *attempt) explainListener() finding {
	port := a.packet.Destination.Port()
	if a.to.exposure.ports[port] == nil {
		return finding{detail: fmt.Sprintf("no listener on port %d", port), object: a.to.exposure.Endpoint}
	}
	return finding{detail: fmt.Sprintf("listener on port %d", port), object: a.to.exposure.Endpoint}
}

func (a *attempt) explainSecurityGroup() finding {
	groups := a.to.exposure.SecurityGroups
	if len(groups) == 0 {
		return finding{skipped: true, detail: "the endpoint has no security group", object: a.to.exposure.Endpoint}
	}
	p := described(a.packet)
	names := make([]string, 0, len(groups))
	for _, g := range groups {
		if i, ok := g.Admits(&p, a.peer.SecurityGroups); ok {
			return finding{detail: fmt.Sprintf("rule %d admits", i+1), object: g.Name}
		}
		names = append(names, g.Name)
	}
	return finding{detail: "no rule admits of " + strings.Join(names, ", "), object: a.to.exposure.Endpoint}
}

func (a *attempt) explainConnectionLimit() finding {
	if a.domain.busy(a.packet.Source.Addr()) {
		return finding{detail: "too many connections are being made"}
	}
	return finding{detail: "another connection may be made"}
}

func (a *attempt) explainHealthyTarget() finding {
	if !a.to.exposure.ports[a.packet.Destination.Port()]() {
		return finding{detail: "no target can serve a connection", object: a.to.exposure.Endpoint}
	}
	return finding{detail: "a target can serve a connection", object: a.to.exposure.Endpoint}
}

// explainReturn judges the answer by the rules at one border.
func (a *attempt) explainReturn(name string, s *Subnet, rules *filter.Rules, c crossing) spec.Check {
	if rules == nil {
		return explained(name, link.Accept(), unfiltered(s, c))
	}
	first, last := a.packet.Source.Port(), a.packet.Source.Port()
	if first == 0 {
		first, last = firstEphemeral, lastEphemeral
	}
	spans := rules.Spans(filter.Packet{
		Protocol: link.ProtocolTCP, Source: a.packet.Destination.Addr(), Destination: a.packet.Source.Addr(),
	}, first, last)
	verdict := link.Drop(link.ReasonNetworkACL)
	details := make([]string, 0, len(spans))
	for _, span := range spans {
		if span.Allow {
			verdict = link.Accept()
		}
		details = append(details, fmt.Sprintf("ports %d to %d: %s", span.First, span.Last, rule(span.Decision)))
	}
	return explained(name, verdict, finding{detail: strings.Join(details, "; "), object: s.ACL.Name})
}
