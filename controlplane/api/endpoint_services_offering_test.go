package api

import (
	"context"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

func (s *shop) subs() pb.SubscriptionsClient { return pb.NewSubscriptionsClient(s.conn) }

// newMarket is a bazaar with another service, sold, in the marketplace.
func newMarket(t *testing.T, approval bool) *bazaar {
	t.Helper()
	z := newBazaar(t)
	_, err := z.loadBalancer("sold", "vpcs/partner/subnets/a")
	must(t, err)
	z.service, err = z.offered(z.ctx, "sold", &pb.EndpointService{LoadBalancers: []string{"loadBalancers/sold"}, Offering: pb.EndpointService_MARKETPLACE,
		Listing: &pb.EndpointService_Description{Title: "Sold", Description: "Everything.", Categories: []string{"data"}, ApprovalRequired: approval}})
	must(t, err)
	return z
}

func (s *shop) offered(ctx context.Context, id string, service *pb.EndpointService) (*pb.EndpointService, error) {
	return s.svc.CreateEndpointService(ctx, &pb.CreateEndpointServiceRequest{
		Parent: "accounts/" + s.a, EndpointServiceId: id, EndpointService: service})
}

func (z *bazaar) subscribe(id string) (*pb.Subscription, error) {
	return z.subs().CreateSubscription(z.buyer, &pb.CreateSubscriptionRequest{SubscriptionId: id,
		Subscription: &pb.Subscription{ServiceName: z.service.GetServiceName()}})
}

func (z *bazaar) unsubscribe(ctx context.Context) error {
	_, err := z.subs().DeleteSubscription(ctx, &pb.DeleteSubscriptionRequest{Name: "accounts/" + z.b + "/subscriptions/s"})
	return err
}

func (z *bazaar) subscription() pb.Subscription_State {
	z.t.Helper()
	s, err := z.subs().GetSubscription(z.buyer, &pb.GetSubscriptionRequest{Name: "subscriptions/s"})
	must(z.t, err)
	return s.GetState()
}

func TestMarketplace(t *testing.T) {
	z := newMarket(t, false)
	found, err := z.svc.GetListing(z.buyer, &pb.GetListingRequest{Name: z.service.GetServiceName()})
	must(t, err)
	if found.GetProvider() != "accounts/"+z.a || found.GetListing().GetTitle() != "Sold" || found.GetRegion() != "us-east-1" ||
		fmt.Sprint(found.GetAvailabilityZones()) != "[us-east-1a]" || containsAny(found.String(), "loadBalancers", "endpointServices") {
		t.Errorf("listing %v", found)
	}
	var listed []string
	req := &pb.ListListingsRequest{PageSize: 1}
	for {
		page, err := z.svc.ListListings(z.buyer, req)
		must(t, err)
		for _, l := range page.GetListings() {
			listed = append(listed, l.GetServiceName())
		}
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
			break
		}
	}
	if !containsAny(fmt.Sprint(listed), z.service.GetServiceName()) {
		t.Errorf("listed %q, want %s among them", listed, z.service.GetServiceName())
	}
	private, err := z.svc.GetEndpointService(z.ctx, &pb.GetEndpointServiceRequest{Name: "endpointServices/orders"})
	must(t, err)
	_, err = z.svc.GetListing(z.buyer, &pb.GetListingRequest{Name: private.GetServiceName()})
	wantError(t, err, codes.NotFound, "ENDPOINT_SERVICE_NOT_FOUND")

	_, err = z.buy("early")
	wantError(t, err, codes.NotFound, "ENDPOINT_SERVICE_NOT_FOUND")
	sub, err := z.subscribe("s")
	must(t, err)
	if sub.GetState() != pb.Subscription_ACTIVE || sub.GetServiceUid() != z.service.GetUid() {
		t.Errorf("subscribed %v", sub)
	}
	_, err = z.subscribe("again")
	wantError(t, err, codes.AlreadyExists, "SUBSCRIPTION_EXISTS", "subscriptions/s")
	z.bought("e")
	wantError(t, z.unsubscribe(z.buyer), codes.FailedPrecondition, "HAS_CHILDREN", "vpcs/buyer/endpoints/e")
	must(t, z.drop("e"))
	must(t, z.unsubscribe(z.buyer))
	_, err = z.buy("late")
	wantError(t, err, codes.NotFound, "ENDPOINT_SERVICE_NOT_FOUND")
}

