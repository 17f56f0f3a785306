package api

import (
	"fmt"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

func TestConcurrentEndpointsGetDistinctAddressesWithinTheQuota(t *testing.T) {
	s := newShop(t)
	s.offer("a", "b")
	const callers = 100
	made, errs := make([]*pb.Endpoint, callers), make([]error, callers)
	var wg sync.WaitGroup
	for n := range callers {
		wg.Go(func() { made[n], errs[n] = s.endpoint(fmt.Sprintf("e%d", n), "a", "b") })
	}
	wg.Wait()
	seen := map[string]string{}
	count := 0
	for n, err := range errs {
		if err != nil {
			wantError(t, err, codes.ResourceExhausted, "QUOTA_EXCEEDED", "50 endpoints per VPC", "vpcs/prod")
			continue
		}
		count++
		for _, eni := range made[n].GetNetworkInterfaces() {
			if other, twice := seen[eni.GetIpAddress()]; twice {
				t.Errorf("%s and %s both have %s", other, made[n].GetName(), eni.GetIpAddress())
			}
			seen[eni.GetIpAddress()] = made[n].GetName()
		}
	}
	if count != 50 || len(seen) != 2*50 {
		t.Errorf("%d endpoints with %d addresses, want %d with %d", count, len(seen), 50, 2*50)
	}
}

func TestConcurrentHoldersOfAddressesInOneSubnet(t *testing.T) {
	s := newShop(t)
	s.offer("a")
	const each = 25
	owners := make([]string, 4*each) // addresses
	var wg sync.WaitGroup
	for n := range each {
		wg.Go(func() {
			e, err := s.endpoint(fmt.Sprintf("e%d", n), "a")
			if err != nil {
				t.Error(err)
				return
			}
			owners[n] = e.GetNetworkInterfaces()[0].GetIpAddress()
		})
		wg.Go(func() {
			lb, err := s.loadBalancer(fmt.Sprintf("lb%d", n), "vpcs/prod/subnets/a")
			if err != nil {
				t.Error(err)
				return
			}
			owners[each+n] = lb.GetNodes()[0].GetIpAddress()
		})
		for k := 2; k < 4; k++ {
			wg.Go(func() {
				a, err := s.vpcs().CreateAttachment(s.ctx, &pb.CreateAttachmentRequest{
					Parent: "vpcs/prod/subnets/a", AttachmentId: fmt.Sprintf("a%d-%d", k, n), Attachment: &pb.Attachment{PublicKey: newKey()},
				})
				if err != nil {
					t.Error(err)
					return
				}
				owners[k*each+n] = a.GetIpAddress()
			})
		}
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, addr := range owners {
		seen[addr] = true
	}
	if len(seen) != len(owners) {
		t.Errorf("%d distinct addresses for %d resources", len(seen), len(owners))
	}
}

func TestAddressesOfASmallSubnetRunOut(t *testing.T) {
	s := newShop(t)
	s.offer("a")
	for n := range 11 {
		endpoint, err := s.endpoint(fmt.Sprintf("e%d", n), "a2")
		must(t, err)
		if got, want := endpoint.GetNetworkInterfaces()[0].GetIpAddress(), fmt.Sprintf("10.0.3.%d", 4+n); got != want {
			t.Errorf("endpoint %d has %s, want %s", n, got, want)
		}
	}
	_, err := s.endpoint("late", "a2")
	wantError(t, err, codes.ResourceExhausted, "AZ_ADDRESSES_EXHAUSTED", "vpcs/prod/subnets/a2")
	_, err = s.loadBalancer("late", "vpcs/prod/subnets/a2")
	wantError(t, err, codes.ResourceExhausted, "AZ_ADDRESSES_EXHAUSTED")
	// The address stays taken until the gateway has let go of the endpoint.
	name := s.full("vpcs/prod/endpoints/e6")
	_, err = s.eps.DeleteEndpoint(s.ctx, &pb.DeleteEndpointRequest{Name: name})
	must(t, err)
	_, err = s.endpoint("late", "a2")
	wantError(t, err, codes.ResourceExhausted, "AZ_ADDRESSES_EXHAUSTED")
	must(t, resource.Endpoints.Purge(s.ctx, sharedStore, name))
	late, err := s.endpoint("late", "a2")
	must(t, err)
	if got := late.GetNetworkInterfaces()[0].GetIpAddress(); got != "10.0.3.10" {
		t.Errorf("freed address is 10.0.3.10, got %s", got)
	}
}

// collide runs both at the same time and gives their errors.
func collide(a, b func() error) (errA, errB error) {
	var wg sync.WaitGroup
	wg.Go(func() { errA = a() })
	wg.Go(func() { errB = b() })
	wg.Wait()
	return errA, errB
}

func TestServiceNeverGoesUnderAnEndpoint(t *testing.T) {
	s := newShop(t)
	_, err := s.loadBalancer("orders", "vpcs/partner/subnets/a")
	must(t, err)
	won := map[bool]int{}
	for n := range 100 {
		service, err := s.service("orders", "loadBalancers/orders")
		must(t, err)
		created, deleted := collide(
			func() error { _, err := s.endpoint("e", "a"); return err },
			func() error {
				_, err := s.svc.DeleteEndpointService(s.ctx, &pb.DeleteEndpointServiceRequest{Name: service.GetName()})
				return err
			})
		if (created == nil) == (deleted == nil) {
			t.Fatalf("round %d: create gave %v, delete %v; want one to fail", n, created, deleted)
		}
		won[created == nil]++
		if created == nil {
			wantError(t, deleted, codes.FailedPrecondition, "EXISTING_VPC_ENDPOINT_CONNECTIONS")
			_, err = s.eps.DeleteEndpoint(s.ctx, &pb.DeleteEndpointRequest{Name: "vpcs/prod/endpoints/e"})
			must(t, err)
			must(t, resource.Endpoints.Purge(s.ctx, sharedStore, s.full("vpcs/prod/endpoints/e")))
		} else {
			wantError(t, created, codes.FailedPrecondition, "BEING_DELETED")
		}
		must(t, resource.EndpointServices.Purge(s.ctx, sharedStore, service.GetName()))
	}
	t.Logf("endpoint won %d times, deletion %d", won[true], won[false])
}

func TestZoneNeverGoesUnderAnInterface(t *testing.T) {
	s := newShop(t)
	for _, zone := range []string{"a", "b"} {
		_, err := s.loadBalancer(zone, "vpcs/partner/subnets/"+zone)
		must(t, err)
	}
	_, err := s.service("orders", "loadBalancers/a", "loadBalancers/b")
	must(t, err)
	offer := func(lbs ...string) error {
		_, err := s.svc.UpdateEndpointService(s.ctx, &pb.UpdateEndpointServiceRequest{EndpointService: &pb.EndpointService{
			Name: "endpointServices/orders", LoadBalancers: lbs,
		}})
		return err
	}
	for n := range 50 {
		created, shrunk := collide(
			func() error { _, err := s.endpoint("e", "b"); return err },
			func() error { return offer("loadBalancers/a") })
		switch {
		case created == nil && status.Code(shrunk) == codes.FailedPrecondition:
			_, err = s.eps.DeleteEndpoint(s.ctx, &pb.DeleteEndpointRequest{Name: "vpcs/prod/endpoints/e"})
			must(t, err)
			must(t, resource.Endpoints.Purge(s.ctx, sharedStore, s.full("vpcs/prod/endpoints/e")))
		case shrunk == nil && status.Code(created) == codes.InvalidArgument:
			must(t, offer("loadBalancers/a", "loadBalancers/b"))
		default:
			t.Fatalf("round %d: create gave %v, update %v; want one to fail", n, created, shrunk)
		}
	}
}
