package api

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	pb "causeway/proto/causeway/v1"
)

func TestPrincipalsMayConnect(t *testing.T) {
	z := newBazaar(t)
	absent := func() {
		t.Helper()
		for _, spelled := range []string{z.service.GetServiceName(), z.service.GetName(), z.service.GetUid()} {
			_, err := z.eps.CreateEndpoint(z.buyer, &pb.CreateEndpointRequest{Parent: "vpcs/buyer", EndpointId: "none", Endpoint: &pb.Endpoint{
				ServiceName: spelled, Subnets: []string{"vpcs/buyer/subnets/b"}}})
			wantError(t, err, codes.NotFound, "ENDPOINT_SERVICE_NOT_FOUND", fmt.Sprintf("endpoint service %q not found", spelled))
		}
	}
	absent()
	z.admit()
	z.admit()
	for n, spelled := range []string{z.service.GetServiceName(), z.service.GetName(), z.service.GetUid()} {
		e, err := z.eps.CreateEndpoint(z.buyer, &pb.CreateEndpointRequest{Parent: "vpcs/buyer", EndpointId: fmt.Sprintf("e%d", n), Endpoint: &pb.Endpoint{
			ServiceName: spelled, Subnets: []string{"vpcs/buyer/subnets/a"}}})
		must(t, err)
		if e.GetServiceName() != z.service.GetServiceName() || e.GetServiceUid() != z.service.GetUid() {
			t.Errorf("created %v", e)
		}
		_, err = z.eps.UpdateEndpoint(z.buyer, &pb.UpdateEndpointRequest{Endpoint: &pb.Endpoint{Name: e.GetName(), ServiceName: spelled, DisplayName: new("x")}})
		must(t, err)
	}
	service, err := z.svc.RemovePrincipals(z.ctx, &pb.RemovePrincipalsRequest{Name: z.service.GetUid(), Principals: []string{"accounts/" + z.b, "accounts/nobody"}})
	must(t, err)
	if len(service.GetPrincipals()) != 0 {
		t.Errorf("principals %v", service.GetPrincipals())
	}
	absent()
	// As in AWS, connections live on, and go on being usable.
	if got := z.get("e0"); got.GetState() != pb.Endpoint_PENDING {
		t.Errorf("existing endpoint is %v", got.GetState())
	}
	_, err = z.eps.UpdateEndpoint(z.buyer, &pb.UpdateEndpointRequest{Endpoint: &pb.Endpoint{
		Name: "vpcs/buyer/endpoints/e0", Bandwidth: &pb.Bandwidth{BaselineMbps: 7}}})
	must(t, err)
	if _, err := z.endpoint("own", "a"); err != nil {
		t.Errorf("the own account cannot connect: %v", err)
	}
}

func TestEveryoneIsMeant(t *testing.T) {
	z := newBazaar(t)
	add := func(confirmed bool, principals ...string) error {
		_, err := z.svc.AddPrincipals(z.ctx, &pb.AddPrincipalsRequest{Name: "endpointServices/orders", Principals: principals, AllowEveryone: confirmed})
		return err
	}
	wantField(t, add(false, "*"), "principals[0]")
	wantField(t, add(true, "accounts/*", z.b, z.service.GetUid(), ""), "principals[3]") // the schema's own
	wantField(t, add(true, "accounts/*", z.b, z.service.GetUid(), "accounts/a/vpcs/b"), "principals[0]", "principals[1]", "principals[2]", "principals[3]")
	must(t, add(true, "*"))
	z.bought("e")
	var many []string
	for n := range 1000 {
		if many = append(many, fmt.Sprintf("accounts/x%d", n)); len(many) == 100 {
			err := add(false, many...)
			if n < 1000-1 {
				must(t, err)
			} else {
				wantError(t, err, codes.ResourceExhausted, "QUOTA_EXCEEDED", "1000 principals")
			}
			many = nil
		}
	}
}

func TestRemovedPrincipalsCanBeRejected(t *testing.T) {
	tests := []struct {
		name       string
		principals []string // that the service has
		remove     []string
		revocation *pb.Revocation
		state      pb.Endpoint_State
		ends       bool
	}{
		{"keep", []string{"b"}, []string{"b"}, nil, pb.Endpoint_PENDING, false},
		{"cut", []string{"b"}, []string{"b"}, revoke(pb.Revocation_CUT, 0), pb.Endpoint_REJECTED, true},
		{"drain", []string{"b"}, []string{"b"}, revoke(pb.Revocation_DRAIN, time.Minute), pb.Endpoint_REJECTED, true},
		{"everyone", []string{"*"}, []string{"*"}, revoke(pb.Revocation_CUT, 0), pb.Endpoint_REJECTED, true},
		{"named beside everyone", []string{"*", "b"}, []string{"b"}, revoke(pb.Revocation_CUT, 0), pb.Endpoint_PENDING, false},
		{"everyone but named", []string{"*", "b"}, []string{"*"}, revoke(pb.Revocation_CUT, 0), pb.Endpoint_PENDING, false},
		{"somebody else", []string{"b", "accounts/else"}, []string{"accounts/else"}, revoke(pb.Revocation_CUT, 0), pb.Endpoint_PENDING, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			z := newBazaar(t)
			spell := func(all []string) []string {
				var spelled []string
				for _, one := range all {
					if one == "b" {
						one = "accounts/" + z.b
					}
					spelled = append(spelled, one)
				}
				return spelled
			}
			_, err := z.svc.AddPrincipals(z.ctx, &pb.AddPrincipalsRequest{Name: "endpointServices/orders", Principals: spell(tt.principals), AllowEveryone: true})
			must(t, err)
			own, err := z.endpoint("own", "a")
			must(t, err)
			z.bought("e")
			_, err = z.svc.RemovePrincipals(z.ctx, &pb.RemovePrincipalsRequest{Name: "endpointServices/orders", Principals: spell(tt.remove), Revocation: tt.revocation})
			must(t, err)
			if got := z.get("e"); got.GetState() != tt.state || (got.GetDisconnectTime() != nil) != tt.ends {
				t.Errorf("endpoint is %v until %v, want %v", got.GetState(), got.GetDisconnectTime(), tt.state)
			}
			if got, err := z.eps.GetEndpoint(z.ctx, &pb.GetEndpointRequest{Name: own.GetName()}); err != nil || got.GetState() != pb.Endpoint_PENDING {
				t.Errorf("the provider's own endpoint is %v (%v)", got.GetState(), err)
			}
		})
	}
}
