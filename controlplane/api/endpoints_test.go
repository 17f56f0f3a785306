package api

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"causeway/controlplane/resource"
	"causeway/gateway/policy"
	pb "causeway/proto/causeway/v1"
)

func TestEndpointHasAnInterfaceInEachSubnet(t *testing.T) {
	s := newShop(t)
	service := s.offer("a", "b")
	for n, spelled := range []string{service.GetServiceName(), "endpointServices/orders", service.GetUid()} {
		id := fmt.Sprintf("e%d", n)
		endpoint, err := s.create("vpcs/prod", id, &pb.Endpoint{
			ServiceName: spelled, Subnets: []string{"vpcs/prod/subnets/b", s.full("vpcs/prod/subnets/a")},
		})
		must(t, err)
		enis := endpoint.GetNetworkInterfaces()
		want := &pb.Endpoint{
			Name: s.full("vpcs/prod/endpoints/" + id), Uid: endpoint.GetUid(), ServiceName: service.GetServiceName(),
			ServiceUid: service.GetUid(), AcceptTime: endpoint.GetCreateTime(),
			Subnets:   []string{s.full("vpcs/prod/subnets/b"), s.full("vpcs/prod/subnets/a")},
			Bandwidth: &pb.Bandwidth{BaselineMbps: 10_000, MaximumMbps: 40_000},
			NetworkInterfaces: []*pb.NetworkInterface{
				{Uid: enis[0].GetUid(), Subnet: s.full("vpcs/prod/subnets/b"), AvailabilityZone: "us-east-1b", IpAddress: fmt.Sprintf("10.0.2.%d", 4+n)},
				{Uid: enis[1].GetUid(), Subnet: s.full("vpcs/prod/subnets/a"), AvailabilityZone: "us-east-1a", IpAddress: fmt.Sprintf("10.0.1.%d", 4+n)},
			},
			Policy:            policy.Default,
			PrivateDnsEnabled: new(false), DnsEntries: endpoint.GetDnsEntries(), // see TestEndpointNames
			State: pb.Endpoint_PENDING, Etag: endpoint.GetEtag(), CreateTime: endpoint.GetCreateTime(), UpdateTime: endpoint.GetUpdateTime(),
		}
		if !proto.Equal(endpoint, want) {
			t.Errorf("created %v, want %v", endpoint, want)
		}
		if !resource.IsUID(enis[0].GetUid()) || !strings.HasPrefix(enis[0].GetUid(), "eni-") || enis[0].GetUid() == enis[1].GetUid() {
			t.Errorf("interface uids %q and %q", enis[0].GetUid(), enis[1].GetUid())
		}
	}
}

