package gateway

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"causeway/gateway/domain"
	"causeway/gateway/endpoint"
	"causeway/gateway/policy"
	"causeway/gateway/spec"
)

// endpointPolicy is where the flows of an endpoint find the policy in force. It stays the same object while the
// endpoint is there.
type endpointPolicy struct {
	current atomic.Pointer[compiledPolicy]
}

// compiledPolicy is an endpoint's policy with what it is asked about the endpoint. It is immutable.
type compiledPolicy struct {
	text     string
	policy   *policy.Policy // nil without one: full access
	dryRun   bool
	endpoint string // uid
	service  policy.Service
	// problem tells why the policy is not understood; then it denies everything.
	problem string
}

// same tells whether nothing changed that decides.
func (r *compiledPolicy) same(o *compiledPolicy) bool {
	return r.text == o.text && r.dryRun == o.dryRun && r.endpoint == o.endpoint && r.service == o.service
}

// applyPolicies puts the policies of all endpoints in force: flows that begin later obey them. It notes those that
// changed, for flows that are there already.
func (g *Gateway) applyPolicies(s *spec.Gateway, end *endings, problems *problems) {
	keep := map[string]bool{}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		keep[e.Name] = true
		p := g.served.policies[e.Name]
		if p == nil {
			p = &endpointPolicy{}
			g.served.policies[e.Name] = p
		}
		now := &compiledPolicy{
			text: e.Policy, dryRun: e.PolicyDryRun, endpoint: e.UID,
			service: policy.Service{Name: e.Service, Account: accountOf(e.Service), UID: e.ServiceUID, Region: e.Region},
		}
		if before := p.current.Load(); before != nil && before.same(now) {
			now = before
		} else {
			g.compilePolicy(e.Name, now)
			p.current.Store(now)
			end.policies[e.Name] = true
		}
		if now.problem != "" {
			for _, n := range e.Interfaces {
				problems.interfaces[n.UID] = now.problem
			}
		}
	}
	for name := range g.served.policies {
		if !keep[name] {
			delete(g.served.policies, name)
		}
	}
}

// compilePolicy reads the text. The API refuses what is not understood, but a store may hold anything: such a policy
// denies everything.
func (g *Gateway) compilePolicy(name string, r *compiledPolicy) {
	if r.text == "" {
		return
	}
	var err error
	if r.policy, err = policy.Parse(r.text); err != nil {
		r.policy = &policy.Policy{}
		r.problem = fmt.Sprintf("endpoint policy is not understood and denies everything: %v", err)
		g.log.Error("endpoint policy is not understood and denies everything", "endpoint", name, "error", err)
	}
}

// connection is what a policy is asked about.
type connection struct {
	vpc, vpcUID string
	consumer    netip.Addr
	peer        string
	tunnel      bool
	zone        string
	port        uint16
	hello       endpoint.Hello
}

// decide asks the policy about a connection. It is the one way to ask: of live flows and in explanations.
func (r *compiledPolicy) decide(c *connection) policy.Decision {
	if c.hello.Unreadable {
		return policy.Decision{Statement: policy.ImplicitDeny, Reason: "the consumer did not begin with a ClientHello that can be read"}
	}
	kind := spec.Attachment
	if c.tunnel {
		kind = spec.Tunnel
	}
	return r.policy.Decide(policy.Request{
		Account: accountOf(c.vpc), Source: c.consumer, VPC: c.vpcUID, VPCName: c.vpc,
		Endpoint: r.endpoint, Peer: c.peer, PeerKind: string(kind), Zone: c.zone,
		Service: r.service, Port: c.port, Time: time.Now(),
		HelloRead: c.hello.Read, TLS: c.hello.TLS, ServerName: c.hello.ServerName,
	})
}

// policyOf gives what judges the flows of a listener.
func policyOf(v *vpc, want wantedListener) func(endpoint.FlowKey, endpoint.Peer, endpoint.Hello) endpoint.Judgement {
	return func(f endpoint.FlowKey, p endpoint.Peer, h endpoint.Hello) endpoint.Judgement {
		r := want.policy.current.Load()
		if r.policy == nil {
			return endpoint.Judgement{}
		}
		d := r.decide(&connection{
			vpc: v.domain.Name(), vpcUID: *v.uid.Load(), consumer: f.Consumer.Addr(), peer: p.Name, tunnel: p.Tunnel,
			zone: want.zone, port: f.Exposure.Port(), hello: h,
		})
		return endpoint.Judgement{
			Statement: d.Statement, Denied: !d.Allowed && !d.NeedsHello, DryRun: r.dryRun, NeedsHello: d.NeedsHello,
		}
	}
}

// Explanations call this check so.
const checkPolicy = "endpoint_policy"

// explainPolicy tells what the policy of an endpoint says of a connection through one of its interfaces, from a peer
// of a domain. It decides as for a flow of which the ClientHello was read, with the question's server name.
func (g *Gateway) explainPolicy(q spec.Question, e *spec.Endpoint, n *spec.NetworkInterface, from *spec.Domain, p domain.Peer) spec.Check {
	check := spec.Check{Name: checkPolicy, Object: e.Name, Verdict: spec.Skip, Detail: "the endpoint has no policy: full access"}
	r := g.view.Load().policies[e.Name]
	if r == nil || r.policy == nil {
		return check
	}
	d := r.decide(&connection{
		vpc: from.Name, vpcUID: from.UID, consumer: q.Source.Addr(), peer: p.Name, tunnel: p.Tunnel, zone: n.Zone, port: q.Destination.Port(),
		hello: endpoint.Hello{Read: true, TLS: q.ServerName != "", ServerName: q.ServerName},
	})
	check.Verdict, check.Detail = spec.Pass, fmt.Sprintf("%s: %s", d.Statement, d.Reason)
	switch {
	case d.Allowed:
	case r.dryRun:
		check.Detail += "; not enforced, the policy is on trial"
	default:
		check.Verdict, check.Reason = spec.Deny, endpoint.ReasonRefusedPolicy.String()
	}
	return check
}
