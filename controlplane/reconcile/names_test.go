package reconcile

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"causeway/gateway/spec"
	pb "causeway/proto/causeway/v1"
)

// hold gives a service a name and has an endpoint hold it.
func hold(service *pb.EndpointService, e *pb.Endpoint, names ...string) {
	service.PrivateDnsName = names[0]
	e.PrivateDnsEnabled, e.DnsEntries = new(true), nil
	for _, name := range names {
		e.DnsEntries = append(e.DnsEntries, &pb.DnsEntry{DnsName: name, Kind: pb.DnsEntry_PRIVATE})
	}
}

// answered gives, for each VPC, the private names that are answered there with the VPC of the endpoint.
func answered(r result) map[string]map[string]string {
	all := map[string]map[string]string{}
	for _, d := range r.spec.Domains {
		names := map[string]string{}
		for _, n := range d.Resolver.Names {
			if n.Probed {
				names[n.Name] = strings.Split(n.Endpoint, "/")[3]
			}
		}
		if len(names) > 0 {
			all[strings.TrimPrefix(d.Name, account("vpcs/"))] = names
		}
	}
	return all
}

func resolverIn(t *testing.T, r result, vpc string) *spec.Resolver {
	t.Helper()
	for _, d := range r.spec.Domains {
		if d.Name == account("vpcs/"+vpc) {
			return d.Resolver
		}
	}
	t.Fatalf("no domain %s", vpc)
	return nil
}

func TestEndpointNamesCompile(t *testing.T) {
	w := shop()
	w.subnet("vpcs/prod/subnets/b", "us-east-1b", "10.0.2.0/24")
	e, service := w.endpoints[0].Value, w.endpointServices[0].Value
	a := e.NetworkInterfaces[0]
	b := &pb.NetworkInterface{Uid: testUID("eni", "b"), AvailabilityZone: "us-east-1b", IpAddress: "10.0.2.5"}
	e.NetworkInterfaces = append(e.NetworkInterfaces, b)
	hold(service, e, "orders.example.com")
	resolver := resolverIn(t, w.compile(t), "prod")
	both := slices.Sorted(slices.Values([]string{a.GetUid(), b.GetUid()}))
	want := map[string]struct {
		interfaces []string
		probed     bool
	}{
		"REGIONAL":           {both, false},
		"ZONAL us-east-1a":   {[]string{a.GetUid()}, false},
		"ZONAL us-east-1b":   {[]string{b.GetUid()}, false},
		"orders.example.com": {both, true},
	}
	if resolver.Address.String() != "10.0.0.2" || len(resolver.Names) != len(want) {
		t.Fatalf("resolver %+v", resolver)
	}
	tail := "." + service.GetUid() + ".us-east-1.vpce.causeway.internal"
	for _, n := range resolver.Names {
		name := n.Name
		if label, ok := strings.CutSuffix(n.Name, tail); ok {
			name = "REGIONAL"
			if zone := strings.TrimPrefix(label[31:], "-"); zone != "" {
				name = "ZONAL " + zone
			}
		}
		if w := want[name]; !slices.Equal(n.Interfaces, w.interfaces) || n.Probed != w.probed || n.Endpoint != e.GetName() {
			t.Errorf("%s is answered by %+v, want %+v", name, n, w)
		}
	}
	if names := resolverIn(t, w.compile(t), "partner").Names; len(names) != 0 {
		t.Errorf("the provider's VPC answers %v", names)
	}
}

func TestOnlyEndpointsInUseHaveNames(t *testing.T) {
	for _, state := range []pb.Endpoint_State{pb.Endpoint_PENDING_ACCEPTANCE, pb.Endpoint_REJECTED, pb.Endpoint_EXPIRED, pb.Endpoint_DELETING} {
		w := shop()
		hold(w.endpointServices[0].Value, w.endpoints[0].Value, "orders.example.com")
		w.endpoints[0].Value.State = state
		if names := resolverIn(t, w.compile(t), "prod").Names; len(names) != 0 {
			t.Errorf("%v: %v", state, names)
		}
	}
}

func TestPrivateNamesAreThoseOfTheService(t *testing.T) {
	w := shop()
	service, e := w.endpointServices[0].Value, w.endpoints[0].Value
	hold(service, e, "old.example.com", "orders.example.com")
	service.PrivateDnsName = "orders.example.com"
	if diff := cmp.Diff(map[string]map[string]string{"prod": {"orders.example.com": "prod"}}, answered(w.compile(t))); diff != "" {
		t.Error(diff)
	}
	service.Offering, service.PublicDnsNames = pb.EndpointService_PLATFORM, []string{"old.example.com"}
	if diff := cmp.Diff(map[string]map[string]string{"prod": {"old.example.com": "prod"}}, answered(w.compile(t))); diff != "" {
		t.Error(diff)
	}
}

