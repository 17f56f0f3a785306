package api

import (
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

const raceRounds = 30

// uses gives the claims by which endpoints hold the service.
func (z *bazaar) uses() int {
	z.t.Helper()
	claims, _, err := sharedStore.Claims(z.ctx, resource.ClaimUse, z.service.GetUid()+"/")
	must(z.t, err)
	return len(claims)
}

func TestAcceptedWhileDeleted(t *testing.T) {
	z := newBazaar(t)
	z.admit()
	z.require(true)
	for n := range raceRounds {
		id := fmt.Sprintf("e%d", n)
		e := z.bought(id)
		accepted, deleted := collide(func() error { return z.accept(e.GetUid()) }, func() error { return z.drop(id) })
		must(t, deleted)
		if accepted != nil {
			wantError(t, accepted, codes.FailedPrecondition, "NOT_PENDING", "DELETING")
		}
		if got := z.get(id).GetState(); got != pb.Endpoint_DELETING || z.uses() != 0 {
			t.Fatalf("round %d: endpoint is %v, %d uses", n, got, z.uses())
		}
	}
}

func TestRejectedWhileUpdated(t *testing.T) {
	z := newBazaar(t)
	z.admit()
	for n := range raceRounds {
		id := fmt.Sprintf("e%d", n)
		e := z.bought(id)
		rejected, updated := collide(
			func() error { return z.reject(revoke(pb.Revocation_CUT, 0), e.GetUid()) },
			func() error {
				_, err := z.eps.UpdateEndpoint(z.buyer, &pb.UpdateEndpointRequest{Endpoint: &pb.Endpoint{Name: e.GetName(), Bandwidth: &pb.Bandwidth{BaselineMbps: 5}}})
				return err
			})
		must(t, rejected)
		must(t, updated)
		got := z.get(id)
		if got.GetState() != pb.Endpoint_REJECTED || got.GetDisconnectTime() == nil || got.GetBandwidth().GetBaselineMbps() != 5 || z.uses() != 0 {
			t.Fatalf("round %d: one of both is lost: %v, %d uses", n, got, z.uses())
		}
	}
}

func TestAcceptedWhileServiceIsDeleted(t *testing.T) {
	z := newBazaar(t)
	won := map[bool]int{}
	for n := range raceRounds {
		id := fmt.Sprintf("e%d", n)
		z.admit()
		e := z.bought(id)
		must(t, z.reject(nil, e.GetUid()))
		accepted, deleted := collide(func() error { return z.accept(e.GetUid()) }, func() error { return z.remove(false, nil) })
		if (accepted == nil) == (deleted == nil) {
			t.Fatalf("round %d: accept gave %v, delete %v; want one to fail", n, accepted, deleted)
		}
		won[accepted == nil]++
		if accepted == nil {
			wantError(t, deleted, codes.FailedPrecondition, "EXISTING_VPC_ENDPOINT_CONNECTIONS", e.GetUid())
			must(t, z.drop(id))
			continue
		}
		wantError(t, accepted, codes.FailedPrecondition, "BEING_DELETED")
		must(t, resource.EndpointServices.Purge(z.ctx, sharedStore, z.service.GetName()))
		var err error
		z.service, err = z.shop.service("orders", "loadBalancers/orders")
		must(t, err)
	}
	t.Logf("acceptance won %d times, deletion %d", won[true], won[false])
}

func TestForcedDeletionLeavesNoUse(t *testing.T) {
	z := newBazaar(t)
	for n := range raceRounds {
		z.admit()
		id := fmt.Sprintf("e%d", n)
		created, deleted := collide(func() error { _, err := z.buy(id); return err }, func() error { return z.remove(true, nil) })
		must(t, deleted)
		if created == nil && z.get(id).GetState() != pb.Endpoint_REJECTED {
			t.Fatalf("round %d: endpoint of a deleted service is %v", n, z.get(id).GetState())
		}
		if created != nil && status.Code(created) != codes.FailedPrecondition && status.Code(created) != codes.NotFound {
			t.Fatalf("round %d: %v", n, created)
		}
		if z.uses() != 0 {
			t.Fatalf("round %d: the deleted service is in use", n)
		}
		if created == nil {
			must(t, z.drop(id))
			must(t, resource.Endpoints.Purge(z.ctx, sharedStore, "accounts/"+z.b+"/vpcs/buyer/endpoints/"+id))
		}
		must(t, resource.EndpointServices.Purge(z.ctx, sharedStore, z.service.GetName()))
		var err error
		z.service, err = z.shop.service("orders", "loadBalancers/orders")
		must(t, err)
	}
}

func TestConnectedWhileRemoved(t *testing.T) {
	z := newBazaar(t)
	for n := range raceRounds {
		z.admit()
		id := fmt.Sprintf("e%d", n)
		created, removed := collide(
			func() error { _, err := z.buy(id); return err },
			func() error {
				_, err := z.svc.RemovePrincipals(z.ctx, &pb.RemovePrincipalsRequest{
					Name: "endpointServices/orders", Principals: []string{"accounts/" + z.b}, Revocation: revoke(pb.Revocation_CUT, 0)})
				return err
			})
		must(t, removed)
		if created == nil {
			if got := z.get(id).GetState(); got != pb.Endpoint_REJECTED {
				t.Fatalf("round %d: endpoint of a removed principal is %v", n, got)
			}
			must(t, z.drop(id))
		} else {
			wantError(t, created, codes.NotFound, "ENDPOINT_SERVICE_NOT_FOUND")
		}
	}
}
