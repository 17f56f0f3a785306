package api

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

func (s *shop) resolver() pb.ResolverClient { return pb.NewResolverClient(s.conn) }

// inbound makes a resolver endpoint in subnets of VPC prod.
func (s *shop) inbound(id string, subnets ...string) (*pb.ResolverEndpoint, error) {
	for n := range subnets {
		subnets[n] = "vpcs/prod/subnets/" + subnets[n]
	}
	return s.resolver().CreateResolverEndpoint(s.ctx, &pb.CreateResolverEndpointRequest{
		Parent: "vpcs/prod", ResolverEndpointId: id, ResolverEndpoint: &pb.ResolverEndpoint{Subnets: subnets}})
}

// forward makes a resolver rule in VPC prod.
func (s *shop) forward(id, domain string, servers ...*pb.ResolverTarget) (*pb.ResolverRule, error) {
	return s.resolver().CreateResolverRule(s.ctx, &pb.CreateResolverRuleRequest{
		Parent: "vpcs/prod", ResolverRuleId: id, ResolverRule: &pb.ResolverRule{DomainName: domain, TargetIps: servers}})
}

func server(addr string, port ...int32) *pb.ResolverTarget {
	t := &pb.ResolverTarget{IpAddress: addr}
	for _, p := range port {
		t.Port = &p
	}
	return t
}

func TestResolverEndpointAddresses(t *testing.T) {
	s := newShop(t)
	e, err := s.inbound("in", "a", "b")
	must(t, err)
	addrs := e.GetAddresses()
	if len(addrs) != 2 || addrs[0].GetIpAddress() != "10.0.1.4" || addrs[1].GetIpAddress() != "10.0.2.4" || addrs[1].GetAvailabilityZone() != "us-east-1b" ||
		!strings.HasPrefix(addrs[0].GetUid(), "eni-") || !strings.HasPrefix(e.GetUid(), "rslvr-in-") {
		t.Fatalf("created %v", e)
	}
	_, err = s.inbound("bad", "a", "a2")
	wantField(t, err, "resolver_endpoint.subnets[1]")
	_, err = s.resolver().CreateResolverEndpoint(s.ctx, &pb.CreateResolverEndpointRequest{Parent: "vpcs/prod", ResolverEndpointId: "taken",
		ResolverEndpoint: &pb.ResolverEndpoint{Subnets: []string{"vpcs/prod/subnets/a"},
			SubnetConfigurations: []*pb.SubnetConfiguration{{Subnet: "vpcs/prod/subnets/a", IpAddress: "10.0.1.4"}}}})
	wantError(t, err, codes.AlreadyExists, "ADDRESS_IN_USE")

	// A kept subnet keeps its address, an added one gets what is designated, and a dropped one is free.
	revised, err := s.resolver().UpdateResolverEndpoint(s.ctx, &pb.UpdateResolverEndpointRequest{ResolverEndpoint: &pb.ResolverEndpoint{
		Name: e.GetName(), Subnets: []string{"vpcs/prod/subnets/a2", "vpcs/prod/subnets/b"},
		SubnetConfigurations: []*pb.SubnetConfiguration{{Subnet: "vpcs/prod/subnets/a2", IpAddress: "10.0.3.9"}}}})
	must(t, err)
	if got := revised.GetAddresses(); got[0].GetIpAddress() != "10.0.3.9" || got[1].GetUid() != addrs[1].GetUid() {
		t.Errorf("revised to %v", revised)
	}
	next, err := s.inbound("next", "a")
	must(t, err)
	if next.GetAddresses()[0].GetIpAddress() != "10.0.1.4" {
		t.Errorf("the address of a dropped subnet is not free: %v", next)
	}

	_, err = s.vpcs().DeleteSubnet(s.ctx, &pb.DeleteSubnetRequest{Name: "vpcs/prod/subnets/b"})
	wantError(t, err, codes.FailedPrecondition, "HAS_CHILDREN", e.GetName())
	_, err = s.resolver().DeleteResolverEndpoint(s.ctx, &pb.DeleteResolverEndpointRequest{Name: e.GetUid()})
	must(t, err)
	must(t, resource.ResolverEndpoints.Purge(t.Context(), sharedStore, e.GetName()))
	claim := resource.AddressClaim(s.full("vpcs/prod"), "10.0.3.9")
	if held, err := sharedStore.ClaimOwner(t.Context(), claim.Kind, claim.Key); err == nil {
		t.Errorf("the address is left to %v", held)
	}
}

