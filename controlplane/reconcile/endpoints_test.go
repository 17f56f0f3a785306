package reconcile

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	"causeway/gateway/spec"
	pb "causeway/proto/causeway/v1"
)

type storedEndpoint = store.Versioned[*pb.Endpoint]

func TestEndpointStatesCompile(t *testing.T) {
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		name   string
		change func(*pb.Endpoint)
		served bool
		want   *spec.Revocation
	}{
		{"accepted", func(*pb.Endpoint) {}, true, nil},
		{"waiting", func(e *pb.Endpoint) { e.State, e.AcceptTime = pb.Endpoint_PENDING_ACCEPTANCE, nil }, false, nil},
		{"expired", func(e *pb.Endpoint) { e.State, e.AcceptTime = pb.Endpoint_EXPIRED, nil }, false, nil},
		{"rejected before it was accepted", func(e *pb.Endpoint) { e.State, e.AcceptTime = pb.Endpoint_REJECTED, nil }, false, nil},
		{"rejected, connections live on", func(e *pb.Endpoint) { e.State = pb.Endpoint_REJECTED }, true, &spec.Revocation{Keep: true}},
		{"rejected with an end", func(e *pb.Endpoint) { e.State, e.DisconnectTime = pb.Endpoint_REJECTED, timestamppb.New(at) }, true, &spec.Revocation{Deadline: at}},
		{"being deleted", func(e *pb.Endpoint) { e.State = pb.Endpoint_DELETING }, false, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := shop()
			tt.change(w.endpoints[0].Value)
			r := w.compile(t)
			if served := len(r.spec.Endpoints) == 1; served != tt.served {
				t.Fatalf("served: %v, want %v", served, tt.served)
			}
			if tt.served && !cmp.Equal(r.spec.Endpoints[0].Revocation, tt.want) {
				t.Errorf("revocation %+v, want %+v", r.spec.Endpoints[0].Revocation, tt.want)
			}
			if problem := r.objects[w.endpoints[0].Name]; problem != "" {
				t.Errorf("left out: %s", problem)
			}
		})
	}
}

func TestRejectedEndpointOutlivesItsService(t *testing.T) {
	w := shop()
	w.endpoints[0].Value.State = pb.Endpoint_REJECTED
	w.endpointServices = nil
	r := w.compile(t)
	if len(r.spec.Endpoints) != 1 || len(r.spec.Endpoints[0].LoadBalancers) != 0 || !r.spec.Endpoints[0].Revocation.Keep {
		t.Errorf("endpoints %+v, want one that keeps what is live and reaches nothing", r.spec.Endpoints)
	}
}

func TestEndpointOfAnotherAccount(t *testing.T) {
	w := shop()
	name := "accounts/other/vpcs/prod"
	put(w, &w.vpcs, name, &pb.Vpc{Name: name, Uid: testUID("vpc", name), Region: "us-east-1", CidrBlock: "10.0.0.0/16"})
	subnet := name + "/subnets/a"
	put(w, &w.subnets, subnet, &pb.Subnet{Name: subnet, AvailabilityZone: "us-east-1b", CidrBlock: "10.0.1.0/24"})
	e := w.endpoint("vpcs/prod/endpoints/theirs", w.endpointServices[0].Value, "us-east-1b", "10.0.1.9")
	at := slices.IndexFunc(w.endpoints, func(v storedEndpoint) bool { return v.Value == e })
	w.endpoints[at].Name, e.Name, e.CrossZone = name+"/endpoints/theirs", name+"/endpoints/theirs", new(true)
	r := w.compile(t)
	got := r.spec.Endpoints[slices.IndexFunc(r.spec.Endpoints, func(s spec.Endpoint) bool { return strings.HasPrefix(s.Name, name) })]
	if !got.CrossZone || len(got.LoadBalancers) != 1 || got.Service != account("endpointServices/orders") {
		t.Errorf("compiled to %+v", got)
	}
}

