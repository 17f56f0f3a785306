package api

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

func mask(paths ...string) *fieldmaskpb.FieldMask { return &fieldmaskpb.FieldMask{Paths: paths} }

// enable sets private_dns_enabled of an endpoint in VPC prod.
func (s *shop) enable(id string, on bool) (*pb.Endpoint, error) {
	return s.eps.UpdateEndpoint(s.ctx, &pb.UpdateEndpointRequest{Endpoint: &pb.Endpoint{
		Name: "vpcs/prod/endpoints/" + id, PrivateDnsEnabled: &on}})
}

func wantPrivate(t *testing.T, e *pb.Endpoint, on bool, names ...string) {
	t.Helper()
	if got := resource.PrivateNames(e); e.PrivateDnsEnabled == nil || e.GetPrivateDnsEnabled() != on || !slices.Equal(got, names) {
		t.Errorf("private DNS %v with names %q, want %v with %q", e.PrivateDnsEnabled, got, on, names)
	}
}

func TestEndpointNames(t *testing.T) {
	s := newShop(t)
	service := s.offer("a", "b")
	s.prove("orders.example.com")
	e, err := s.endpoint("e", "b", "a")
	must(t, err)
	var got []string
	for _, d := range e.GetDnsEntries() {
		name := strings.Replace(d.GetDnsName(), e.GetUid(), "UID", 1)
		got = append(got, fmt.Sprint(d.GetKind(), " ", name[:min(len(name), 4)], name[min(len(name), 12):], " ", d.GetAvailabilityZone()))
	}
	tail := "." + service.GetUid() + ".us-east-1.vpce.causeway.internal "
	want := []string{"REGIONAL UID-" + tail, "ZONAL UID--us-east-1b" + tail + "us-east-1b", "ZONAL UID--us-east-1a" + tail + "us-east-1a", "PRIVATE orde" + "le.com "}
	if !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
	stored, err := resource.Endpoints.Get(t.Context(), sharedStore, e.GetName())
	must(t, err)
	if len(stored.Value.GetDnsEntries()) != 1 {
		t.Errorf("what follows is stored: %v", stored.Value.GetDnsEntries())
	}
}

func TestPrivateDnsIsOnWhereThereIsAName(t *testing.T) {
	s := newShop(t)
	s.offer("a")
	none, err := s.endpoint("none", "a")
	must(t, err)
	wantPrivate(t, none, false)
	_, err = s.enable("none", true)
	wantError(t, err, codes.FailedPrecondition, reasonNoPrivateName, "has no DNS name of its own")
	_, err = s.rename("orders.example.com")
	must(t, err)
	_, err = s.enable("none", true)
	wantError(t, err, codes.FailedPrecondition, reasonPrivateNameUnverified, "has not proven")
	early, err := s.endpoint("early", "a")
	must(t, err)
	wantPrivate(t, early, false)

	s.prove("orders.example.com")
	renamed, err := s.eps.UpdateEndpoint(s.ctx, &pb.UpdateEndpointRequest{Endpoint: &pb.Endpoint{Name: "vpcs/prod/endpoints/early", DisplayName: new("x")}})
	must(t, err)
	wantPrivate(t, renamed, false)
	on, err := s.enable("early", true)
	must(t, err)
	wantPrivate(t, on, true, "orders.example.com")

	// The proof lapses: what there is stays, also when it is written again, and nothing new comes.
	s.txt.set(nil, nil)
	_, err = s.verify()
	must(t, err)
	again, err := s.enable("early", true)
	must(t, err)
	wantPrivate(t, again, true, "orders.example.com")
	_, err = s.enable("none", true)
	wantError(t, err, codes.FailedPrecondition, reasonPrivateNameUnverified)

	// The provider takes another name: the old one is given up at the next occasion.
	s.prove("orders.example.org")
	kept, err := s.eps.UpdateEndpoint(s.ctx, &pb.UpdateEndpointRequest{Endpoint: &pb.Endpoint{Name: "vpcs/prod/endpoints/early", DisplayName: new("y")}})
	must(t, err)
	wantPrivate(t, kept, true, "orders.example.com")
	moved, err := s.enable("early", true)
	must(t, err)
	wantPrivate(t, moved, true, "orders.example.org")
	off, err := s.enable("early", false)
	must(t, err)
	wantPrivate(t, off, false)
}

