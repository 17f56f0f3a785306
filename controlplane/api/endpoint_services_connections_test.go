package api

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

// bazaar is a shop whose service orders, in zone us-east-1a, account b may be let use: it has VPC
// buyer with subnets a and b.
type bazaar struct {
	*shop
	service *pb.EndpointService
	buyer   context.Context
}

func newBazaar(t *testing.T) *bazaar {
	t.Helper()
	s := newShop(t)
	z := &bazaar{shop: s, service: s.offer("a"), buyer: s.as(s.b)}
	vpc := s.vpc(s.b, "buyer", "10.0.0.0/16")
	for zone, cidr := range map[string]string{"a": "10.0.1.0/24", "b": "10.0.2.0/24"} {
		_, err := s.vpcs().CreateSubnet(z.buyer, &pb.CreateSubnetRequest{Parent: vpc.GetName(), SubnetId: zone,
			Subnet: &pb.Subnet{AvailabilityZone: "us-east-1" + zone, CidrBlock: cidr}})
		must(t, err)
	}
	return z
}

// admit makes account b a principal.
func (z *bazaar) admit() {
	z.t.Helper()
	_, err := z.svc.AddPrincipals(z.ctx, &pb.AddPrincipalsRequest{Name: "endpointServices/orders", Principals: []string{"accounts/" + z.b}})
	must(z.t, err)
}

// require makes acceptance required from now on, or not.
func (z *bazaar) require(required bool) {
	z.t.Helper()
	_, err := z.svc.UpdateEndpointService(z.ctx, &pb.UpdateEndpointServiceRequest{EndpointService: &pb.EndpointService{
		Name: "endpointServices/orders", AcceptanceRequired: &required}})
	must(z.t, err)
}

// buy makes an endpoint of account b.
func (z *bazaar) buy(id string) (*pb.Endpoint, error) {
	return z.eps.CreateEndpoint(z.buyer, &pb.CreateEndpointRequest{Parent: "vpcs/buyer", EndpointId: id, Endpoint: &pb.Endpoint{
		ServiceName: z.service.GetServiceName(), Subnets: []string{"vpcs/buyer/subnets/a"}}})
}

// bought makes one that must succeed.
func (z *bazaar) bought(id string) *pb.Endpoint {
	z.t.Helper()
	e, err := z.buy(id)
	must(z.t, err)
	return e
}

func (z *bazaar) get(id string) *pb.Endpoint {
	z.t.Helper()
	e, err := z.eps.GetEndpoint(z.buyer, &pb.GetEndpointRequest{Name: "vpcs/buyer/endpoints/" + id})
	must(z.t, err)
	return e
}

func (z *bazaar) drop(id string) error {
	_, err := z.eps.DeleteEndpoint(z.buyer, &pb.DeleteEndpointRequest{Name: "vpcs/buyer/endpoints/" + id})
	return err
}

func (z *bazaar) accept(uids ...string) error {
	_, err := z.svc.AcceptConnections(z.ctx, &pb.AcceptConnectionsRequest{Name: "endpointServices/orders", Endpoints: uids})
	return err
}

func (z *bazaar) reject(r *pb.Revocation, uids ...string) error {
	_, err := z.svc.RejectConnections(z.ctx, &pb.RejectConnectionsRequest{Name: "endpointServices/orders", Endpoints: uids, Revocation: r})
	return err
}

func (z *bazaar) remove(force bool, r *pb.Revocation) error {
	_, err := z.svc.DeleteEndpointService(z.ctx, &pb.DeleteEndpointServiceRequest{Name: "endpointServices/orders", Force: force, Revocation: r})
	return err
}

func revoke(mode pb.Revocation_Mode, drain time.Duration) *pb.Revocation {
	r := &pb.Revocation{Mode: mode}
	if drain > 0 {
		r.DrainDuration = durationpb.New(drain)
	}
	return r
}