func TestOverdue(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	endpoints := func(states ...pb.Endpoint_State) list[*pb.Endpoint] {
		var l list[*pb.Endpoint]
		for n, state := range states {
			l = append(l, storedEndpoint{Name: string(rune('a' + n)), Value: &pb.Endpoint{
				State: state, ExpireTime: timestamppb.New(now.Add(time.Duration(n-1) * time.Minute)),
			}})
		}
		return l
	}
	const waiting = pb.Endpoint_PENDING_ACCEPTANCE
	tests := []struct {
		name      string
		endpoints list[*pb.Endpoint]
		want      []string
		next      time.Duration
	}{
		{"none", nil, nil, longestWait},
		{"past, now and later", endpoints(waiting, waiting, waiting, waiting), []string{"a", "b"}, time.Minute},
		{"others do not wait", endpoints(pb.Endpoint_PENDING, pb.Endpoint_REJECTED, pb.Endpoint_EXPIRED, pb.Endpoint_DELETING), nil, longestWait},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, next := endpointRequests.overdue(tt.endpoints, now); !slices.Equal(got, tt.want) || next != tt.next {
				t.Errorf("overdue %q, next in %v; want %q, %v", got, next, tt.want, tt.next)
			}
		})
	}
}

func TestExpiryIsStored(t *testing.T) {
	r := startRig(t)
	past := timestamppb.New(time.Now().Add(-time.Second))
	peering := account("peerings/p")
	create(r, resource.Peerings, peering, &pb.Peering{
		Name: peering, Uid: "pcx-1", Vpc: account("vpcs/gone"), PeerVpc: "accounts/b/vpcs/gone", State: pb.Peering_PENDING_ACCEPTANCE, ExpireTime: past,
	})
	vpc := account("vpcs/prod")
	create(r, resource.Vpcs, vpc, &pb.Vpc{Name: vpc, Uid: testUID("vpc", vpc), CidrBlock: "10.0.0.0/16"})
	name := vpc + "/endpoints/e"
	create(r, resource.Endpoints, name, &pb.Endpoint{
		Name: name, Uid: "vpce-1", ServiceUid: "vpce-svc-1", State: pb.Endpoint_PENDING_ACCEPTANCE, ExpireTime: past,
	})
	r.eventually("the endpoint expires", func() bool {
		return observed(r, resource.Endpoints, name).GetState() == pb.Endpoint_EXPIRED
	})
	r.eventually("the peering expires", func() bool {
		v, err := resource.Peerings.Get(t.Context(), r.store, peering)
		return err == nil && v.Value.GetState() == pb.Peering_EXPIRED
	})
	for _, held := range []resource.Claim{{Kind: resource.ClaimUse, Key: "vpce-svc-1/"}, resource.PairClaim(account("vpcs/gone"), "accounts/b/vpcs/gone")} {
		claims, _, err := r.store.Claims(t.Context(), held.Kind, held.Key)
		if err != nil || len(claims) != 0 {
			t.Errorf("%v is still claimed: %v (%v)", held, claims, err)
		}
	}
	if claims, _, err := r.store.Claims(t.Context(), resource.ClaimPeering, ""); err != nil || len(claims) != 2 {
		t.Errorf("the peering is in the lists of %v (%v), want both owners'", claims, err)
	}
}

func TestPeeringsOverdue(t *testing.T) {
	made := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	expire := timestamppb.New(made.Add(168 * time.Hour))
	l := list[*pb.Peering]{
		{Name: "active", Value: &pb.Peering{State: pb.Peering_ACTIVE, ExpireTime: expire}},
		{Name: "deleted", Value: &pb.Peering{State: pb.Peering_DELETING, ExpireTime: expire}},
		{Name: "waits", Value: &pb.Peering{State: pb.Peering_PENDING_ACCEPTANCE, ExpireTime: expire}},
	}
	if names, next := peeringRequests.overdue(l, made.Add(168*time.Hour-time.Second)); names != nil || next != time.Second {
		t.Errorf("a second early: %q, next in %v", names, next)
	}
	if names, next := peeringRequests.overdue(l, made.Add(168*time.Hour)); !slices.Equal(names, []string{"waits"}) || next != longestWait {
		t.Errorf("after 168 hours: %q, next in %v", names, next)
	}
}