func TestResolverRules(t *testing.T) {
	s := newShop(t)
	e, err := s.inbound("in", "a")
	must(t, err)
	many := func(n int) (servers []*pb.ResolverTarget) {
		for i := range n {
			servers = append(servers, server(fmt.Sprintf("192.168.7.%d", i+1)))
		}
		return servers
	}
	one := []*pb.ResolverTarget{server("192.168.7.53")}
	tests := []struct {
		name, domain string
		servers      []*pb.ResolverTarget
		field, says  string
	}{
		{"OK", "corp.example.com", many(6), "", ""},
		{"OK everything", ".", one, "", ""},
		{"OK top level", "corp", []*pb.ResolverTarget{server("10.0.1.9", 5353), server("10.0.1.9")}, "", ""},
		{"OK reverse", "168.192.in-addr.arpa", one, "", ""},
		{"bad upper case", "Corp.example.com", one, "domain_name", "lower case"},
		{"bad final dot", "corp.example.com.", one, "domain_name", "ends in a dot"},
		{"bad wildcard", "*.example.com", one, "domain_name", "wildcard"},
		{"bad label", strings.Repeat("a", 64) + ".com", one, "domain_name", "63"},
		{"bad none", "x.com", nil, "target_ips", ""},
		{"bad seven", "x.com", many(7), "target_ips", ""},
		{"bad loopback", "x.com", []*pb.ResolverTarget{server("127.0.0.1")}, "target_ips[0].ip_address", "loopback"},
		{"bad metadata", "x.com", []*pb.ResolverTarget{server("192.168.7.1"), server("169.254.169.254")}, "target_ips[1].ip_address", "metadata"},
		{"bad AWS resolver", "x.com", []*pb.ResolverTarget{server("169.254.169.253")}, "target_ips[0].ip_address", "link-local"},
		{"bad multicast", "x.com", []*pb.ResolverTarget{server("224.0.0.251")}, "target_ips[0].ip_address", "multicast"},
		{"bad name", "x.com", []*pb.ResolverTarget{server("dns.example.com")}, "target_ips[0].ip_address", "is a name"},
		{"bad IPv6", "x.com", []*pb.ResolverTarget{server("2001:db8::1")}, "target_ips[0].ip_address", "IPv6"},
		{"bad own server", "x.com", []*pb.ResolverTarget{server("10.0.0.2")}, "target_ips[0].ip_address", "VPC's own DNS server"},
		{"bad own inbound address", "x.com", []*pb.ResolverTarget{server(e.GetAddresses()[0].GetIpAddress())}, "target_ips[0].ip_address", e.GetName()},
		{"bad port", "x.com", []*pb.ResolverTarget{server("192.168.7.53", 0)}, "target_ips[0].port", ""},
		{"bad port too high", "x.com", []*pb.ResolverTarget{server("192.168.7.53", 65536)}, "target_ips[0].port", ""},
		{"bad twice", "x.com", []*pb.ResolverTarget{server("192.168.7.53", 53), server("192.168.7.53")}, "target_ips[1]", "repeats target_ips[0]"},
	}
	for n, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rule, err := s.forward(id(n), tt.domain, tt.servers...)
			if tt.field != "" {
				wantField(t, err, "resolver_rule."+tt.field)
				if !strings.Contains(err.Error(), tt.says) {
					t.Errorf("%v does not say %q", err, tt.says)
				}
				return
			}
			must(t, err)
			last := rule.GetTargetIps()[len(rule.GetTargetIps())-1]
			if !strings.HasPrefix(rule.GetUid(), "rslvr-rr-") || last.GetPort() != 53 || rule.GetState() != pb.ResolverRule_PENDING {
				t.Errorf("created %v", rule)
			}
		})
	}
	_, err = s.forward("again", "corp.example.com", one...)
	wantError(t, err, codes.AlreadyExists, "DOMAIN_IN_USE", "resolverRules/"+id(0))
	change := func(rule *pb.ResolverRule) error {
		rule.Name = "vpcs/prod/resolverRules/" + id(0)
		_, err := s.resolver().UpdateResolverRule(s.ctx, &pb.UpdateResolverRuleRequest{ResolverRule: rule})
		return err
	}
	wantField(t, change(&pb.ResolverRule{DomainName: "other.example.com"}), "resolver_rule.domain_name")
	wantField(t, change(&pb.ResolverRule{TargetIps: []*pb.ResolverTarget{server("10.0.0.2")}}), "resolver_rule.target_ips[0].ip_address")
	must(t, change(&pb.ResolverRule{TargetIps: []*pb.ResolverTarget{server("192.168.7.99")}}))
}

// TestResolverLoopRace sends a rule to an address at the moment that it becomes an inbound one.
func TestResolverLoopRace(t *testing.T) {
	s := newShop(t)
	for n := range 10 {
		addr := fmt.Sprintf("10.0.1.%d", 50+n)
		ruled, placed := collide(func() error {
			_, err := s.forward(id(n), id(n)+".example.com", server(addr))
			return err
		}, func() error {
			_, err := s.resolver().CreateResolverEndpoint(s.ctx, &pb.CreateResolverEndpointRequest{Parent: "vpcs/prod", ResolverEndpointId: id(n),
				ResolverEndpoint: &pb.ResolverEndpoint{Subnets: []string{"vpcs/prod/subnets/a"},
					SubnetConfigurations: []*pb.SubnetConfiguration{{Subnet: "vpcs/prod/subnets/a", IpAddress: addr}}}})
			return err
		})
		if (ruled == nil) == (placed == nil) {
			t.Fatalf("round %d: rule gave %v, endpoint %v; want one to fail", n, ruled, placed)
		}
		if placed == nil {
			_, err := s.resolver().DeleteResolverEndpoint(s.ctx, &pb.DeleteResolverEndpointRequest{Name: "vpcs/prod/resolverEndpoints/" + id(n)})
			must(t, err)
		}
	}
}