// TestConnectionStates takes endpoints through what provider and consumer can do in each state.
func TestConnectionStates(t *testing.T) {
	z := newBazaar(t)
	z.admit()
	z.require(true)
	const (
		waiting, pending  = pb.Endpoint_PENDING_ACCEPTANCE, pb.Endpoint_PENDING
		rejected, expired = pb.Endpoint_REJECTED, pb.Endpoint_EXPIRED
		deleting          = pb.Endpoint_DELETING
	)
	type step struct {
		do     string
		state  pb.Endpoint_State
		reason string // of the step's error
	}
	tests := []struct {
		name  string
		steps []step
	}{
		{"accepted", []step{{"accept", pending, ""}, {"accept", pending, ""}, {"modify", pending, ""}, {"wait", pending, ""}}},
		{"modified while waiting", []step{{"modify", waiting, ""}, {"accept", pending, ""}}},
		{"rejected", []step{{"reject", rejected, ""}, {"reject", rejected, ""}, {"modify", rejected, ""}, {"wait", rejected, ""}}},
		{"rejected after it was accepted", []step{{"accept", pending, ""}, {"reject", rejected, ""}}},
		{"accepted after it was rejected", []step{{"reject", rejected, ""}, {"accept", pending, ""}}},
		{"not answered", []step{{"wait", expired, ""}, {"accept", expired, "NOT_PENDING"}, {"reject", expired, "NOT_PENDING"}, {"delete", deleting, ""}}},
		{"deleted while waiting", []step{{"delete", deleting, ""}, {"accept", deleting, "NOT_PENDING"}, {"reject", deleting, "NOT_PENDING"}, {"modify", deleting, "BEING_DELETED"}}},
	}
	for n, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id := fmt.Sprintf("e%d", n)
			e := z.bought(id)
			if e.GetState() != waiting || e.GetAcceptTime() != nil || e.GetExpireTime().AsTime().Sub(e.GetCreateTime().AsTime()) != 7*24*time.Hour {
				t.Fatalf("created %v", e)
			}
			for _, step := range tt.steps {
				var err error
				switch step.do {
				case "accept":
					err = z.accept(e.GetUid())
				case "reject":
					err = z.reject(nil, e.GetUid())
				case "modify":
					_, err = z.eps.UpdateEndpoint(z.buyer, &pb.UpdateEndpointRequest{Endpoint: &pb.Endpoint{
						Name: e.GetName(), DisplayName: new(fmt.Sprint(time.Now().UnixNano()))}})
				case "delete":
					err = z.drop(id)
				case "wait":
					z.advance(7 * 24 * time.Hour)
				}
				if step.reason != "" {
					wantError(t, err, codes.FailedPrecondition, step.reason)
				} else {
					must(t, err)
				}
				if got := z.get(id); got.GetState() != step.state || (got.GetStateMessage() != "") != (step.state == rejected || step.state == expired) {
					t.Fatalf("after %s the endpoint is %v %q, want %v", step.do, got.GetState(), got.GetStateMessage(), step.state)
				}
			}
		})
	}
}

func TestAcceptanceOffConcernsLaterEndpoints(t *testing.T) {
	z := newBazaar(t)
	z.admit()
	z.require(true)
	z.bought("first")
	z.require(false)
	if got := z.get("first").GetState(); got != pb.Endpoint_PENDING_ACCEPTANCE {
		t.Errorf("what waits is %v after acceptance is no longer required", got)
	}
	second := z.bought("second")
	if second.GetState() != pb.Endpoint_PENDING || second.GetAcceptTime() == nil || second.GetExpireTime() != nil {
		t.Errorf("created %v", second)
	}
}

