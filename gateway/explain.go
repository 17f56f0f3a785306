package gateway

import (
	"fmt"
	"maps"
	"time"

	"causeway/gateway/domain"
	"causeway/gateway/endpoint"
	"causeway/gateway/shape"
	"causeway/gateway/spec"
)

// paths is what explanations find the parts of a connection's way in. It is immutable.
type paths struct {
	index    *index
	domains  map[string]domainPath
	services map[serviceKey]*service
	// interfaces are those of the zone budgets, by uid.
	interfaces map[string]interfaceView
}

type domainPath struct {
	domain *domain.Domain
	flows  *endpoint.Domain
	// resolver is nil in a domain without one.
	resolver *vpcResolver
}

// paths of what is served now. Called with applying held.
func (g *Gateway) paths(x *index, p *problems) paths {
	list := paths{index: x, domains: map[string]domainPath{}, services: maps.Clone(g.served.services), interfaces: map[string]interfaceView{}}
	for name, v := range g.served.domains {
		list.domains[name] = domainPath{v.domain, v.flows, v.resolver}
	}
	for uid, n := range g.served.interfaces {
		list.interfaces[uid] = interfaceView{n, p.interfaces[uid]}
	}
	return list
}

// Explain tells what a connection would meet at this moment: every check in the order in which live packets meet them, up
// to the one that denies. The checks are asked by the same functions that decide live packets; nothing is changed, counted or
// sent by asking. Names of checks are "name", where a name is resolved, those of [domain.Domain.Explain], and
//
//   - "handshake": when the peer's WireGuard was last heard; it decides nothing,
//   - "endpoint_zone": in place of "exposure", that the service is not in the zone of the network interface,
//   - "endpoint_state": whether the endpoint is in use,
//   - "flow_limit": how many connections are being made,
//   - "endpoint_policy",
//   - "target": whether a target is left that was not tried in vain,
//   - "target_guard": whether its address may be dialled,
//   - "target_path": what is known of the way there before it is dialled,
//   - those of [domain.Domain.ExplainTarget], where the target is inside the provider's domain,
//   - "zone_budget": its limit and use; it decides nothing.
//
// Which of several targets a connection is sent to depends on its number too; the explanation is of one that it may get. It is
// safe for concurrent use.
func (g *Gateway) Explain(q spec.Question) spec.Explanation {
	v := g.view.Load()
	e := explainer{gateway: g, view: v, question: q}
	e.explain()
	answer := spec.Explanation{Allowed: true, Destination: e.question.Destination, Checks: e.checks}
	for _, c := range e.checks {
		answer.Allowed = answer.Allowed && c.Verdict != spec.Deny
	}
	return answer
}

// explainer gathers the checks of one question.
type explainer struct {
	gateway  *Gateway
	view     *view
	question spec.Question
	checks   []spec.Check
}

// add notes a check and reports whether the next one is made.
func (e *explainer) add(c spec.Check) bool {
	e.checks = append(e.checks, c)
	return c.Verdict != spec.Deny
}

func (e *explainer) explain() {
	path, served := e.view.paths.domains[e.question.Domain]
	if !served {
		e.add(spec.Check{Name: "domain", Verdict: spec.Deny, Reason: "not_served", Detail: "the gateway does not serve the VPC"})
		return
	}
	if !e.question.Destination.Addr().IsValid() && !e.resolve(path) {
		return
	}
	n := e.exposed()
	for _, c := range path.domain.Explain(e.question.Source, e.question.Destination) {
		if !e.admitted(c, n) {
			return
		}
	}
	if n == nil {
		return // the resolver
	}
	e.connection(path, n)
}

// exposed is the network interface at the destination, or nil.
func (e *explainer) exposed() *indexedInterface {
	x := e.view.paths.index
	d := x.domains[e.question.Domain]
	if d == nil {
		return nil
	}
	for _, exposure := range d.Exposures {
		if n := x.interfaces[exposure.Interface]; n.spec.Address == e.question.Destination.Addr() {
			return n
		}
	}
	return nil
}

