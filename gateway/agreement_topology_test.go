package gateway

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"causeway/gateway/spec"
	"causeway/tunnel"
)

// The VPCs of a random topology. The consumer's and the provider's have the same addresses; peerVPC has endpoints that the
// consumer sees over a peering.
const (
	consumerVPC = "accounts/c/vpcs/c"
	peerVPC     = "accounts/x/vpcs/x"
	providerVPC = "accounts/p/vpcs/p"
	// probePort is that of health checks, which tells them from flows.
	probePort = 9
)

// peerKeys are public keys; which, does not matter.
var peerKeys = func() (keys [8]spec.Key) {
	for i := range keys {
		keys[i] = spec.Key(tunnel.NewPrivateKey().Public())
	}
	return keys
}()

// topology is a random spec with the targets that it has.
type topology struct{ spec.Gateway }

func chance(r *rand.Rand, percent int) bool { return r.IntN(100) < percent }

func oneOf[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// some takes each with a chance.
func some[T any](r *rand.Rand, percent int, list ...T) (taken []T) {
	for _, x := range list {
		if chance(r, percent) {
			taken = append(taken, x)
		}
	}
	return taken
}

// randomTopology makes VPCs of which most let most through, so that flows get far.
func randomTopology(r *rand.Rand, revision int64) *topology {
	s := &topology{}
	s.Revision = revision
	s.Zones = []string{"z1", "z2"}
	s.rules(r)
	for i, name := range []string{consumerVPC, providerVPC, peerVPC} {
		d := spec.Domain{Name: name, UID: fmt.Sprintf("vpc-%d", i), Prefixes: []netip.Prefix{prefix("10.0.0.0/16")}}
		if name == peerVPC {
			d.Prefixes = []netip.Prefix{prefix("10.1.0.0/16")}
		}
		s.Domains = append(s.Domains, d)
	}
	c, p, x := &s.Domains[0], &s.Domains[1], &s.Domains[2]
	c.TunnelEndpoints = []spec.TunnelEndpoint{
		{UID: "tep-c0", Zone: "z1", Port: 1001, Peers: some(r, 97, attachment(r, c.Name, "a", 1, "10.0.1.4"), attachment(r, c.Name, "b", 2, "10.0.2.4"))},
		{UID: "tep-c1", Zone: "z1", Port: 1002, Peers: some(r, 97, site(3, oneOf(r, "192.168.0.0/24", "192.168.0.0/16", "10.0.0.0/16")))},
	}
	p.TunnelEndpoints = []spec.TunnelEndpoint{{UID: "tep-p", Zone: "z1", Port: 1003, Peers: some(r, 85,
		attachment(r, p.Name, "a", 4, "10.0.1.20"), attachment(r, p.Name, "b", 5, "10.0.2.20"), site(6, "192.168.7.0/24"))}}
	x.TunnelEndpoints = []spec.TunnelEndpoint{{UID: "tep-x", Zone: "z1", Port: 1004, Peers: some(r, 97, attachment(r, x.Name, "a", 7, "10.1.1.4"))}}
	s.services(r)
	s.endpoints(r)
	return s
}

func attachment(r *rand.Rand, vpc, subnet string, n byte, address string) spec.Peer {
	return spec.Peer{
		Name: vpc + "/subnets/" + subnet + "/attachments/n" + fmt.Sprint(n), Kind: spec.Attachment, PublicKey: peerKeys[n], AllowedIPs: []netip.Prefix{prefix(address + "/32")},
		Subnet: vpc + "/subnets/" + subnet, SecurityGroups: some(r, 50, "accounts/c/vpcs/c/securityGroups/g0"),
	}
}

func site(n byte, route string) spec.Peer {
	return spec.Peer{Name: fmt.Sprintf("accounts/c/vpnConnections/v%d/tunnels/1", n), Kind: spec.Tunnel, PublicKey: peerKeys[n], AllowedIPs: []netip.Prefix{prefix(route)}}
}

// rules are four network ACLs, two security groups, and the subnets.
func (s *topology) rules(r *rand.Rand) {
	for i := range 4 {
		s.NetworkACLs = append(s.NetworkACLs, spec.NetworkACL{Name: fmt.Sprintf("accounts/c/vpcs/c/networkAcls/n%d", i), Ingress: aclRules(r), Egress: aclRules(r)})
	}
	for i := range 2 {
		g := spec.SecurityGroup{Name: fmt.Sprintf("accounts/c/vpcs/c/securityGroups/g%d", i)}
		for range 1 + r.IntN(2) {
			rule := spec.GroupRule{Traffic: traffic(r)}
			if chance(r, 30) {
				rule.Group = "accounts/c/vpcs/c/securityGroups/g0"
			} else {
				rule.Prefix = oneOf(r, prefixes...)
			}
			g.Ingress = append(g.Ingress, rule)
		}
		s.SecurityGroups = append(s.SecurityGroups, g)
	}
	for _, vpc := range []string{consumerVPC, providerVPC, peerVPC} {
		for _, id := range []string{"a", "b"} {
			subnet := spec.Subnet{Name: vpc + "/subnets/" + id}
			// The provider's side costs a wait for each dial that comes to nothing.
			if vpc == providerVPC && chance(r, 6) || vpc != providerVPC && chance(r, 40) {
				subnet.NetworkACL = s.NetworkACLs[r.IntN(4)].Name
			}
			s.Subnets = append(s.Subnets, subnet)
		}
	}
}

var prefixes = []netip.Prefix{prefix("0.0.0.0/0"), prefix("0.0.0.0/0"), prefix("10.0.0.0/8"), prefix("10.0.1.0/24"), prefix("192.168.0.0/16")}

func aclRules(r *rand.Rand) []spec.ACLRule {
	var list []spec.ACLRule
	for i := range r.IntN(4) {
		list = append(list, spec.ACLRule{Number: 10 * (i + 1), Allow: chance(r, 70), Prefix: oneOf(r, prefixes...), Traffic: traffic(r)})
	}
	if chance(r, 80) {
		list = append(list, spec.ACLRule{Number: 100, Allow: true, Prefix: prefix("0.0.0.0/0"), Traffic: spec.Traffic{Protocol: spec.AllProtocols}})
	}
	return list
}

func traffic(r *rand.Rand) spec.Traffic {
	if chance(r, 40) {
		return spec.Traffic{Protocol: spec.AllProtocols}
	}
	t := spec.Traffic{Protocol: 6, FirstPort: oneOf[uint16](r, 0, 80, 443, 1024, 32768)}
	t.LastPort = oneOf(r, t.FirstPort, 65535)
	return t
}

// services are a load balancer with two listeners, each with a target group.
func (s *topology) services(r *rand.Rand) {
	for i := range 2 {
		g := spec.TargetGroup{
			Name: fmt.Sprintf("accounts/p/targetGroups/t%d", i), Domain: providerVPC, FailOpen: chance(r, 90), Sticky: chance(r, 50), CrossZone: chance(r, 60),
			HealthCheck: spec.HealthCheck{Protocol: spec.TCP, Port: probePort, Interval: 300 * time.Second, Timeout: 120 * time.Second, HealthyThreshold: 10, UnhealthyThreshold: 10},
		}
		for _, a := range some(r, 40, "10.0.1.20", "10.0.2.20", "192.168.7.5", "10.0.1.99", "169.254.169.254", "203.0.113.9") {
			g.Targets = append(g.Targets, spec.Registration{Target: spec.Target{Address: addr(a), Port: 8080}, Zone: oneOf(r, "", "z1", "z2"), Weight: oneOf(r, 1, 1, 1, 0, 5)})
		}
		s.TargetGroups = append(s.TargetGroups, g)
	}
	lb := spec.LoadBalancer{Name: "accounts/p/loadBalancers/lb", Domain: providerVPC}
	if chance(r, 95) {
		lb.Nodes = append(lb.Nodes, spec.Node{Zone: "z1", Address: addr("10.0.1.200"), Subnet: providerVPC + "/subnets/a"})
	}
	if chance(r, 60) {
		lb.Nodes = append(lb.Nodes, spec.Node{Zone: "z2", Address: addr("10.0.2.200"), Subnet: providerVPC + "/subnets/b"})
	}
	for i, port := range []uint16{80, 443} {
		if chance(r, 90) {
			lb.Listeners = append(lb.Listeners, spec.Listener{Port: port, Protocol: spec.TCP, TargetGroup: s.TargetGroups[i].Name, IdleTimeout: 350 * time.Second})
		}
	}
	s.LoadBalancers = []spec.LoadBalancer{lb}
}

// endpoints are one of the consumer's in both zones and one of the peer's, which the consumer may see.
func (s *topology) endpoints(r *rand.Rand) {
	for i, vpc := range []string{consumerVPC, peerVPC} {
		e := spec.Endpoint{
			Name: vpc + "/endpoints/e", UID: fmt.Sprintf("vpce-%d", i), Service: "accounts/p/endpointServices/s", LoadBalancers: []string{"accounts/p/loadBalancers/lb"},
			ServiceUID: "vpce-svc-1", Region: "r", CrossZone: chance(r, 50), Bandwidth: spec.Bandwidth{BaselineBPS: 10e9, MaximumBPS: 40e9},
			SecurityGroups: some(r, 25, "accounts/c/vpcs/c/securityGroups/g0", "accounts/c/vpcs/c/securityGroups/g1"),
			Policy:         policies[min(r.IntN(12), len(policies)-1)], PolicyDryRun: chance(r, 20),
		}
		if chance(r, 5) {
			e.Revocation = &spec.Revocation{Keep: true}
		}
		for j, zone := range s.Zones {
			e.Interfaces = append(e.Interfaces, spec.NetworkInterface{
				UID: fmt.Sprintf("eni-%d%d", i, j), Zone: zone, Address: addr(fmt.Sprintf("10.%d.%d.9", i, j+1)), Subnet: vpc + "/subnets/" + []string{"a", "b"}[j],
			})
		}
		s.Endpoints = append(s.Endpoints, e)
		peers := chance(r, 80)
		for d := range s.Domains {
			for _, n := range e.Interfaces {
				switch s.Domains[d].Name {
				case vpc:
					s.Domains[d].Exposures = append(s.Domains[d].Exposures, spec.Exposure{Interface: n.UID, Tunnels: true})
				case consumerVPC:
					if peers {
						s.Domains[d].Exposures = append(s.Domains[d].Exposures, spec.Exposure{Interface: n.UID, Via: "accounts/c/peerings/p", Tunnels: chance(r, 60)})
					}
				}
			}
		}
	}
}

// policies of endpoints; most have none.
var policies = []string{
	`{"Statement":[{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}]}`,
	`{"Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.1.0/24"}}}]}`,
	`{"Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"},{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*","Condition":{"NumericEquals":{"vpce:Port":"80"}}}]}`,
	"",
}

func (s *topology) randomQuestion(r *rand.Rand) spec.Question {
	q := spec.Question{Domain: consumerVPC, Source: netip.AddrPortFrom(addr(oneOf(r, "10.0.1.4", "10.0.1.4", "10.0.1.4", "10.0.2.4", "10.0.2.4", "192.168.0.7", "10.9.9.9")), 0)}
	to := addr(oneOf(r, "10.0.1.9", "10.0.1.9", "10.0.1.9", "10.0.2.9", "10.1.1.9", "10.1.2.9"))
	switch {
	case chance(r, 15):
		q.Domain, q.Source, to = peerVPC, netip.MustParseAddrPort("10.1.1.4:0"), addr(oneOf(r, "10.1.1.9", "10.1.2.9"))
	case chance(r, 3):
		to = addr("10.0.3.3")
	case chance(r, 3):
		q.Source = netip.MustParseAddrPort("10.0.1.9:0")
	}
	q.Destination = netip.AddrPortFrom(to, oneOf[uint16](r, 443, 443, 443, 80, 80, 22))
	return q
}

func (s *topology) isTarget(a netip.AddrPort) bool {
	return slices.ContainsFunc(s.TargetGroups, func(g spec.TargetGroup) bool {
		return slices.ContainsFunc(g.Targets, func(t spec.Registration) bool { return t.Address == a.Addr() && t.Port == a.Port() })
	})
}

// choosesByNumber reports whether a target group chooses among several by more than the consumer's address.
func (s *topology) choosesByNumber() bool {
	return slices.ContainsFunc(s.TargetGroups, func(g spec.TargetGroup) bool { return !g.Sticky && len(g.Targets) > 1 })
}