func TestPrivateNameIsHeldOnceInAVpc(t *testing.T) {
	s := newShop(t)
	s.offer("a")
	s.prove("orders.example.com")
	first, err := s.endpoint("first", "a")
	must(t, err)
	wantPrivate(t, first, true, "orders.example.com")
	_, err = s.endpoint("second", "a")
	wantError(t, err, codes.AlreadyExists, "PRIVATE_DNS_NAME_IN_USE", "orders.example.com", "vpcs/prod/endpoints/first", "private_dns_enabled to false")
	second, err := s.create("vpcs/prod", "second", &pb.Endpoint{
		ServiceName: "endpointServices/orders", Subnets: []string{"vpcs/prod/subnets/a"}, PrivateDnsEnabled: new(false)})
	must(t, err)
	wantPrivate(t, second, false)
	_, err = s.enable("second", true)
	wantError(t, err, codes.AlreadyExists, "PRIVATE_DNS_NAME_IN_USE", "vpcs/prod/endpoints/first")

	// Another VPC has names of its own.
	other, err := s.create("vpcs/partner", "other", &pb.Endpoint{ServiceName: "endpointServices/orders", Subnets: []string{"vpcs/partner/subnets/a"}})
	must(t, err)
	wantPrivate(t, other, true, "orders.example.com")

	// Turned off, or deleted, it is free at once.
	_, err = s.enable("first", false)
	must(t, err)
	_, err = s.enable("second", true)
	must(t, err)
	_, err = s.eps.DeleteEndpoint(s.ctx, &pb.DeleteEndpointRequest{Name: "vpcs/prod/endpoints/second"})
	must(t, err)
	_, err = s.enable("first", true)
	must(t, err)
	must(t, resource.Endpoints.Purge(t.Context(), sharedStore, second.GetName()))
	claim := resource.PrivateNameClaim(s.full("vpcs/prod"), "orders.example.com")
	if held, err := sharedStore.ClaimOwner(t.Context(), claim.Kind, claim.Key); err != nil || held.Owner != first.GetName() {
		t.Errorf("the name is held by %v, %v", held, err)
	}
}

// TestPrivateNameRace has many endpoints want the name of one service in a VPC at once.
func TestPrivateNameRace(t *testing.T) {
	s := newShop(t)
	s.offer("a")
	s.prove("orders.example.com")
	counts := atOnce(8, func(n int) error {
		_, err := s.create("vpcs/prod", id(n), &pb.Endpoint{ServiceName: "endpointServices/orders", Subnets: []string{"vpcs/prod/subnets/a"}})
		return err
	})
	wantCounts(t, counts, map[codes.Code]int{codes.OK: 1, codes.AlreadyExists: 7})
}

func TestPlatformNamesNeedNoProof(t *testing.T) {
	z := newBazaar(t)
	_, err := z.loadBalancer("kinesis", "vpcs/partner/subnets/a")
	must(t, err)
	names := []string{"kinesis.us-east-1.amazonaws.com", "*.data-kinesis.us-east-1.amazonaws.com"}
	platform := "com.amazonaws.us-east-1." + z.a + ".kinesis"
	_, err = z.offered(z.operator(), "kinesis", &pb.EndpointService{LoadBalancers: []string{z.full("loadBalancers/kinesis")},
		Offering: pb.EndpointService_PLATFORM, PlatformServiceName: platform, PublicDnsNames: names})
	must(t, err)
	e, err := z.create("vpcs/prod", "kinesis", &pb.Endpoint{ServiceName: platform, Subnets: []string{"vpcs/prod/subnets/a"}})
	must(t, err)
	wantPrivate(t, e, true, names...)
	if regional := e.GetDnsEntries()[0].GetDnsName(); !strings.HasSuffix(regional, ".kinesis.us-east-1.vpce.causeway.internal") {
		t.Errorf("Regional name %s", regional)
	}
	_, err = z.offered(z.operator(), "x", &pb.EndpointService{LoadBalancers: []string{z.full("loadBalancers/kinesis")},
		Offering: pb.EndpointService_PLATFORM, PlatformServiceName: platform + "2", PrivateDnsName: "kinesis.example.com"})
	wantField(t, err, "endpoint_service.private_dns_name")
}

func TestPeeringNamesAreEachOwnersChoice(t *testing.T) {
	l := newLab(t)
	a, b := l.vpc(l.a, "a", "10.1.0.0/16"), l.vpc(l.b, "b", "10.2.0.0/16")
	create := func(p *pb.Peering) (*pb.Peering, error) {
		p.Vpc, p.PeerVpc = a.GetName(), b.GetName()
		return l.peerings().CreatePeering(l.as(l.a), &pb.CreatePeeringRequest{PeeringId: "ab", Peering: p})
	}
	_, err := create(&pb.Peering{PeerDnsResolution: pb.Peering_ALLOWED})
	wantError(t, err, codes.PermissionDenied, "PERMISSION_DENIED")
	p, err := create(&pb.Peering{})
	must(t, err)
	if p.GetDnsResolution() != pb.Peering_DENIED || p.GetPeerDnsResolution() != pb.Peering_DENIED {
		t.Errorf("without a word names are answered across: %v", p)
	}
	_, err = l.peerings().AcceptPeering(l.as(l.b), &pb.AcceptPeeringRequest{Name: p.GetName()})
	must(t, err)
	change := func(account string, p *pb.Peering) error {
		p.Name = "accounts/" + l.a + "/peerings/ab"
		_, err := l.peerings().UpdatePeering(l.as(account), &pb.UpdatePeeringRequest{Peering: p})
		return err
	}
	for _, foreign := range []error{
		change(l.a, &pb.Peering{PeerDnsResolution: pb.Peering_ALLOWED}), change(l.b, &pb.Peering{DnsResolution: pb.Peering_ALLOWED}),
	} {
		wantError(t, foreign, codes.PermissionDenied, "PERMISSION_DENIED")
	}
	must(t, change(l.a, &pb.Peering{DnsResolution: pb.Peering_ALLOWED}))
	must(t, change(l.b, &pb.Peering{PeerDnsResolution: pb.Peering_ALLOWED}))
	must(t, change(l.b, &pb.Peering{PeerDnsResolution: pb.Peering_DENIED}))
}
