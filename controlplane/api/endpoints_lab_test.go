package api

import (
	"context"
	"testing"

	pb "causeway/proto/causeway/v1"
)

// shop is a lab with what a provider and a consumer of one account have: VPC partner (10.1.0.0/16)
// and VPC prod (10.0.0.0/16), each with subnets a and a2 in us-east-1a and b in us-east-1b, and VPC
// far in eu-west-1 with subnet a.
type shop struct {
	*lab
	ctx context.Context
	lbs pb.LoadBalancersClient
	svc pb.EndpointServicesClient
	eps pb.EndpointsClient
}

func newShop(t *testing.T) *shop {
	t.Helper()
	l := newLab(t)
	s := &shop{
		lab: l, ctx: l.as(l.a),
		lbs: pb.NewLoadBalancersClient(l.conn), svc: pb.NewEndpointServicesClient(l.conn), eps: pb.NewEndpointsClient(l.conn),
	}
	for vpc, net := range map[string]string{"partner": "10.1.", "prod": "10.0."} {
		l.vpc(l.a, vpc, net+"0.0/16")
		s.subnetIn("vpcs/"+vpc, "a", "us-east-1a", net+"1.0/24")
		s.subnetIn("vpcs/"+vpc, "b", "us-east-1b", net+"2.0/24")
		s.subnetIn("vpcs/"+vpc, "a2", "us-east-1a", net+"3.0/28")
	}
	_, err := l.vpcs().CreateVpc(s.ctx, &pb.CreateVpcRequest{VpcId: "far", Vpc: &pb.Vpc{Region: "eu-west-1", CidrBlock: "10.9.0.0/16"}})
	must(t, err)
	s.subnetIn("vpcs/far", "a", "eu-west-1a", "10.9.1.0/24")
	return s
}

func (s *shop) subnetIn(vpc, id, zone, cidr string) *pb.Subnet {
	s.t.Helper()
	subnet, err := s.vpcs().CreateSubnet(s.ctx, &pb.CreateSubnetRequest{
		Parent: vpc, SubnetId: id, Subnet: &pb.Subnet{AvailabilityZone: zone, CidrBlock: cidr},
	})
	must(s.t, err)
	return subnet
}

// full gives a name with the shop's account.
func (s *shop) full(name string) string { return "accounts/" + s.a + "/" + name }

func (s *shop) loadBalancer(id string, subnets ...string) (*pb.LoadBalancer, error) {
	return s.lbs.CreateLoadBalancer(s.ctx, &pb.CreateLoadBalancerRequest{
		LoadBalancerId: id, LoadBalancer: &pb.LoadBalancer{Subnets: subnets},
	})
}

func (s *shop) targetGroup(id, vpc string) *pb.TargetGroup {
	s.t.Helper()
	group, err := s.lbs.CreateTargetGroup(s.ctx, &pb.CreateTargetGroupRequest{
		TargetGroupId: id, TargetGroup: &pb.TargetGroup{Vpc: vpc, Port: 8080},
	})
	must(s.t, err)
	return group
}

func (s *shop) listener(lb string, port int32, group string) (*pb.Listener, error) {
	return s.lbs.CreateListener(s.ctx, &pb.CreateListenerRequest{
		Parent: lb, Listener: &pb.Listener{Port: port, Protocol: pb.Listener_TCP, TargetGroup: group},
	})
}

func (s *shop) service(id string, lbs ...string) (*pb.EndpointService, error) {
	return s.svc.CreateEndpointService(s.ctx, &pb.CreateEndpointServiceRequest{
		EndpointServiceId: id, EndpointService: &pb.EndpointService{LoadBalancers: lbs},
	})
}

// offer makes service orders behind load balancer orders in the given subnets of VPC partner.
func (s *shop) offer(subnets ...string) *pb.EndpointService {
	s.t.Helper()
	for n := range subnets {
		subnets[n] = "vpcs/partner/subnets/" + subnets[n]
	}
	_, err := s.loadBalancer("orders", subnets...)
	must(s.t, err)
	service, err := s.service("orders", "loadBalancers/orders")
	must(s.t, err)
	return service
}

func (s *shop) create(vpc, id string, endpoint *pb.Endpoint) (*pb.Endpoint, error) {
	return s.eps.CreateEndpoint(s.ctx, &pb.CreateEndpointRequest{Parent: vpc, EndpointId: id, Endpoint: endpoint})
}

// endpoint makes an endpoint of service orders in subnets of VPC prod.
func (s *shop) endpoint(id string, subnets ...string) (*pb.Endpoint, error) {
	for n := range subnets {
		subnets[n] = "vpcs/prod/subnets/" + subnets[n]
	}
	return s.create("vpcs/prod", id, &pb.Endpoint{ServiceName: "endpointServices/orders", Subnets: subnets})
}
