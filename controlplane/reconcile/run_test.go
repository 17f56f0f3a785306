package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	"causeway/gateway/spec"
	pb "causeway/proto/causeway/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// dataPlane is a gateway that serves whatever validates.
type dataPlane struct {
	mu      sync.Mutex
	applied []spec.Gateway
	refuse  error
	changed chan struct{}
}

func (d *dataPlane) Apply(_ context.Context, s spec.Gateway) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refuse != nil {
		return d.refuse
	}
	if err := s.Validate(); err != nil {
		return err
	}
	d.applied = append(d.applied, s)
	return nil
}

func (d *dataPlane) Changed() <-chan struct{} { return d.changed }

func (d *dataPlane) Status() spec.Status {
	s, _ := d.current()
	status := spec.Status{Revision: s.Revision}
	for _, domain := range s.Domains {
		for _, te := range domain.TunnelEndpoints {
			status.TunnelEndpoints = append(status.TunnelEndpoints, spec.TunnelEndpointStatus{
				UID: te.UID, Health: spec.Health{Serving: true}, PublicKey: spec.Key{1}, Endpoint: "gw:1",
			})
		}
	}
	for _, e := range s.Endpoints {
		for _, ni := range e.Interfaces {
			status.Interfaces = append(status.Interfaces, spec.InterfaceStatus{
				UID: ni.UID, Health: spec.Health{Serving: true}, ActiveFlows: 3,
				Ingress: spec.BudgetStatus{LimitBPS: 10_000_000, UsedBPS: 1_600_000},
				Egress:  spec.BudgetStatus{LimitBPS: 20_000_000},
			})
		}
	}
	return status
}

func (d *dataPlane) current() (spec.Gateway, int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.applied) == 0 {
		return spec.Gateway{}, 0
	}
	return d.applied[len(d.applied)-1], len(d.applied)
}

func (d *dataPlane) setRefuse(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refuse = err
}

// rig is a reconciler at work on a real store.
type rig struct {
	t          *testing.T
	store      *store.Store
	gateway    *dataPlane
	reconciler *Reconciler
}