// TestSubscriptionStates takes a subscription through what provider and consumer can do.
func TestSubscriptionStates(t *testing.T) {
	const waiting, active, rejected, closed = pb.Subscription_PENDING_APPROVAL, pb.Subscription_ACTIVE, pb.Subscription_REJECTED, pb.Subscription_CLOSED
	type step struct {
		do     string
		state  pb.Subscription_State // 0: there is none
		reason string
	}
	tests := []struct {
		name  string
		steps []step
	}{
		{"approved", []step{{"use", waiting, "ENDPOINT_SERVICE_NOT_FOUND"}, {"approve", active, ""}, {"use", active, ""}, {"leave", active, "HAS_CHILDREN"}}},
		{"rejected", []step{{"reject", rejected, ""}, {"use", rejected, "ENDPOINT_SERVICE_NOT_FOUND"}, {"leave", rejected, "SUBSCRIPTION_REJECTED"}, {"approve", active, ""}, {"leave", 0, ""}}},
		{"withdrawn", []step{{"leave", 0, ""}}},
		{"cut off", []step{{"approve", active, ""}, {"use", active, ""}, {"cut", rejected, ""}}},
		{"kept", []step{{"approve", active, ""}, {"use", active, ""}, {"reject", rejected, ""}}},
		{"closed", []step{{"close", closed, ""}, {"leave", 0, ""}}},
		{"removed by the operator", []step{{"reject", rejected, ""}, {"expel", 0, ""}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			z := newMarket(t, true)
			_, err := z.subscribe("s")
			must(t, err)
			for _, step := range tt.steps {
				err := z.do(step.do)
				if step.reason != "" {
					if err == nil {
						t.Fatalf("%s succeeded", step.do)
					}
					code := codes.FailedPrecondition
					if step.do == "use" {
						code = codes.NotFound
					}
					wantError(t, err, code, step.reason)
				} else {
					must(t, err)
				}
				if step.state == 0 {
					_, err := z.subs().GetSubscription(z.buyer, &pb.GetSubscriptionRequest{Name: "subscriptions/s"})
					wantError(t, err, codes.NotFound, "SUBSCRIPTION_NOT_FOUND")
				} else if got := z.subscription(); got != step.state {
					t.Fatalf("after %s the subscription is %v, want %v", step.do, got, step.state)
				}
			}
			switch tt.name {
			case "cut off":
				if got := z.get("e"); got.GetState() != pb.Endpoint_REJECTED || got.GetDisconnectTime() == nil {
					t.Errorf("endpoint is %v", got)
				}
			case "kept":
				if got := z.get("e"); got.GetState() != pb.Endpoint_PENDING {
					t.Errorf("endpoint is %v", got)
				}
			}
		})
	}
}

// do makes a step of TestSubscriptionStates.
func (z *bazaar) do(step string) error {
	var err error
	subscribers := []string{"accounts/" + z.b}
	switch step {
	case "use":
		_, err = z.buy("e")
	case "approve":
		_, err = z.svc.ApproveSubscribers(z.ctx, &pb.ApproveSubscribersRequest{Name: z.service.GetName(), Subscribers: subscribers})
	case "reject":
		_, err = z.svc.RejectSubscribers(z.ctx, &pb.RejectSubscribersRequest{Name: z.service.GetName(), Subscribers: subscribers})
	case "cut":
		_, err = z.svc.RejectSubscribers(z.ctx, &pb.RejectSubscribersRequest{
			Name: z.service.GetName(), Subscribers: subscribers, Revocation: revoke(pb.Revocation_CUT, 0)})
	case "leave":
		err = z.unsubscribe(z.buyer)
	case "expel":
		err = z.unsubscribe(z.operator())
	case "close":
		_, err = z.svc.DeleteEndpointService(z.ctx, &pb.DeleteEndpointServiceRequest{Name: z.service.GetName()})
		if err == nil {
			err = resource.EndpointServices.Purge(z.ctx, sharedStore, z.service.GetName())
		}
	}
	return err
}

func TestSubscribersAreShownByAccount(t *testing.T) {
	z := newMarket(t, true)
	_, err := z.subscribe("s")
	must(t, err)
	page, err := z.svc.ListSubscribers(z.ctx, &pb.ListSubscribersRequest{Name: z.service.GetName()})
	must(t, err)
	if len(page.GetSubscribers()) != 1 || page.GetSubscribers()[0].GetAccount() != "accounts/"+z.b || page.GetSubscribers()[0].GetState() != pb.Subscription_PENDING_APPROVAL {
		t.Errorf("subscribers %v", page)
	}
	for _, who := range []context.Context{z.buyer} {
		_, err = z.svc.ListSubscribers(who, &pb.ListSubscribersRequest{Name: z.service.GetName()})
		wantError(t, err, codes.NotFound, "ENDPOINT_SERVICE_NOT_FOUND")
	}
	_, err = z.svc.ApproveSubscribers(z.ctx, &pb.ApproveSubscribersRequest{Name: z.service.GetName(), Subscribers: []string{"accounts/" + z.b, "accounts/nobody"}})
	wantError(t, err, codes.NotFound, "SUBSCRIPTION_NOT_FOUND", "accounts/nobody")
	if got := z.subscription(); got != pb.Subscription_PENDING_APPROVAL {
		t.Errorf("a failed approval made it %v", got)
	}
}

func TestUnsubscribedWhileConnected(t *testing.T) {
	z := newMarket(t, false)
	for n := range raceRounds {
		_, err := z.subscribe("s")
		must(t, err)
		id := fmt.Sprintf("e%d", n)
		created, left := collide(func() error { _, err := z.buy(id); return err }, func() error { return z.unsubscribe(z.buyer) })
		if (created == nil) == (left == nil) {
			t.Fatalf("round %d: create gave %v, unsubscribe %v; want one to fail", n, created, left)
		}
		if created == nil {
			must(t, z.drop(id))
			must(t, z.unsubscribe(z.buyer))
		}
	}
}

