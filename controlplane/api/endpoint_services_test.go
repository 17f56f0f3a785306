package api

import (
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	pb "causeway/proto/causeway/v1"
)

func TestEndpointServiceIsOfferedInItsLoadBalancersZones(t *testing.T) {
	s := newShop(t)
	_, err := s.loadBalancer("one", "vpcs/partner/subnets/b", "vpcs/partner/subnets/a")
	must(t, err)
	two, err := s.loadBalancer("two", "vpcs/partner/subnets/a")
	must(t, err)
	service, err := s.service("orders", "loadBalancers/one", two.GetUid())
	must(t, err)
	want := &pb.EndpointService{
		Name: s.full("endpointServices/orders"), Uid: service.GetUid(), State: pb.EndpointService_PENDING,
		Region:            "us-east-1",
		LoadBalancers:     []string{s.full("loadBalancers/one"), s.full("loadBalancers/two")},
		ServiceName:       "com.causeway.vpce.us-east-1." + service.GetUid(),
		AvailabilityZones: []string{"us-east-1a", "us-east-1b"},
		Etag:              service.GetEtag(), CreateTime: service.GetCreateTime(), UpdateTime: service.GetUpdateTime(),
	}
	if !proto.Equal(service, want) {
		t.Errorf("created %v, want %v", service, want)
	}
	got, err := s.svc.GetEndpointService(s.ctx, &pb.GetEndpointServiceRequest{Name: service.GetUid()})
	must(t, err)
	if !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestCreateEndpointServiceRules(t *testing.T) {
	s := newShop(t)
	for id, subnet := range map[string]string{"taken": "vpcs/partner/subnets/a", "near": "vpcs/partner/subnets/a", "far": "vpcs/far/subnets/a"} {
		_, err := s.loadBalancer(id, subnet)
		must(t, err)
	}
	near, err := s.lbs.GetLoadBalancer(s.ctx, &pb.GetLoadBalancerRequest{Name: "loadBalancers/near"})
	must(t, err)
	_, err = s.service("first", "loadBalancers/taken")
	must(t, err)
	tests := []struct {
		name    string
		service *pb.EndpointService
		code    codes.Code
		reason  string
		texts   []string
	}{
		{"bad taken", &pb.EndpointService{LoadBalancers: []string{"loadBalancers/taken"}},
			codes.FailedPrecondition, "LOAD_BALANCER_IN_USE", []string{"loadBalancers/taken", "endpointServices/first"}},
		{"bad two regions", &pb.EndpointService{LoadBalancers: []string{"loadBalancers/near", "loadBalancers/far"}},
			codes.InvalidArgument, "INVALID_FIELD", []string{"endpoint_service.load_balancers[1]", "eu-west-1", "us-east-1"}},
		{"bad repeated", &pb.EndpointService{LoadBalancers: []string{"loadBalancers/near", near.GetUid()}},
			codes.InvalidArgument, "INVALID_FIELD", []string{"endpoint_service.load_balancers[1]", "repeats"}},
		{"bad none", &pb.EndpointService{}, codes.InvalidArgument, "INVALID_FIELD", []string{"endpoint_service.load_balancers"}},
		{"bad absent", &pb.EndpointService{LoadBalancers: []string{"loadBalancers/none"}}, codes.NotFound, "LOAD_BALANCER_NOT_FOUND", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := s.svc.CreateEndpointService(s.ctx, &pb.CreateEndpointServiceRequest{EndpointServiceId: "x", EndpointService: tt.service})
			wantError(t, err, tt.code, tt.reason, tt.texts...)
		})
	}
}

func TestDeleteEndpointServiceNamesItsEndpoints(t *testing.T) {
	s := newShop(t)
	s.offer("a")
	for n := range 12 {
		_, err := s.endpoint(fmt.Sprintf("e%02d", n), "a")
		must(t, err)
	}
	remove := &pb.DeleteEndpointServiceRequest{Name: "endpointServices/orders"}
	_, err := s.svc.DeleteEndpointService(s.ctx, remove)
	wantError(t, err, codes.FailedPrecondition, "EXISTING_VPC_ENDPOINT_CONNECTIONS", "vpcs/prod/endpoints/e00", "vpcs/prod/endpoints/e09", "and 2 more")
	for n := range 12 {
		_, err := s.eps.DeleteEndpoint(s.ctx, &pb.DeleteEndpointRequest{Name: fmt.Sprintf("vpcs/prod/endpoints/e%02d", n)})
		must(t, err)
	}
	_, err = s.svc.DeleteEndpointService(s.ctx, remove)
	must(t, err)
	_, err = s.endpoint("late", "a")
	wantError(t, err, codes.FailedPrecondition, "BEING_DELETED", "endpointServices/orders")
}

func TestZonesInUseStay(t *testing.T) {
	s := newShop(t)
	for _, zone := range []string{"a", "b"} {
		_, err := s.loadBalancer(zone, "vpcs/partner/subnets/"+zone)
		must(t, err)
	}
	_, err := s.loadBalancer("spare", "vpcs/partner/subnets/b")
	must(t, err)
	_, err = s.loadBalancer("far", "vpcs/far/subnets/a")
	must(t, err)
	_, err = s.service("orders", "loadBalancers/a", "loadBalancers/b")
	must(t, err)
	_, err = s.endpoint("e", "b")
	must(t, err)
	change := func(lbs ...string) (*pb.EndpointService, error) {
		return s.svc.UpdateEndpointService(s.ctx, &pb.UpdateEndpointServiceRequest{EndpointService: &pb.EndpointService{
			Name: "endpointServices/orders", LoadBalancers: lbs,
		}})
	}
	_, err = change("loadBalancers/a")
	wantError(t, err, codes.FailedPrecondition, "ZONE_IN_USE", "us-east-1b", "vpcs/prod/endpoints/e")
	_, err = change("loadBalancers/far")
	wantField(t, err, "endpoint_service.load_balancers")
	service, err := change("loadBalancers/a", "loadBalancers/spare")
	must(t, err)
	if fmt.Sprint(service.GetAvailabilityZones()) != "[us-east-1a us-east-1b]" {
		t.Errorf("zones %v", service.GetAvailabilityZones())
	}
	if service, err = change("loadBalancers/spare"); err != nil || fmt.Sprint(service.GetAvailabilityZones()) != "[us-east-1b]" {
		t.Errorf("zones %v after giving up one that is not used: %v", service.GetAvailabilityZones(), err)
	}
	if _, err = s.service("second", "loadBalancers/a"); err != nil {
		t.Errorf("load balancer given up cannot be offered again: %v", err)
	}
}
