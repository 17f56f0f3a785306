package api

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

func TestTargetsThatLoopAreRefused(t *testing.T) {
	s := newShop(t)
	s.offer("a")
	s.targetGroup("orders", "vpcs/prod")
	s.targetGroup("elsewhere", "vpcs/partner")
	endpoint, err := s.endpoint("e", "a")
	must(t, err)
	address := endpoint.GetNetworkInterfaces()[0].GetIpAddress()
	_, err = s.register("targetGroups/orders", at("10.0.1.200", 0), at(address, 0))
	wantField(t, err, "targets[1].ip_address")
	wantError(t, err, codes.InvalidArgument, "INVALID_FIELD", address, "endpoints/e", "loop")
	_, err = s.register("targetGroups/elsewhere", at(address, 0))
	must(t, err)
}

func TestEndpointsKeepOffTargets(t *testing.T) {
	s := newShop(t)
	s.offer("a")
	s.targetGroup("orders", "vpcs/prod")
	s.targetGroup("elsewhere", "vpcs/partner")
	_, err := s.register("targetGroups/orders", at("10.0.1.4", 0), at("10.0.1.5", 0), at("10.0.1.77", 0))
	must(t, err)
	_, err = s.register("targetGroups/elsewhere", at("10.0.1.6", 0))
	must(t, err)

	endpoint, err := s.endpoint("e", "a")
	must(t, err)
	if got := endpoint.GetNetworkInterfaces()[0].GetIpAddress(); got != "10.0.1.6" {
		t.Errorf("endpoint has %s, want 10.0.1.6, the first address that is no target of its VPC", got)
	}
	err = s.designated("chosen", "10.0.1.77")
	wantField(t, err, "endpoint.subnet_configurations[0].ip_address")
	wantError(t, err, codes.InvalidArgument, "INVALID_FIELD", "10.0.1.77", "targetGroups/orders", "loop")
	must(t, s.designated("chosen", "10.0.1.78"))

	_, err = s.deregister("targetGroups/orders", at("10.0.1.77", 0))
	must(t, err)
	must(t, s.designated("freed", "10.0.1.77"))
}

// designated makes an endpoint with the given address in subnet a.
func (s *shop) designated(id, address string) error {
	_, err := s.eps.CreateEndpoint(s.ctx, &pb.CreateEndpointRequest{Parent: "vpcs/prod", EndpointId: id, Endpoint: &pb.Endpoint{
		ServiceName: "endpointServices/orders", Subnets: []string{"vpcs/prod/subnets/a"},
		SubnetConfigurations: []*pb.SubnetConfiguration{{Subnet: "vpcs/prod/subnets/a", IpAddress: address}},
	}})
	return err
}

func TestLoopIsNeverMade(t *testing.T) {
	s := newShop(t)
	s.offer("a")
	s.targetGroup("orders", "vpcs/prod")
	won := map[bool]int{}
	for n := range 50 {
		created, registered := collide(
			func() error { return s.designated("e", "10.0.1.77") },
			func() error { _, err := s.register("targetGroups/orders", at("10.0.1.77", 0)); return err })
		if (created == nil) == (registered == nil) {
			t.Fatalf("round %d: endpoint gave %v, target %v; want one to fail", n, created, registered)
		}
		won[created == nil]++
		if created == nil {
			if status.Code(registered) != codes.InvalidArgument {
				t.Fatalf("round %d: %v", n, registered)
			}
			_, err := s.eps.DeleteEndpoint(s.ctx, &pb.DeleteEndpointRequest{Name: "vpcs/prod/endpoints/e"})
			must(t, err)
			must(t, resource.Endpoints.Purge(s.ctx, sharedStore, s.full("vpcs/prod/endpoints/e")))
			continue
		}
		wantError(t, created, codes.InvalidArgument, "INVALID_FIELD")
		_, err := s.deregister("targetGroups/orders", at("10.0.1.77", 0))
		must(t, err)
	}
	t.Logf("endpoint won %d times, target %d", won[true], won[false])
}