func TestPrivateNamesAcrossPeerings(t *testing.T) {
	base := func() *world {
		w := &world{}
		for i, id := range []string{"a", "b", "c"} {
			prefix := "10." + string(rune('1'+i)) + "."
			w.vpc(id, prefix+"0.0/16")
			service := w.publish(id, id, "us-east-1a", prefix+"0.5")
			hold(service, w.endpoint("vpcs/"+id+"/endpoints/e", service, "us-east-1a", prefix+"0.6"), id+".example.com")
		}
		return w
	}
	peer := func(w *world, id, vpc, other string, near, far pb.Peering_Access) {
		p := w.peering(id, vpc, other)
		p.DnsResolution, p.PeerDnsResolution = near, far
	}
	both := func(w *world, id string) {
		peer(w, id, id[:1], id[1:], pb.Peering_ALLOWED, pb.Peering_ALLOWED)
	}
	// rename has the endpoint of a VPC hold a name that others hold in theirs.
	rename := func(w *world, vpc string) {
		for _, v := range w.endpoints {
			if strings.Contains(v.Name, "/"+vpc+"/") {
				v.Value.DnsEntries[0].DnsName = "same.example.com"
			}
		}
		for _, v := range w.endpointServices {
			if strings.HasSuffix(v.Name, "/"+vpc) {
				v.Value.PrivateDnsName = "same.example.com"
			}
		}
	}
	type names = map[string]string
	own := map[string]names{"a": {"a.example.com": "a"}, "b": {"b.example.com": "b"}, "c": {"c.example.com": "c"}}
	tests := []struct {
		name   string
		change func(*world)
		want   map[string]names
	}{
		{"no word", func(w *world) { w.peering("ab", "a", "b") }, own},
		{"one side", func(w *world) { peer(w, "ab", "a", "b", pb.Peering_ALLOWED, pb.Peering_DENIED) }, own},
		{"other side", func(w *world) { peer(w, "ab", "a", "b", pb.Peering_DENIED, pb.Peering_ALLOWED) }, own},
		{"both, not transitive", func(w *world) { both(w, "ab"); both(w, "bc") }, map[string]names{
			"a": {"a.example.com": "a", "b.example.com": "b"},
			"b": {"a.example.com": "a", "b.example.com": "b", "c.example.com": "c"},
			"c": {"b.example.com": "b", "c.example.com": "c"},
		}},
		{"own before peered", func(w *world) { both(w, "ab"); rename(w, "a"); rename(w, "b") }, map[string]names{
			"a": {"same.example.com": "a"}, "b": {"same.example.com": "b"}, "c": {"c.example.com": "c"},
		}},
		{"older before newer", func(w *world) { both(w, "cb"); both(w, "ab"); rename(w, "a"); rename(w, "c") }, map[string]names{
			"a": {"same.example.com": "a", "b.example.com": "b"},
			"b": {"same.example.com": "c", "b.example.com": "b"},
			"c": {"same.example.com": "c", "b.example.com": "b"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := base()
			tt.change(w)
			r := w.compile(t)
			if diff := cmp.Diff(tt.want, answered(r)); diff != "" {
				t.Errorf("private names by VPC (-want +got):\n%s", diff)
			}
			// The endpoint's own names are answered wherever it is reachable.
			for _, d := range r.spec.Domains {
				seen := map[string]bool{}
				for _, x := range d.Exposures {
					seen[x.Interface] = true
				}
				for _, n := range d.Resolver.Names {
					if !n.Probed {
						delete(seen, n.Interfaces[0])
					}
				}
				if len(seen) > 0 {
					t.Errorf("%s: interfaces without a name: %v", d.Name, slices.Collect(maps.Keys(seen)))
				}
			}
		})
	}
}

func TestObserveNames(t *testing.T) {
	w := shop()
	e := w.endpoints[0].Value
	hold(w.endpointServices[0].Value, e, "orders.example.com", "gone.example.com")
	w.endpointServices[0].Value.PrivateDnsName = "orders.example.com"
	compiled := w.compile(t)
	r := &Reconciler{}
	regional := resolverIn(t, compiled, "prod").Names
	show := func(c condition, status ...spec.NameStatus) (shown []string) {
		index := &statusIndex{names: map[nameIn]*spec.NameStatus{}}
		for n := range status {
			index.names[nameIn{status[n].Domain, status[n].Name}] = &status[n]
		}
		r.status.Store(index)
		m := &pb.Endpoint{Name: e.GetName(), DnsEntries: []*pb.DnsEntry{
			{DnsName: regional[len(regional)-1].Name, Kind: pb.DnsEntry_REGIONAL}, {DnsName: "x-us-east-1b.test", Kind: pb.DnsEntry_ZONAL},
			{DnsName: "orders.example.com", Kind: pb.DnsEntry_PRIVATE}, {DnsName: "gone.example.com", Kind: pb.DnsEntry_PRIVATE},
		}}
		r.observeNames(m, c)
		for _, d := range m.GetDnsEntries() {
			if d.GetPublished() {
				shown = append(shown, "published")
			} else {
				shown = append(shown, d.GetStateMessage())
			}
		}
		return shown
	}
	const notYet = "the endpoint is not in force"
	r.cfg.Now = func() time.Time { return time.Time{} }
	r.view.Store(&view{})
	if got := show(condition{state: statePending}); !slices.Equal(got, []string{notYet, notYet, notYet, notYet}) {
		t.Errorf("before it is in force: %q", got)
	}
	r.view.Store(&view{latest: &compiled, applied: &compiled})
	vpc := account("vpcs/prod")
	for why, status := range map[string][]spec.NameStatus{
		"the name waits for a connection through the endpoint to succeed": nil,
		"no target answers": {{Domain: vpc, Name: "orders.example.com", Health: spec.Health{Reason: "no target answers"}}},
		"published":         {{Domain: vpc, Name: "orders.example.com", Health: spec.Health{Serving: true}}},
	} {
		want := []string{"published", "no gateway serves the zone", why, "the service does not have the name any more"}
		if got := show(condition{state: stateAvailable}, status...); !slices.Equal(got, want) {
			t.Errorf("shown %q, want %q", got, want)
		}
	}
}

func TestResolverCompiles(t *testing.T) {
	w := shop()
	w.inbound("in", "10.0.1.9")
	w.forward("corp", "corp.example.com", "192.168.7.53", "10.0.1.4")
	w.forward("all", ".", "192.168.7.54")
	r := w.compile(t)
	got := resolverIn(t, r, "prod")
	if len(got.Inbound) != 1 || got.Inbound[0].Address.String() != "10.0.1.9" || got.Inbound[0].Zone != "us-east-1a" {
		t.Errorf("inbound %+v", got.Inbound)
	}
	if len(got.Rules) != 2 || got.Rules[0].Domain != "." || len(got.Rules[1].Targets) != 2 || got.Rules[1].Targets[0].String() != "192.168.7.53:53" {
		t.Errorf("rules %+v", got.Rules)
	}
	for name, problem := range r.objects {
		if problem != "" {
			t.Errorf("%s left out: %s", name, problem)
		}
	}
}

// TestStoredResolverIsChecked has what the API refuses in the store.
func TestStoredResolverIsChecked(t *testing.T) {
	tests := map[string]struct {
		change func(*world)
		left   string
	}{
		"the VPC's own server": {func(w *world) { w.forward("bad", "x.com", "10.0.0.2") }, "is the VPC's own"},
		"an inbound address":   {func(w *world) { w.inbound("in", "10.0.1.9"); w.forward("bad", "x.com", "10.0.1.9") }, "is the VPC's own"},
		"loopback":             {func(w *world) { w.forward("bad", "x.com", "127.0.0.1") }, "no address of a host"},
		"no server":            {func(w *world) { w.forward("bad", "x.com") }, "0 servers"},
		"seven servers": {func(w *world) {
			w.forward("bad", "x.com", "1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4", "1.1.1.5", "1.1.1.6", "1.1.1.7")
		}, "7 servers"},
		"a server twice":       {func(w *world) { w.forward("bad", "x.com", "1.1.1.1", "1.1.1.1") }, "twice"},
		"no domain":            {func(w *world) { w.forward("bad", "X..com", "1.1.1.1") }, "domain_name"},
		"a domain twice":       {func(w *world) { w.forward("a", "x.com", "1.1.1.1"); w.forward("bad", "x.com", "1.1.1.2") }, "another rule"},
		"a taken address":      {func(w *world) { w.inbound("bad", "10.0.1.5") }, "in use"},
		"the server's address": {func(w *world) { w.inbound("bad", "10.0.0.2") }, "in use"},
		"an address elsewhere": {func(w *world) { w.inbound("bad", "10.9.0.9") }, "outside"},
		"an uid of an endpoint's": {func(w *world) {
			w.inbound("bad", "10.0.1.9").Addresses[0].Uid = w.endpoints[0].Value.NetworkInterfaces[0].Uid
		}, "uid"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := shop()
			tt.change(w)
			r := w.compile(t)
			problem := r.objects[account("vpcs/prod/resolverRules/bad")] + r.objects[account("vpcs/prod/resolverEndpoints/bad")]
			if !strings.Contains(problem, tt.left) {
				t.Errorf("left out for %q, want %q", problem, tt.left)
			}
		})
	}
}