func startRig(t *testing.T) *rig {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	s, err := store.OpenEmbedded(t.Context(), filepath.Join(t.TempDir(), "store"), log)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, store: s, gateway: &dataPlane{changed: make(chan struct{})}}
	cache := store.NewCache(s, log, Collections()...)
	r.reconciler, err = New(Config{
		Store: s, Cache: cache, Gateway: r.gateway, Secrets: testOptions.secrets, Zones: testOptions.zones, Ports: testOptions.ports, Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{cache.Run, r.reconciler.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// create stores a resource with its claims, as the API does.
func create[T resource.Message](r *rig, kind *resource.Kind[T], name string, m T) store.Versioned[T] {
	r.t.Helper()
	tx := r.store.Begin()
	kind.Create(tx, name, m)
	for _, c := range kind.Claims(m) {
		tx.Claim(c.Kind, c.Key, name)
	}
	revision, err := tx.Commit(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return store.Versioned[T]{Name: name, Value: m, Revision: revision}
}

func remove[T resource.Message](r *rig, kind *resource.Kind[T], name string) {
	r.t.Helper()
	if _, err := kind.Modify(r.t.Context(), r.store, name, func(m T) (bool, error) {
		resource.MarkDeleting(m)
		return true, nil
	}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	deadline, look := time.After(10*time.Second), time.NewTicker(time.Millisecond)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-deadline:
			r.t.Fatalf("never: %s", what)
		}
	}
}

func (r *rig) shop() (vpc, subnet, attachment string) {
	vpc = account("vpcs/prod")
	subnet, attachment = vpc+"/subnets/a", vpc+"/subnets/a/attachments/app"
	create(r, resource.Vpcs, vpc, &pb.Vpc{Name: vpc, Uid: testUID("vpc", vpc), CidrBlock: "10.0.0.0/16"})
	create(r, resource.Subnets, subnet, &pb.Subnet{
		Name: subnet, Uid: testUID("subnet", subnet), AvailabilityZone: "us-east-1a", CidrBlock: "10.0.1.0/24",
	})
	create(r, resource.Attachments, attachment, &pb.Attachment{
		Name: attachment, Uid: testUID("att", attachment), PublicKey: testKey("app"), IpAddress: "10.0.1.4",
	})
	return vpc, subnet, attachment
}

// observed reads a resource as the API shows it.
func observed[T resource.Message](r *rig, kind *resource.Kind[T], name string) T {
	r.t.Helper()
	v, err := kind.Get(r.t.Context(), r.store, name)
	if err != nil {
		r.t.Fatal(err)
	}
	r.reconciler.Observe(r.t.Context(), v.Value)
	return v.Value
}

func TestReconcileLife(t *testing.T) {
	r := startRig(t)
	vpc, subnet, attachment := r.shop()
	r.eventually("attachment in force", func() bool {
		return observed(r, resource.Attachments, attachment).GetState() == pb.Attachment_AVAILABLE
	})
	got := observed(r, resource.Attachments, attachment)
	want := &pb.WireGuardGateway{Endpoint: "gw:1", PublicKey: spec.Key{1}.String(), AllowedIps: []string{"10.0.0.0/16"}, DnsServer: "10.0.0.2"}
	if !proto.Equal(got.GetGateway(), want) {
		t.Errorf("gateway %v, want %v", got.GetGateway(), want)
	}
	claims, _, err := r.store.Claims(t.Context(), claimUDP, "")
	if err != nil || len(claims) != 1 || claims[0].Key != "local/51820" {
		t.Errorf("UDP ports %v, %v; want the lowest", claims, err)
	}

	remove(r, resource.Attachments, attachment)
	remove(r, resource.Subnets, subnet)
	remove(r, resource.Vpcs, vpc)
	r.eventually("everything removed", func() bool {
		_, err := resource.Vpcs.Get(t.Context(), r.store, vpc)
		claims, _, errClaims := r.store.Claims(t.Context(), claimUDP, "")
		return errors.Is(err, store.ErrNotFound) && errClaims == nil && len(claims) == 0
	})
	for _, kind := range []string{resource.ClaimUID, resource.ClaimKey, resource.ClaimAddress} {
		if claims, _, err := r.store.Claims(t.Context(), kind, ""); err != nil || len(claims) > 0 {
			t.Errorf("claims of %s left: %v, %v", kind, claims, err)
		}
	}
	if s, _ := r.gateway.current(); len(s.Domains) != 0 {
		t.Errorf("gateway still serves %v", s.Domains)
	}
}

// TestRulesLive has the filters of a VPC in force and removes them all at once, which is in an order in
// which what is named goes after what names it.
func TestRulesLive(t *testing.T) {
	r := startRig(t)
	vpc, subnet, attachment := r.shop()
	w := &world{}
	acl, apps, web := w.acl("prod", "default"), w.group("prod", "apps"), w.group("prod", "web")
	apps.IngressRules = append(apps.IngressRules, &pb.SecurityGroupRule{
		Protocol: "all", Source: &pb.SecurityGroupRule_SourceGroup{SourceGroup: web.GetName()}, SourceGroupUid: web.GetUid(),
	})
	web.IngressRules[0].Protocol = "unheard of"
	create(r, resource.NetworkAcls, acl.GetName(), acl)
	create(r, resource.SecurityGroups, apps.GetName(), apps)
	create(r, resource.SecurityGroups, web.GetName(), web)
	r.eventually("rules in force", func() bool {
		return observed(r, resource.NetworkAcls, acl.GetName()).GetState() == pb.NetworkAcl_AVAILABLE &&
			observed(r, resource.SecurityGroups, apps.GetName()).GetState() == pb.SecurityGroup_AVAILABLE
	})
	if got := observed(r, resource.SecurityGroups, web.GetName()); got.GetState() != pb.SecurityGroup_FAILED || !strings.Contains(got.GetStateMessage(), "unheard of") {
		t.Errorf("a group with a rule that cannot be read is %v: %q", got.GetState(), got.GetStateMessage())
	}
	remove(r, resource.Vpcs, vpc)
	remove(r, resource.NetworkAcls, acl.GetName())
	remove(r, resource.SecurityGroups, web.GetName())
	remove(r, resource.SecurityGroups, apps.GetName())
	remove(r, resource.Subnets, subnet)
	remove(r, resource.Attachments, attachment)
	r.eventually("everything removed", func() bool {
		_, err := resource.Vpcs.Get(t.Context(), r.store, vpc)
		return errors.Is(err, store.ErrNotFound)
	})
	for _, kind := range []string{resource.ClaimUID, resource.ClaimSource} {
		if claims, _, err := r.store.Claims(t.Context(), kind, ""); err != nil || len(claims) > 0 {
			t.Errorf("claims of %s left: %v, %v", kind, claims, err)
		}
	}
}

func TestNothingIsRemovedBeforeTheGatewayLetGo(t *testing.T) {
	r := startRig(t)
	_, _, attachment := r.shop()
	r.eventually("attachment in force", func() bool {
		return observed(r, resource.Attachments, attachment).GetState() == pb.Attachment_AVAILABLE
	})
	r.gateway.setRefuse(errors.New("no"))
	remove(r, resource.Attachments, attachment)
	other := account("vpcs/other")
	create(r, resource.Vpcs, other, &pb.Vpc{Name: other, Uid: testUID("vpc", other), CidrBlock: "10.0.0.0/16"})
	r.eventually("the change is seen", func() bool {
		v := r.reconciler.view.Load()
		_, known := v.latest.objects[other]
		return known
	})
	if _, err := resource.Attachments.Get(t.Context(), r.store, attachment); err != nil {
		t.Errorf("attachment removed while the gateway serves it: %v", err)
	}
	if got := observed(r, resource.Vpcs, other).GetState(); got != pb.Vpc_PENDING {
		t.Errorf("a VPC that the gateway has not taken is %v", got)
	}
	r.gateway.setRefuse(nil)
	r.eventually("attachment removed", func() bool {
		_, err := resource.Attachments.Get(t.Context(), r.store, attachment)
		return errors.Is(err, store.ErrNotFound)
	})
}

func TestUpdateIsPendingUntilInForce(t *testing.T) {
	r := startRig(t)
	_, _, attachment := r.shop()
	r.eventually("attachment in force", func() bool {
		return observed(r, resource.Attachments, attachment).GetState() == pb.Attachment_AVAILABLE
	})
	m := observed(r, resource.Attachments, attachment)
	m.Etag = store.FormatEtag(1 << 40)
	r.reconciler.Observe(t.Context(), m)
	if m.GetState() != pb.Attachment_PENDING {
		t.Errorf("a version newer than what is in force is %v", m.GetState())
	}
}

func TestUnrelatedWritesAreNotApplied(t *testing.T) {
	r := startRig(t)
	_, _, attachment := r.shop()
	r.eventually("attachment in force", func() bool {
		return observed(r, resource.Attachments, attachment).GetState() == pb.Attachment_AVAILABLE
	})
	_, before := r.gateway.current()
	v, err := resource.Attachments.Modify(t.Context(), r.store, attachment, func(m *pb.Attachment) (bool, error) {
		m.DisplayName = new("x")
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r.eventually("the change is seen", func() bool { return r.reconciler.view.Load().applied.revision >= v.Revision })
	if _, after := r.gateway.current(); after != before {
		t.Errorf("%d specs applied for a display name", after-before)
	}
}

func TestObserveEndpoint(t *testing.T) {
	r := startRig(t)
	vpc := account("vpcs/prod")
	create(r, resource.Vpcs, vpc, &pb.Vpc{Name: vpc, Uid: testUID("vpc", vpc), CidrBlock: "10.0.0.0/16"})
	subnet := vpc + "/subnets/a"
	create(r, resource.Subnets, subnet, &pb.Subnet{Name: subnet, Uid: testUID("subnet", subnet), AvailabilityZone: "us-east-1a", CidrBlock: "10.0.0.0/24"})
	group, lb := account("targetGroups/g"), account("loadBalancers/l")
	create(r, resource.TargetGroups, group, &pb.TargetGroup{Name: group, Uid: testUID("tg", group), Vpc: vpc, Port: 80})
	create(r, resource.LoadBalancers, lb, &pb.LoadBalancer{Name: lb, Uid: testUID("lb", lb), Vpc: vpc,
		Nodes: []*pb.LoadBalancer_Node{{AvailabilityZone: "us-east-1a", IpAddress: "10.0.0.9"}}})
	service := account("endpointServices/s")
	create(r, resource.EndpointServices, service, &pb.EndpointService{
		Name: service, Uid: testUID("vpce-svc", service), ServiceName: "com.example.s", LoadBalancers: []string{lb},
	})
	name := vpc + "/endpoints/e"
	create(r, resource.Endpoints, name, &pb.Endpoint{
		Name: name, Uid: testUID("vpce", name), ServiceName: "com.example.s", ServiceUid: testUID("vpce-svc", service),
		NetworkInterfaces: []*pb.NetworkInterface{
			{Uid: testUID("eni", name), AvailabilityZone: "us-east-1a", IpAddress: "10.0.0.10"},
		},
	})
	r.eventually("endpoint in force", func() bool {
		return observed(r, resource.Endpoints, name).GetState() == pb.Endpoint_AVAILABLE
	})
	ni := observed(r, resource.Endpoints, name).GetNetworkInterfaces()[0]
	want := &pb.InterfaceBandwidth{LimitMbps: 20, IngressMbps: 2, IngressLimitMbps: 10, EgressLimitMbps: 20}
	if !proto.Equal(ni.GetBandwidth(), want) || ni.GetActiveFlows() != 3 {
		t.Errorf("bandwidth %v and %d flows, want %v and 3", ni.GetBandwidth(), ni.GetActiveFlows(), want)
	}
	g := r.reconciler.Gateways(t.Context())[0]
	if g.GetName() != GatewayName || g.GetState() != pb.Gateway_AVAILABLE || g.GetAppliedRevision() != g.GetDesiredRevision() {
		t.Errorf("gateway %v", g)
	}
}

// TestPurgeSparesANewResource has a cache that lags behind a removal and a new resource of the name.
func TestPurgeSparesANewResource(t *testing.T) {
	r := startRig(t)
	vpc := account("vpcs/prod")
	create(r, resource.Vpcs, vpc, &pb.Vpc{Name: vpc, Uid: testUID("vpc", vpc), CidrBlock: "10.0.0.0/16"})
	if err := r.reconciler.purge(t.Context(), doomed{kind: resource.Vpcs.Info, name: vpc}); err != nil {
		t.Error(err)
	}
	if _, err := resource.Vpcs.Get(t.Context(), r.store, vpc); err != nil {
		t.Errorf("a resource that nobody deleted is gone: %v", err)
	}
}