func TestCreateEndpointRules(t *testing.T) {
	s := newShop(t)
	service := s.offer("a")
	_, err := s.loadBalancer("far", "vpcs/far/subnets/a")
	must(t, err)
	_, err = s.service("far", "loadBalancers/far")
	must(t, err)
	b, err := s.vpcs().GetSubnet(s.ctx, &pb.GetSubnetRequest{Name: "vpcs/prod/subnets/b"})
	must(t, err)
	other := strings.Replace(service.GetServiceName(), "us-east-1", "eu-west-1", 1)
	tests := []struct {
		name, service string
		subnets       []string
		code          codes.Code
		reason        string
		texts         []string
	}{
		{"bad two in one zone", "endpointServices/orders", []string{"vpcs/prod/subnets/a", "vpcs/prod/subnets/a2"},
			codes.InvalidArgument, "INVALID_FIELD", []string{"endpoint.subnets[1]", "subnets/a\"", "subnets/a2\"", "us-east-1a"}},
		{"bad zone of the service", "endpointServices/orders", []string{"vpcs/prod/subnets/b"}, codes.InvalidArgument, "INVALID_FIELD",
			[]string{"endpoint.subnets[0]", "The VPC endpoint service " + service.GetServiceName() + " does not support the availability zone of the subnet: " + b.GetUid()}},
		{"bad subnet of another VPC", "endpointServices/orders", []string{"vpcs/partner/subnets/a"},
			codes.InvalidArgument, "INVALID_FIELD", []string{"endpoint.subnets[0]", "vpcs/partner/subnets/a", "vpcs/prod"}},
		{"bad region", "endpointServices/far", []string{"vpcs/prod/subnets/a"},
			codes.InvalidArgument, "INVALID_FIELD", []string{"endpoint.service_name", "eu-west-1", "us-east-1"}},
		{"bad service absent", "endpointServices/none", []string{"vpcs/prod/subnets/a"}, codes.NotFound, "ENDPOINT_SERVICE_NOT_FOUND", []string{"endpointServices/none"}},
		{"bad public name", "com.causeway.vpce.us-east-1.vpce-svc-00000000000000000", []string{"vpcs/prod/subnets/a"}, codes.NotFound, "ENDPOINT_SERVICE_NOT_FOUND", nil},
		{"bad public name without uid", "com.causeway.vpce.x", []string{"vpcs/prod/subnets/a"}, codes.NotFound, "ENDPOINT_SERVICE_NOT_FOUND", nil},
		{"bad region in public name", other, []string{"vpcs/prod/subnets/a"}, codes.NotFound, "ENDPOINT_SERVICE_NOT_FOUND", nil},
		{"bad uid of another kind", "com.causeway.vpce.us-east-1." + b.GetUid(), []string{"vpcs/prod/subnets/a"}, codes.NotFound, "ENDPOINT_SERVICE_NOT_FOUND", nil},
		{"bad no service", "", []string{"vpcs/prod/subnets/a"}, codes.InvalidArgument, "INVALID_FIELD", []string{"endpoint.service_name"}},
		{"bad no subnet", "endpointServices/orders", nil, codes.InvalidArgument, "INVALID_FIELD", []string{"endpoint.subnets"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := s.create("vpcs/prod", "x", &pb.Endpoint{ServiceName: tt.service, Subnets: tt.subnets})
			wantError(t, err, tt.code, tt.reason, tt.texts...)
		})
	}
}

func TestServicesOfOtherAccountsDoNotExist(t *testing.T) {
	s := newShop(t)
	service := s.offer("a")
	vpc := s.vpc(s.b, "prod", "10.0.0.0/16")
	subnet := s.subnet(vpc, "a", "10.0.1.0/24")
	for _, spelled := range []string{service.GetServiceName(), service.GetName(), service.GetUid()} {
		for _, ctx := range []string{s.b, OperatorAccount} {
			caller := s.as(s.b)
			if ctx == OperatorAccount {
				caller = s.operator()
			}
			_, err := pb.NewEndpointsClient(s.conn).CreateEndpoint(caller, &pb.CreateEndpointRequest{
				Parent: vpc.GetName(), EndpointId: "e", Endpoint: &pb.Endpoint{ServiceName: spelled, Subnets: []string{subnet.GetName()}},
			})
			wantError(t, err, codes.NotFound, "ENDPOINT_SERVICE_NOT_FOUND")
			if got, want := status.Convert(err).Message(), fmt.Sprintf("endpoint service %q not found", spelled); got != want {
				t.Errorf("message %q, want %q", got, want)
			}
		}
	}
}

func TestDesignatedAddresses(t *testing.T) {
	s := newShop(t)
	s.offer("a", "b")
	make := func(id string, configs ...*pb.SubnetConfiguration) (*pb.Endpoint, error) {
		return s.create("vpcs/prod", id, &pb.Endpoint{
			ServiceName: "endpointServices/orders", Subnets: []string{"vpcs/prod/subnets/a", "vpcs/prod/subnets/b"}, SubnetConfigurations: configs,
		})
	}
	first, err := make("first", &pb.SubnetConfiguration{Subnet: "vpcs/prod/subnets/b", IpAddress: "10.0.2.77"})
	must(t, err)
	if a, b := first.GetNetworkInterfaces()[0].GetIpAddress(), first.GetNetworkInterfaces()[1].GetIpAddress(); a != "10.0.1.4" || b != "10.0.2.77" {
		t.Errorf("addresses %s and %s, want 10.0.1.4 and 10.0.2.77", a, b)
	}
	if len(first.GetSubnetConfigurations()) > 0 {
		t.Errorf("input-only configurations are shown: %v", first.GetSubnetConfigurations())
	}
	tests := []struct {
		name, subnet, address string
		code                  codes.Code
		reason, text          string
	}{
		{"bad in use", "b", "10.0.2.77", codes.AlreadyExists, "ADDRESS_IN_USE", "10.0.2.77"},
		{"bad reserved", "b", "10.0.2.2", codes.InvalidArgument, "INVALID_FIELD", "reserved"},
		{"bad broadcast", "b", "10.0.2.255", codes.InvalidArgument, "INVALID_FIELD", "reserved"},
		{"bad outside", "b", "10.0.3.9", codes.InvalidArgument, "INVALID_FIELD", "outside the subnet 10.0.2.0/24"},
		{"bad spelling", "b", "010.0.2.9", codes.InvalidArgument, "INVALID_FIELD", "not an IPv4 address"},
		{"bad family", "b", "::ffff:10.0.2.9", codes.InvalidArgument, "INVALID_FIELD", "not an IPv4 address"},
		{"bad subnet", "a2", "10.0.3.9", codes.InvalidArgument, "INVALID_FIELD", "not one of the endpoint's subnets"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := make("x", &pb.SubnetConfiguration{Subnet: "vpcs/prod/subnets/" + tt.subnet, IpAddress: tt.address})
			wantError(t, err, tt.code, tt.reason, tt.text)
		})
	}
	twice := &pb.SubnetConfiguration{Subnet: "vpcs/prod/subnets/b", IpAddress: "10.0.2.9"}
	_, err = make("x", twice, twice)
	wantField(t, err, "endpoint.subnet_configurations[1].subnet")
}