func TestOfferingRules(t *testing.T) {
	z := newBazaar(t)
	_, err := z.loadBalancer("free", "vpcs/partner/subnets/a")
	must(t, err)
	name := "com.example." + z.a
	tests := []struct {
		name     string
		operator bool
		change   func(*pb.EndpointService)
		code     codes.Code
		field    string
	}{
		{"bad platform of a tenant", false, func(s *pb.EndpointService) { s.Offering = pb.EndpointService_PLATFORM }, codes.PermissionDenied, ""},
		{"bad platform without name", true, func(s *pb.EndpointService) { s.PlatformServiceName = "" }, codes.InvalidArgument, "platform_service_name"},
		{"bad platform name of others", true, func(s *pb.EndpointService) { s.PlatformServiceName = "com.causeway.vpce.x" }, codes.InvalidArgument, "platform_service_name"},
		{"bad platform name", true, func(s *pb.EndpointService) { s.PlatformServiceName = "Com.x" }, codes.InvalidArgument, "platform_service_name"},
		{"bad wildcard", true, func(s *pb.EndpointService) { s.PublicDnsNames = []string{"x.*.com"} }, codes.InvalidArgument, "public_dns_names[0]"},
		{"bad localhost", true, func(s *pb.EndpointService) { s.PublicDnsNames = []string{"a.com", "x.localhost"} }, codes.InvalidArgument, "public_dns_names[1]"},
		{"bad local", true, func(s *pb.EndpointService) { s.PublicDnsNames = []string{"x.local"} }, codes.InvalidArgument, "public_dns_names[0]"},
		{"bad top level", true, func(s *pb.EndpointService) { s.PublicDnsNames = []string{"com"} }, codes.InvalidArgument, "public_dns_names[0]"},
		{"bad address", true, func(s *pb.EndpointService) { s.PublicDnsNames = []string{"10.0.0.1"} }, codes.InvalidArgument, "public_dns_names[0]"},
		{"bad listing", true, func(s *pb.EndpointService) { s.Listing = &pb.EndpointService_Description{Title: "x"} }, codes.InvalidArgument, "listing"},
		{"bad private name", false, func(s *pb.EndpointService) { s.Offering, s.PublicDnsNames = 0, nil }, codes.InvalidArgument, "platform_service_name"},
		{"bad no listing", false, func(s *pb.EndpointService) {
			s.Offering, s.PlatformServiceName, s.PublicDnsNames = pb.EndpointService_MARKETPLACE, "", nil
		}, codes.InvalidArgument, "listing"},
		{"OK", true, func(*pb.EndpointService) {}, codes.OK, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			service := &pb.EndpointService{LoadBalancers: []string{z.full("loadBalancers/free")}, Offering: pb.EndpointService_PLATFORM,
				PlatformServiceName: name, PublicDnsNames: []string{"kinesis.us-east-1.amazonaws.com", "*.data-kinesis.us-east-1.amazonaws.com"}}
			tt.change(service)
			ctx := z.ctx
			if tt.operator {
				ctx = z.operator()
			}
			made, err := z.offered(ctx, "x", service)
			switch {
			case tt.code == codes.OK:
				must(t, err)
				if made.GetServiceName() != name {
					t.Errorf("service name %q", made.GetServiceName())
				}
			case tt.field != "":
				wantField(t, err, "endpoint_service."+tt.field)
			default:
				wantError(t, err, tt.code, "PERMISSION_DENIED")
			}
		})
	}
	_, err = z.loadBalancer("second", "vpcs/partner/subnets/a")
	must(t, err)
	_, err = z.offered(z.operator(), "second", &pb.EndpointService{LoadBalancers: []string{z.full("loadBalancers/second")},
		Offering: pb.EndpointService_PLATFORM, PlatformServiceName: name})
	wantError(t, err, codes.AlreadyExists, "SERVICE_NAME_IN_USE")
	e, err := z.eps.CreateEndpoint(z.buyer, &pb.CreateEndpointRequest{Parent: "vpcs/buyer", EndpointId: "platform", Endpoint: &pb.Endpoint{
		ServiceName: name, Subnets: []string{"vpcs/buyer/subnets/a"}}})
	must(t, err)
	if e.GetServiceName() != name {
		t.Errorf("endpoint of %q", e.GetServiceName())
	}
	_, err = z.svc.UpdateEndpointService(z.ctx, &pb.UpdateEndpointServiceRequest{EndpointService: &pb.EndpointService{
		Name: "endpointServices/x", PublicDnsNames: []string{"evil.example.com"}}})
	wantError(t, err, codes.PermissionDenied, "PERMISSION_DENIED")
	_, err = z.svc.UpdateEndpointService(z.operator(), &pb.UpdateEndpointServiceRequest{EndpointService: &pb.EndpointService{
		Name: z.full("endpointServices/x"), Offering: pb.EndpointService_PRIVATE}})
	wantField(t, err, "endpoint_service.offering")
}