// admitted adds a check of admission, with what only the gateway knows about it.
func (e *explainer) admitted(c spec.Check, n *indexedInterface) bool {
	switch {
	case c.Name == "exposure" && c.Verdict == spec.Deny && n != nil:
		c.Detail, c.Object = "the network interface is not served", n.endpoint.Name
		if problem := e.view.paths.interfaces[n.spec.UID].problem; problem != "" {
			c.Detail += ": " + problem
		}
		if n.balancer == nil {
			c.Name = "endpoint_zone"
		} else if len(n.balancer.Listeners) == 0 {
			c.Name = "listener"
		}
	case c.Name == "listener" && n.endpoint.Revocation != nil && c.Verdict == spec.Deny:
		c.Name, c.Detail = "endpoint_state", "the provider has withdrawn its acceptance"
	case c.Name == "listener":
		e.add(spec.Check{Name: "endpoint_state", Verdict: spec.Pass, Detail: "the endpoint is in use", Object: n.endpoint.Name})
	}
	more := e.add(c)
	if c.Name == "peer" && more {
		e.add(e.handshake(c.Object))
	}
	return more
}

// handshake tells when a peer was last heard.
func (e *explainer) handshake(peer string) spec.Check {
	c := spec.Check{Name: "handshake", Verdict: spec.Skip, Object: peer, Reason: "stale_handshake", Detail: "no WireGuard handshake yet"}
	last := e.lastHandshake(peer)
	switch age := time.Since(last).Round(time.Second); {
	case last.IsZero():
	case age < connectedWithin:
		c.Verdict, c.Reason, c.Detail = spec.Pass, "", fmt.Sprintf("last WireGuard handshake %v ago", age)
	default:
		c.Detail = fmt.Sprintf("last WireGuard handshake %v ago: the peer may be gone", age)
	}
	return c
}

func (e *explainer) lastHandshake(peer string) (last time.Time) {
	for _, t := range e.view.tunnels {
		if t.domain != e.question.Domain {
			continue
		}
		for _, p := range e.gateway.tunnelStatus(t).Peers {
			if p.Name == peer && p.LastHandshake.After(last) {
				last = p.LastHandshake
			}
		}
	}
	return last
}

// connection goes on where a connection is accepted.
func (e *explainer) connection(path domainPath, n *indexedInterface) {
	service := e.view.paths.services[serviceKey{n.spec.UID, e.question.Destination.Port()}]
	if service == nil {
		return // it was replaced a moment ago, with the table that admitted
	}
	if !e.add(e.flowLimit(path)) {
		return
	}
	if !e.add(e.policy(path, n)) {
		return
	}
	if !e.targets(service.route.Load()) {
		return
	}
	e.add(e.zoneBudget(n))
}

func (e *explainer) flowLimit(path domainPath) spec.Check {
	c := spec.Check{Name: "flow_limit", Verdict: spec.Pass, Detail: "another connection may be made"}
	if why := path.flows.Refuses(e.question.Source.Addr()); why != endpoint.ReasonNone {
		c.Verdict, c.Reason, c.Detail = spec.Deny, why.String(), "too many connections are being made"
	}
	return c
}

// policy asks the endpoint policy as it is asked about a connection of which the first bytes were read.
func (e *explainer) policy(path domainPath, n *indexedInterface) spec.Check {
	peer, _ := path.domain.PeerOf(e.question.Source.Addr())
	return e.gateway.explainPolicy(e.question, n.endpoint, &n.spec, e.view.paths.index.domains[e.question.Domain], peer)
}

func (e *explainer) zoneBudget(n *indexedInterface) spec.Check {
	c := spec.Check{Name: "zone_budget", Verdict: spec.Skip, Object: n.endpoint.Name}
	iface := e.view.paths.interfaces[n.spec.UID].iface
	in, out := iface.budget.Usage(shape.Ingress), iface.budget.Usage(shape.Egress)
	const megabit = 1_000_000
	c.Detail = fmt.Sprintf("towards the service %d of %d Mbit/s are used, back %d of %d Mbit/s",
		in.UsedBitsPerSecond/megabit, in.LimitBitsPerSecond/megabit, out.UsedBitsPerSecond/megabit, out.LimitBitsPerSecond/megabit)
	return c
}
