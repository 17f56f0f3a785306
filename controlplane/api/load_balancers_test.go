package api

import (
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

func TestLoadBalancerHasANodeInEachSubnet(t *testing.T) {
	s := newShop(t)
	a, err := s.vpcs().GetSubnet(s.ctx, &pb.GetSubnetRequest{Name: "vpcs/partner/subnets/a"})
	must(t, err)
	lb, err := s.loadBalancer("orders", a.GetUid(), "vpcs/partner/subnets/b")
	must(t, err)
	want := &pb.LoadBalancer{
		Name: s.full("loadBalancers/orders"), Uid: lb.GetUid(), Vpc: s.full("vpcs/partner"), State: pb.LoadBalancer_PENDING,
		Subnets: []string{s.full("vpcs/partner/subnets/a"), s.full("vpcs/partner/subnets/b")},
		Nodes: []*pb.LoadBalancer_Node{
			{Subnet: s.full("vpcs/partner/subnets/a"), AvailabilityZone: "us-east-1a", IpAddress: "10.1.1.4"},
			{Subnet: s.full("vpcs/partner/subnets/b"), AvailabilityZone: "us-east-1b", IpAddress: "10.1.2.4"},
		},
		SecondaryIpAddressesPerZone: new(int32(0)),
		Etag:                        lb.GetEtag(), CreateTime: lb.GetCreateTime(), UpdateTime: lb.GetUpdateTime(),
	}
	if !proto.Equal(lb, want) {
		t.Errorf("created %v, want %v", lb, want)
	}
	if a, err = s.vpcs().GetSubnet(s.ctx, &pb.GetSubnetRequest{Name: a.GetName()}); err != nil || a.GetAvailableIpAddressCount() != 250 {
		t.Errorf("subnet shows %d free addresses, want 250 (%v)", a.GetAvailableIpAddressCount(), err)
	}
	_, err = s.vpcs().DeleteSubnet(s.ctx, &pb.DeleteSubnetRequest{Name: a.GetName()})
	wantError(t, err, codes.FailedPrecondition, "HAS_CHILDREN", "loadBalancers/orders")
}

func TestSecondaryAddresses(t *testing.T) {
	s := newShop(t)
	lb, err := s.lbs.CreateLoadBalancer(s.ctx, &pb.CreateLoadBalancerRequest{LoadBalancerId: "orders", LoadBalancer: &pb.LoadBalancer{
		Subnets: []string{"vpcs/partner/subnets/a", "vpcs/partner/subnets/b"}, SecondaryIpAddressesPerZone: new(int32(2)),
	}})
	must(t, err)
	want := []string{"10.1.2.4", "10.1.2.5", "10.1.2.6"}
	if n := lb.GetNodes()[1]; !slices.Equal(append([]string{n.GetIpAddress()}, n.GetSecondaryIpAddresses()...), want) {
		t.Errorf("node %v, want %v", n, want)
	}
	update := func(n int32) (*pb.LoadBalancer, error) {
		return s.lbs.UpdateLoadBalancer(s.ctx, &pb.UpdateLoadBalancerRequest{LoadBalancer: &pb.LoadBalancer{Name: lb.GetName(), SecondaryIpAddressesPerZone: &n}})
	}
	lb, err = update(7)
	must(t, err)
	if n := lb.GetNodes()[0]; len(n.GetSecondaryIpAddresses()) != 7 || n.GetSecondaryIpAddresses()[6] != "10.1.1.11" {
		t.Errorf("node with 7 more addresses: %v", n)
	}
	for _, n := range []int32{6, 8, -1} {
		_, err = update(n)
		wantField(t, err, "load_balancer.secondary_ip_addresses_per_zone")
	}
	subnet, err := s.vpcs().GetSubnet(s.ctx, &pb.GetSubnetRequest{Name: "vpcs/partner/subnets/a"})
	must(t, err)
	if free := subnet.GetAvailableIpAddressCount(); free != 251-8 {
		t.Errorf("%d addresses are free, want %d", free, 251-8)
	}
	_, err = s.lbs.CreateLoadBalancer(s.ctx, &pb.CreateLoadBalancerRequest{LoadBalancerId: "many", LoadBalancer: &pb.LoadBalancer{
		Subnets: []string{"vpcs/partner/subnets/a2"}, SecondaryIpAddressesPerZone: new(int32(7)),
	}})
	must(t, err)
	_, err = s.lbs.CreateLoadBalancer(s.ctx, &pb.CreateLoadBalancerRequest{LoadBalancerId: "more", LoadBalancer: &pb.LoadBalancer{
		Subnets: []string{"vpcs/partner/subnets/a2"}, SecondaryIpAddressesPerZone: new(int32(7)),
	}})
	wantError(t, err, codes.ResourceExhausted, "AZ_ADDRESSES_EXHAUSTED", "vpcs/partner/subnets/a2")
}

func TestCreateLoadBalancerRules(t *testing.T) {
	s := newShop(t)
	s.vpc(s.b, "theirs", "10.0.0.0/16")
	tests := []struct {
		name    string
		subnets []string
		code    codes.Code
		reason  string
		texts   []string
	}{
		{"bad two in one zone", []string{"vpcs/partner/subnets/a", "vpcs/partner/subnets/a2"},
			codes.InvalidArgument, "INVALID_FIELD", []string{"load_balancer.subnets[1]", "partner/subnets/a\"", "partner/subnets/a2\"", "us-east-1a"}},
		{"bad two VPCs", []string{"vpcs/partner/subnets/a", "vpcs/prod/subnets/b"},
			codes.InvalidArgument, "INVALID_FIELD", []string{"load_balancer.subnets[1]", "vpcs/prod/subnets/b", "vpcs/partner"}},
		{"bad none", nil, codes.InvalidArgument, "INVALID_FIELD", []string{"load_balancer.subnets"}},
		{"bad absent", []string{"vpcs/partner/subnets/z"}, codes.NotFound, "SUBNET_NOT_FOUND", []string{"vpcs/partner/subnets/z"}},
		{"bad kind", []string{"vpcs/partner"}, codes.InvalidArgument, "INVALID_FIELD", []string{"load_balancer.subnets[0]"}},
		{"bad other account's", []string{"accounts/" + s.b + "/vpcs/theirs/subnets/a"}, codes.NotFound, "SUBNET_NOT_FOUND", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := s.loadBalancer("x", tt.subnets...)
			wantError(t, err, tt.code, tt.reason, tt.texts...)
		})
	}
}