func TestRevocationModes(t *testing.T) {
	z := newBazaar(t)
	z.admit()
	minute, hour := revoke(pb.Revocation_DRAIN, time.Minute), revoke(pb.Revocation_DRAIN, time.Hour)
	keep, cut := revoke(pb.Revocation_KEEP, 0), revoke(pb.Revocation_CUT, 0)
	const never = -1
	tests := []struct {
		name  string
		modes []*pb.Revocation
		ends  time.Duration // after the last rejection
	}{
		{"nothing said", []*pb.Revocation{nil}, never},
		{"keep", []*pb.Revocation{keep}, never},
		{"drain", []*pb.Revocation{minute}, time.Minute},
		{"cut", []*pb.Revocation{cut}, 0},
		{"sooner", []*pb.Revocation{keep, hour, minute}, time.Minute},
		{"never later", []*pb.Revocation{minute, hour, keep}, time.Minute},
		{"cut while draining", []*pb.Revocation{hour, cut}, 0},
	}
	for n, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := z.bought(fmt.Sprintf("e%d", n))
			for _, r := range tt.modes {
				must(t, z.reject(r, e.GetUid()))
			}
			got := z.get(fmt.Sprintf("e%d", n))
			end := got.GetDisconnectTime()
			if got.GetState() != pb.Endpoint_REJECTED || (end == nil) != (tt.ends == never) {
				t.Fatalf("rejected to %v", got)
			}
			if end != nil && time.Until(end.AsTime()).Abs() > tt.ends+30*time.Second {
				t.Errorf("ends at %v, want %v from now", end.AsTime(), tt.ends)
			}
			must(t, z.accept(e.GetUid()))
			if got = z.get(fmt.Sprintf("e%d", n)); got.GetDisconnectTime() != nil {
				t.Errorf("accepted again, and still to be disconnected: %v", got)
			}
		})
	}
	e := z.bought("x")
	for name, bad := range map[string]*pb.Revocation{
		"drain without duration": revoke(pb.Revocation_DRAIN, 0), "cut with duration": revoke(pb.Revocation_CUT, time.Minute),
		"duration alone": {DrainDuration: durationpb.New(time.Minute)}, "too long": revoke(pb.Revocation_DRAIN, 8*24*time.Hour),
	} {
		err := z.reject(bad, e.GetUid())
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
			continue
		}
		wantField(t, err, "revocation.drain_duration")
	}
	if got := z.get("x"); got.GetState() != pb.Endpoint_PENDING {
		t.Errorf("a bad rejection made the endpoint %v", got.GetState())
	}
}

func TestConnectionsShowNoNamesOfTheConsumer(t *testing.T) {
	z := newBazaar(t)
	z.admit()
	z.require(true)
	var uids []string
	for n := range 5 {
		uids = append(uids, z.bought(fmt.Sprintf("e%d", n)).GetUid())
	}
	own, err := z.endpoint("own", "a")
	must(t, err)
	seen := map[string]string{}
	req := &pb.ListConnectionsRequest{Name: "endpointServices/orders", PageSize: 4}
	for {
		page, err := z.svc.ListConnections(z.ctx, req)
		must(t, err)
		for _, c := range page.GetConnections() {
			seen[c.GetEndpoint()] = c.GetAccount()
			if c.GetState() != pb.Endpoint_PENDING_ACCEPTANCE || c.GetExpireTime() == nil || fmt.Sprint(c.GetAvailabilityZones()) != "[us-east-1a]" || containsAny(c.String(), "buyer") {
				t.Errorf("connection %v", c)
			}
		}
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
			break
		}
	}
	for _, uid := range uids {
		if seen[uid] != "accounts/"+z.b {
			t.Errorf("%s is shown as of %q", uid, seen[uid])
		}
	}
	if len(seen) != 6 || seen[own.GetUid()] != "accounts/"+z.a {
		t.Errorf("connections %v", seen)
	}
	_, err = z.svc.ListConnections(z.buyer, &pb.ListConnectionsRequest{Name: z.service.GetName()})
	wantError(t, err, codes.NotFound, "ENDPOINT_SERVICE_NOT_FOUND")
	_, err = z.svc.ListConnections(z.ctx, &pb.ListConnectionsRequest{Name: "endpointServices/orders", PageToken: "x"})
	wantField(t, err, "page_token")
}