func TestBandwidthBounds(t *testing.T) {
	s := newShop(t)
	s.offer("a")
	s.setQuota(s.a, quotaZoneBandwidth, 100_000)
	tests := []struct {
		name              string
		give              *pb.Bandwidth
		baseline, maximum int32
		field             string
	}{
		{"OK nothing", nil, 10_000, 40_000, ""},
		{"OK baseline", &pb.Bandwidth{BaselineMbps: 100}, 100, 40_000, ""},
		{"OK maximum", &pb.Bandwidth{MaximumMbps: 100_000}, 10_000, 100_000, ""},
		{"OK baseline above default maximum", &pb.Bandwidth{BaselineMbps: 50_000}, 50_000, 50_000, ""},
		{"OK equal", &pb.Bandwidth{BaselineMbps: 100, MaximumMbps: 100}, 100, 100, ""},
		{"bad maximum below baseline", &pb.Bandwidth{BaselineMbps: 200, MaximumMbps: 100}, 0, 0, "endpoint.bandwidth.maximum_mbps"},
		{"bad maximum below default baseline", &pb.Bandwidth{MaximumMbps: 100}, 0, 0, "endpoint.bandwidth.maximum_mbps"},
		{"bad baseline", &pb.Bandwidth{BaselineMbps: 100_001, MaximumMbps: 100_000}, 0, 0, "endpoint.bandwidth.baseline_mbps"},
		{"bad negative", &pb.Bandwidth{BaselineMbps: -1}, 0, 0, "endpoint.bandwidth.baseline_mbps"},
	}
	for n, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			endpoint, err := s.create("vpcs/prod", fmt.Sprintf("e%d", n), &pb.Endpoint{
				ServiceName: "endpointServices/orders", Subnets: []string{"vpcs/prod/subnets/a"}, Bandwidth: tt.give,
			})
			if tt.field != "" {
				wantField(t, err, tt.field)
				return
			}
			must(t, err)
			if b := endpoint.GetBandwidth(); b.GetBaselineMbps() != tt.baseline || b.GetMaximumMbps() != tt.maximum {
				t.Errorf("bandwidth %v, want %d to %d", b, tt.baseline, tt.maximum)
			}
		})
	}
}