func TestSubnetsOfALoadBalancerStay(t *testing.T) {
	s := newShop(t)
	lb, err := s.loadBalancer("orders", "vpcs/partner/subnets/a")
	must(t, err)
	_, err = s.lbs.UpdateLoadBalancer(s.ctx, &pb.UpdateLoadBalancerRequest{LoadBalancer: &pb.LoadBalancer{
		Name: lb.GetName(), Subnets: []string{"vpcs/partner/subnets/b"},
	}})
	wantField(t, err, "load_balancer.subnets")
	lb.DisplayName = new("Orders")
	after, err := s.lbs.UpdateLoadBalancer(s.ctx, &pb.UpdateLoadBalancerRequest{LoadBalancer: lb})
	must(t, err)
	if after.GetDisplayName() != "Orders" || after.GetNodes()[0].GetIpAddress() != "10.1.1.4" {
		t.Errorf("after a change of display_name: %v", after)
	}
}

func TestDeleteLoadBalancer(t *testing.T) {
	s := newShop(t)
	s.offer("a")
	s.targetGroup("orders", "vpcs/partner")
	listener, err := s.listener("loadBalancers/orders", 443, "targetGroups/orders")
	must(t, err)
	remove := &pb.DeleteLoadBalancerRequest{Name: "loadBalancers/orders"}
	_, err = s.lbs.DeleteLoadBalancer(s.ctx, remove)
	wantError(t, err, codes.FailedPrecondition, "HAS_CHILDREN", "endpointServices/orders")
	_, err = s.svc.DeleteEndpointService(s.ctx, &pb.DeleteEndpointServiceRequest{Name: "endpointServices/orders"})
	must(t, err)
	_, err = s.lbs.DeleteLoadBalancer(s.ctx, &pb.DeleteLoadBalancerRequest{Name: "loadBalancers/orders", Etag: "1"})
	wantError(t, err, codes.Aborted, "ETAG_MISMATCH")
	for range 2 {
		_, err = s.lbs.DeleteLoadBalancer(s.ctx, remove)
		must(t, err)
	}
	lb, err := s.lbs.GetLoadBalancer(s.ctx, &pb.GetLoadBalancerRequest{Name: "loadBalancers/orders"})
	must(t, err)
	listener, err = s.lbs.GetListener(s.ctx, &pb.GetListenerRequest{Name: listener.GetUid()})
	must(t, err)
	if lb.GetState() != pb.LoadBalancer_DELETING || listener.GetState() != pb.Listener_DELETING {
		t.Errorf("load balancer %v, listener %v, want both DELETING", lb.GetState(), listener.GetState())
	}
	_, err = s.listener("loadBalancers/orders", 80, "targetGroups/orders")
	wantError(t, err, codes.FailedPrecondition, "BEING_DELETED", "loadBalancers/orders")
	// The gateway has let go: reconcile removes them, and the address is free again.
	must(t, resource.Listeners.Purge(s.ctx, sharedStore, listener.GetName()))
	must(t, resource.EndpointServices.Purge(s.ctx, sharedStore, s.full("endpointServices/orders")))
	must(t, resource.LoadBalancers.Purge(s.ctx, sharedStore, lb.GetName()))
	again, err := s.loadBalancer("orders", "vpcs/partner/subnets/a")
	must(t, err)
	if got := again.GetNodes()[0].GetIpAddress(); got != "10.1.1.4" {
		t.Errorf("address after removal %s, want 10.1.1.4", got)
	}
}