func TestDecisionsAreWholeOrNothing(t *testing.T) {
	z := newBazaar(t)
	z.admit()
	z.require(true)
	a, b := z.bought("a"), z.bought("b")
	_, err := z.loadBalancer("other", "vpcs/partner/subnets/a")
	must(t, err)
	_, err = z.shop.service("other", "loadBalancers/other")
	must(t, err)
	wantError(t, z.accept(a.GetUid(), "vpce-00000000000000000"), codes.NotFound, "ENDPOINT_NOT_FOUND")
	wantField(t, z.accept(a.GetUid(), b.GetName()), "endpoints[1]")
	_, err = z.svc.AcceptConnections(z.ctx, &pb.AcceptConnectionsRequest{Name: "endpointServices/other", Endpoints: []string{a.GetUid()}})
	wantError(t, err, codes.NotFound, "ENDPOINT_NOT_FOUND")
	_, err = z.svc.AcceptConnections(z.buyer, &pb.AcceptConnectionsRequest{Name: z.service.GetUid(), Endpoints: []string{a.GetUid()}})
	wantError(t, err, codes.NotFound, "ENDPOINT_SERVICE_NOT_FOUND")
	if got := z.get("a").GetState(); got != pb.Endpoint_PENDING_ACCEPTANCE {
		t.Errorf("a failed acceptance made the endpoint %v", got)
	}
	must(t, z.accept(a.GetUid(), b.GetUid()))
	if z.get("a").GetState() != pb.Endpoint_PENDING || z.get("b").GetState() != pb.Endpoint_PENDING {
		t.Error("not both are accepted")
	}
}

func TestDeletionNamesBlockersOfOtherAccountsByUid(t *testing.T) {
	z := newBazaar(t)
	z.admit()
	z.require(true)
	waiting := z.bought("waiting")
	own, err := z.endpoint("own", "a")
	must(t, err)
	must(t, z.accept(own.GetUid()))
	err = z.remove(false, nil)
	wantError(t, err, codes.FailedPrecondition, "EXISTING_VPC_ENDPOINT_CONNECTIONS", waiting.GetUid(), "vpcs/prod/endpoints/own")
	if containsAny(err.Error(), "buyer", z.b+"/") {
		t.Errorf("tells the consumer's names: %v", err)
	}
	wantField(t, z.remove(false, revoke(pb.Revocation_CUT, 0)), "revocation")
	must(t, z.reject(nil, waiting.GetUid(), own.GetUid()))
	must(t, z.remove(false, nil))
	must(t, resource.EndpointServices.Purge(z.ctx, sharedStore, z.service.GetName()))
	if got := z.get("waiting"); got.GetState() != pb.Endpoint_REJECTED {
		t.Errorf("rejected endpoint is %v without its service", got.GetState())
	}
	_, err = z.eps.UpdateEndpoint(z.buyer, &pb.UpdateEndpointRequest{Endpoint: &pb.Endpoint{Name: waiting.GetName(), DisplayName: new("x")}})
	must(t, err)
	_, err = z.eps.UpdateEndpoint(z.buyer, &pb.UpdateEndpointRequest{Endpoint: &pb.Endpoint{Name: waiting.GetName(),
		Subnets: []string{"vpcs/buyer/subnets/a", "vpcs/buyer/subnets/b"}}})
	wantError(t, err, codes.NotFound, "ENDPOINT_SERVICE_NOT_FOUND")
	must(t, z.drop("waiting"))
	must(t, resource.Endpoints.Purge(z.ctx, sharedStore, waiting.GetName()))
}

func TestForcedDeletionRejectsFirst(t *testing.T) {
	z := newBazaar(t)
	z.admit()
	used := z.bought("used")
	z.require(true)
	z.bought("waiting")
	_, err := z.svc.DeleteEndpointService(z.ctx, &pb.DeleteEndpointServiceRequest{Name: "endpointServices/orders", Force: true, Etag: "1"})
	wantError(t, err, codes.Aborted, "ETAG_MISMATCH")
	if z.get("used").GetState() != pb.Endpoint_PENDING {
		t.Error("a deletion at an old etag rejected an endpoint")
	}
	must(t, z.remove(true, revoke(pb.Revocation_CUT, 0)))
	for _, id := range []string{"used", "waiting"} {
		if got := z.get(id); got.GetState() != pb.Endpoint_REJECTED || (got.GetDisconnectTime() != nil) != (id == "used") {
			t.Errorf("%s is %v", id, got)
		}
	}
	wantError(t, z.accept(used.GetUid()), codes.FailedPrecondition, "BEING_DELETED")
	must(t, z.remove(true, nil))
}