func TestSubnetsOfAnEndpointComeAndGo(t *testing.T) {
	s := newShop(t)
	s.offer("a", "b")
	first, err := s.endpoint("e", "a")
	must(t, err)
	change := func(e *pb.Endpoint, paths ...string) (*pb.Endpoint, error) {
		e.Name = first.GetName()
		return s.eps.UpdateEndpoint(s.ctx, &pb.UpdateEndpointRequest{Endpoint: e, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
	}
	both, err := change(&pb.Endpoint{
		Subnets:              []string{"vpcs/prod/subnets/b", "vpcs/prod/subnets/a"},
		SubnetConfigurations: []*pb.SubnetConfiguration{{Subnet: "vpcs/prod/subnets/b", IpAddress: "10.0.2.50"}},
	})
	must(t, err)
	if got := both.GetNetworkInterfaces(); len(got) != 2 || got[0].GetIpAddress() != "10.0.2.50" || !proto.Equal(got[1], first.GetNetworkInterfaces()[0]) {
		t.Errorf("interfaces %v, want a new one and %v", got, first.GetNetworkInterfaces()[0])
	}
	_, err = change(&pb.Endpoint{Subnets: []string{"vpcs/prod/subnets/a", "vpcs/prod/subnets/a2"}})
	wantField(t, err, "endpoint.subnets[1]")
	_, err = change(&pb.Endpoint{}, "subnets")
	wantField(t, err, "endpoint.subnets")
	rest, err := change(&pb.Endpoint{Subnets: []string{"vpcs/prod/subnets/b"}})
	must(t, err)
	if got := rest.GetNetworkInterfaces(); len(got) != 1 || !proto.Equal(got[0], both.GetNetworkInterfaces()[0]) {
		t.Errorf("interfaces %v, want %v", got, both.GetNetworkInterfaces()[0])
	}
	next, err := s.endpoint("next", "a")
	must(t, err)
	if got := next.GetNetworkInterfaces()[0].GetIpAddress(); got != "10.0.1.4" {
		t.Errorf("address given up is not free: %s", got)
	}
	if _, err := s.eps.GetEndpoint(s.ctx, &pb.GetEndpointRequest{Name: first.GetNetworkInterfaces()[0].GetUid()}); status.Code(err) != codes.NotFound {
		t.Errorf("interface given up still has its uid: %v", err)
	}
}

func TestUpdateEndpointRules(t *testing.T) {
	s := newShop(t)
	service := s.offer("a")
	_, err := s.loadBalancer("other", "vpcs/partner/subnets/a")
	must(t, err)
	_, err = s.service("other", "loadBalancers/other")
	must(t, err)
	endpoint, err := s.endpoint("e", "a")
	must(t, err)
	change := func(e *pb.Endpoint, paths ...string) (*pb.Endpoint, error) {
		e.Name = endpoint.GetName()
		return s.eps.UpdateEndpoint(s.ctx, &pb.UpdateEndpointRequest{Endpoint: e, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
	}
	for _, same := range []string{service.GetServiceName(), "endpointServices/orders", service.GetUid()} {
		got, err := change(&pb.Endpoint{ServiceName: same})
		must(t, err)
		if got.GetEtag() != endpoint.GetEtag() {
			t.Errorf("the same service spelled %q is a change", same)
		}
	}
	_, err = change(&pb.Endpoint{ServiceName: "endpointServices/other"})
	wantField(t, err, "endpoint.service_name")
	_, err = change(&pb.Endpoint{ServiceName: "endpointServices/none"})
	wantField(t, err, "endpoint.service_name")
	_, err = change(&pb.Endpoint{ServiceName: "endpointServices/none", DisplayName: new("Orders")}, "display_name")
	must(t, err)
	_, err = change(&pb.Endpoint{Bandwidth: &pb.Bandwidth{MaximumMbps: 5000}})
	wantField(t, err, "endpoint.bandwidth.maximum_mbps")
	got, err := change(&pb.Endpoint{Bandwidth: &pb.Bandwidth{BaselineMbps: 50}})
	must(t, err)
	if got.GetBandwidth().GetBaselineMbps() != 50 || got.GetBandwidth().GetMaximumMbps() != 40_000 {
		t.Errorf("bandwidth %v", got.GetBandwidth())
	}
	if got, err = change(got, "*"); err != nil || !proto.Equal(got.GetNetworkInterfaces()[0], endpoint.GetNetworkInterfaces()[0]) {
		t.Errorf("a pasted Get result changed the interface to %v (%v)", got.GetNetworkInterfaces(), err)
	}
	_, err = s.eps.UpdateEndpoint(s.ctx, &pb.UpdateEndpointRequest{Endpoint: &pb.Endpoint{Name: endpoint.GetName(), Etag: "1", DisplayName: new("x")}})
	wantError(t, err, codes.Aborted, "ETAG_MISMATCH")
	_, err = s.eps.DeleteEndpoint(s.ctx, &pb.DeleteEndpointRequest{Name: endpoint.GetUid()})
	must(t, err)
	_, err = change(&pb.Endpoint{DisplayName: new("x")})
	wantError(t, err, codes.FailedPrecondition, "BEING_DELETED")
}
