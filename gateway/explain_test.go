package gateway

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"causeway/gateway/spec"
)

// verdicts are the names and verdicts of the checks from the listener's on, with the reason of the last.
func verdicts(e spec.Explanation) (list []string) {
	for _, c := range e.Checks {
		text := c.Name + " " + string(c.Verdict)
		if c.Verdict == spec.Deny {
			text += " " + c.Reason
		}
		list = append(list, text)
	}
	return list
}

// detail is what a check of the explanation says.
func detail(e spec.Explanation, name string) string {
	for _, c := range e.Checks {
		if c.Name == name {
			return c.Detail
		}
	}
	return ""
}

var (
	admittedChecks = []string{
		"peer pass", "handshake skip", "source pass", "network_acl_out skip", "network_acl_in skip", "exposure pass", "tunnel_access skip",
		"endpoint_state pass", "listener pass", "security_group skip", "connection_limit pass", "healthy_target pass",
		"network_acl_out_return skip", "network_acl_in_return skip", "flow_limit pass", "endpoint_policy skip",
	}
	targetChecks = []string{
		"target pass", "target_guard pass", "target_path pass", "target_network_acl_out skip", "target_network_acl_in skip",
		"target_network_acl_out_return skip", "target_network_acl_in_return skip", "zone_budget skip",
	}
)

// named gives the consumer's VPC a resolver that answers orders.example.com with the endpoint's address.
func named(w *world) {
	w.domain(consumer(1)).Resolver = &spec.Resolver{
		Address: addr("10.0.0.2"), Names: []spec.DNSName{{Name: "orders.example.com", Endpoint: w.Endpoints[0].Name, Interfaces: []string{uid("eni", 1)}}},
	}
}

func TestExplain(t *testing.T) {
	question := spec.Question{
		Domain: consumer(1), Source: netip.MustParseAddrPort("10.0.1.4:0"), Destination: netip.MustParseAddrPort(serviceAt),
	}
	without := func(q spec.Question, change func(*spec.Question)) spec.Question { change(&q); return q }
	ask := func(name string) spec.Question {
		return without(question, func(q *spec.Question) { q.Name, q.Destination = name, netip.AddrPortFrom(netip.Addr{}, 443) })
	}
	for name, tt := range map[string]struct {
		change   func(*world)
		question spec.Question
		want     []string
		check    string
		says     string
	}{
		"allowed": {question: question, want: append(slices.Clip(admittedChecks), targetChecks...), check: "target", says: "10.0.1.4:8080 is picked; 0 of 1 targets are healthy"},
		"bad VPC": {
			question: without(question, func(q *spec.Question) { q.Domain = "accounts/x/vpcs/x" }),
			want:     []string{"domain deny not_served"}, check: "domain", says: "does not serve",
		},
		"bad revoked": {
			change:   func(w *world) { w.Endpoints[0].Revocation = &spec.Revocation{Keep: true} },
			question: question, want: append(admittedChecks[:7:7], "endpoint_state deny no_listener"), check: "endpoint_state", says: "withdrawn",
		},
		"bad zone": {
			change:   func(w *world) { w.LoadBalancers[0].Nodes = nil },
			question: question, want: append(admittedChecks[:5:5], "endpoint_zone deny no_exposure"), check: "endpoint_zone", says: `has a node in zone "us-east-1a"`,
		},
		"bad policy": {
			change: func(w *world) {
				w.Endpoints[0].Policy = `{"Statement":[{"Sid":"Nobody","Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}]}`
			},
			question: question, want: append(admittedChecks[:len(admittedChecks)-1:len(admittedChecks)-1], "endpoint_policy deny refused_policy"), check: "endpoint_policy", says: "Nobody",
		},
		"name": {
			change: named, question: ask("Orders.Example.com"),
			want: append(append([]string{"name pass"}, admittedChecks...), targetChecks...), check: "name", says: "is answered with [10.0.1.10]",
		},
		"bad name": {
			change: named, question: ask("other.example.com"),
			want: []string{"name deny name_not_found"}, check: "name", says: `no "other.example.com" of its own`,
		},
		"bad name that is not published": {
			change:   func(w *world) { named(w); w.Domains[0].Resolver.Names[0].Probed = true },
			question: ask("orders.example.com"), want: []string{"name deny name_not_verified"}, check: "name", says: "not answered yet",
		},
		"bad name without a resolver": {
			question: ask("orders.example.com"), want: []string{"name deny name_not_found"}, check: "name", says: "no resolver",
		},
		"bad guarded target": {
			change:   func(w *world) { w.TargetGroups[0].Targets[0].Address = addr("169.254.169.254") },
			question: question, want: append(slices.Clip(admittedChecks), "target pass", "target_guard deny refused_target_guard"), check: "target_guard", says: "169.254.169.254",
		},
		"bad target that nobody holds": {
			change:   func(w *world) { w.TargetGroups[0].Targets[0].Address = addr("10.0.1.77") },
			question: question, want: append(slices.Clip(admittedChecks), "target pass", "target_guard pass", "target_path deny refused_targets_failed"),
			check: "target_path", says: "no attachment or tunnel holds the address",
		},
		"bad target behind a network ACL": {
			change: func(w *world) {
				w.Subnets = []spec.Subnet{{Name: "accounts/p1/vpcs/p/subnets/a", NetworkACL: "accounts/p1/vpcs/p/networkAcls/n"}}
				w.NetworkACLs = []spec.NetworkACL{{Name: "accounts/p1/vpcs/p/networkAcls/n", Egress: []spec.ACLRule{
					{Number: 10, Allow: true, Prefix: prefix("0.0.0.0/0"), Traffic: spec.Traffic{Protocol: spec.AllProtocols}},
				}}}
				w.LoadBalancers[0].Nodes[0].Subnet = w.Subnets[0].Name
			},
			question: question,
			want: append(append(slices.Clip(admittedChecks), targetChecks[:3]...),
				"target_network_acl_out pass", "target_network_acl_in skip", "target_network_acl_out_return skip", "target_network_acl_in_return deny network_acl"),
			check: "target_network_acl_in_return", says: "rule * denies",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := run(t, config(t, t.TempDir()))
			var w world
			w.pair(t, 1)
			if tt.change != nil {
				tt.change(&w)
			}
			g.apply(t, &w.Gateway)
			got := g.Explain(tt.question)
			if diff := cmp.Diff(tt.want, verdicts(got)); diff != "" {
				t.Errorf("checks (-want +got):\n%s", diff)
			}
			if got.Allowed != !strings.Contains(strings.Join(tt.want, " "), "deny") {
				t.Errorf("allowed: %v", got.Allowed)
			}
			if said := detail(got, tt.check); !strings.Contains(said, tt.says) {
				t.Errorf("%s says %q, want %q", tt.check, said, tt.says)
			}
		})
	}
}

// TestExplainTellsOfTheHandshake connects the peer.
func TestExplainTellsOfTheHandshake(t *testing.T) {
	g := run(t, config(t, t.TempDir()))
	var w world
	client, server := w.pair(t, 1)
	g.apply(t, &w.Gateway)
	connectPair(t, g, 1, client, server)
	question := spec.Question{Domain: consumer(1), Source: netip.AddrPortFrom(client.addr, 0), Destination: netip.MustParseAddrPort(serviceAt)}
	// The gateway counts the handshake when the first packet of the session has come, after the client does.
	eventually(t, "the handshake is told", func() bool {
		got := g.Explain(question)
		return got.Allowed && strings.HasPrefix(detail(got, "handshake"), "last WireGuard handshake ")
	})
}