func TestCrossZoneEndpoints(t *testing.T) {
	z := newBazaar(t)
	z.admit()
	create := func(id string, cross bool, subnets ...string) (*pb.Endpoint, error) {
		return z.eps.CreateEndpoint(z.buyer, &pb.CreateEndpointRequest{Parent: "vpcs/buyer", EndpointId: id, Endpoint: &pb.Endpoint{
			ServiceName: z.service.GetServiceName(), Subnets: subnets, CrossZone: &cross}})
	}
	a, b := "vpcs/buyer/subnets/a", "vpcs/buyer/subnets/b"
	_, err := create("none", false, a, b)
	wantField(t, err, "endpoint.subnets[1]")
	e, err := create("cross", true, a, b)
	must(t, err)
	if enis := e.GetNetworkInterfaces(); enis[0].GetCrossZone() || !enis[1].GetCrossZone() {
		t.Errorf("interfaces %v, want the second one served from another zone", enis)
	}
	update := func(e *pb.Endpoint, paths ...string) error {
		e.Name = "vpcs/buyer/endpoints/cross"
		_, err := z.eps.UpdateEndpoint(z.buyer, &pb.UpdateEndpointRequest{Endpoint: e, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
		return err
	}
	wantField(t, update(&pb.Endpoint{CrossZone: new(false)}), "endpoint.subnets[1]")
	must(t, update(&pb.Endpoint{Subnets: []string{a}, CrossZone: new(false)}))
	// The only zone may be given up once nobody insists on it.
	_, err = z.loadBalancer("b", "vpcs/partner/subnets/b")
	must(t, err)
	move := func() error {
		_, err := z.svc.UpdateEndpointService(z.ctx, &pb.UpdateEndpointServiceRequest{EndpointService: &pb.EndpointService{
			Name: "endpointServices/orders", LoadBalancers: []string{"loadBalancers/b"}}})
		return err
	}
	err = move()
	wantError(t, err, codes.FailedPrecondition, "ZONE_IN_USE", "us-east-1a", e.GetUid())
	must(t, update(&pb.Endpoint{CrossZone: new(true)}))
	must(t, move())
	if eni := z.get("cross").GetNetworkInterfaces()[0]; !eni.GetCrossZone() {
		t.Errorf("interface %v, want it served from another zone", eni)
	}
}

func TestAcceptingNeedsTheZonesOfTheEndpoint(t *testing.T) {
	z := newBazaar(t)
	z.admit()
	e := z.bought("e")
	must(t, z.reject(nil, e.GetUid()))
	_, err := z.loadBalancer("b", "vpcs/partner/subnets/b")
	must(t, err)
	_, err = z.svc.UpdateEndpointService(z.ctx, &pb.UpdateEndpointServiceRequest{EndpointService: &pb.EndpointService{
		Name: "endpointServices/orders", LoadBalancers: []string{"loadBalancers/b"}}})
	must(t, err)
	wantError(t, z.accept(e.GetUid()), codes.FailedPrecondition, "ZONE_MISSING", "us-east-1a")
}

func TestDecisionsAreNoted(t *testing.T) {
	z := newBazaar(t)
	z.admit()
	z.require(true)
	_, err := z.notification("all", hook)
	must(t, err)
	a, b := z.bought("a"), z.bought("b")
	must(t, z.accept(a.GetUid(), b.GetUid()))
	must(t, z.accept(a.GetUid()))
	must(t, z.reject(nil, a.GetUid()))
	must(t, z.reject(nil, a.GetUid()))
	_, err = z.svc.RemovePrincipals(z.ctx, &pb.RemovePrincipalsRequest{
		Name: "endpointServices/orders", Principals: []string{"accounts/" + z.b}, Revocation: revoke(pb.Revocation_CUT, 0)})
	must(t, err)
	counts := map[string]int{}
	for _, e := range z.records("all") {
		counts[e.Value.GetType().String()]++
		if e.Value.GetConsumerAccount() != "accounts/"+z.b || e.Value.GetEndpointUid() != a.GetUid() && e.Value.GetEndpointUid() != b.GetUid() {
			t.Errorf("noted %v", e.Value)
		}
	}
	if want := "map[ACCEPT:2 CONNECT:2 REJECT:2]"; fmt.Sprint(counts) != want {
		t.Errorf("noted %v, want %s", counts, want)
	}
}
