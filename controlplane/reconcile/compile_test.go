package reconcile

import (
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"causeway/controlplane/store"
	"causeway/gateway/spec"
	"causeway/gateway/spec/spectest"
	pb "causeway/proto/causeway/v1"
)

var update = flag.Bool("update", false, "write golden files")

func TestCompileGolden(t *testing.T) {
	w := shop()
	w.vpc("far", "10.7.0.0/16")
	w.subnet("vpcs/far/subnets/a", "us-east-1a", "10.7.1.0/24")
	w.attachment("vpcs/far/subnets/a/attachments/app", "10.7.1.4")
	w.peering("prod-far", "prod", "far").TunnelAccess = pb.Peering_DENIED
	w.vpn("office", "far", []string{"192.168.8.0/24", "192.168.7.0/24"}, "us-east-1a", "us-east-1b")
	r := w.compile(t)
	for name, problem := range r.objects {
		if problem != "" {
			t.Errorf("%s left out: %s", name, problem)
		}
	}
	got, err := json.MarshalIndent(r.spec, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/spec.json"
	if *update {
		if err := os.WriteFile(golden, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.TrimSpace(string(want)), string(got)); diff != "" {
		t.Errorf("spec differs from %s (-want +got), run with -update to accept:\n%s", golden, diff)
	}
}

func TestCompileIsDeterministic(t *testing.T) {
	first := shop().compile(t)
	for range 20 {
		if again := shop().compile(t); !first.spec.Equal(&again.spec) {
			t.Fatalf("two compilations of one input differ:\n%s", cmp.Diff(first.spec, again.spec))
		}
	}
}

func TestTunnelEndpoints(t *testing.T) {
	w := shop()
	w.subnet("vpcs/prod/subnets/b", "us-east-1b", "10.0.2.0/24")
	w.attachment("vpcs/prod/subnets/b/attachments/app", "10.0.2.4")
	w.vpn("two-zones", "prod", []string{"192.168.7.0/24"}, "us-east-1a", "us-east-1b")
	w.vpn("one-zone", "partner", []string{"192.168.7.0/24"}, "us-east-1a", "us-east-1a")
	var got []string
	for _, a := range compile(w.input, testOptions).missing {
		got = append(got, strings.TrimPrefix(a.name(), "accounts/default/vpcs/")+" "+portClaimKey(a.port))
	}
	want := []string{
		"partner/tunnelEndpoints/us-east-1a-0 local/51820",
		"partner/tunnelEndpoints/us-east-1a-1 local/51821",
		"prod/tunnelEndpoints/us-east-1a-0 local/51822",
		"prod/tunnelEndpoints/us-east-1b-0 local/51823",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("missing tunnel endpoints (-want +got):\n%s", diff)
	}
	r := w.compile(t)
	if len(r.missing) != 0 || len(r.unused) != 0 {
		t.Errorf("after storing: missing %v, unused %v", r.missing, r.unused)
	}
	for _, connection := range []string{"two-zones", "one-zone"} {
		a := r.peers[account("vpnConnections/"+connection+"/tunnels/1")].tunnelEndpoint
		b := r.peers[account("vpnConnections/"+connection+"/tunnels/2")].tunnelEndpoint
		if a == "" || b == "" || a == b {
			t.Errorf("tunnels of %s end on %q and %q, want two", connection, a, b)
		}
	}
}

func TestTunnelEndpointsKeepTheirPorts(t *testing.T) {
	w := shop()
	before := w.compile(t)
	w.vpc("a-first", "10.0.0.0/16")
	w.subnet("vpcs/a-first/subnets/a", "us-east-1a", "10.0.1.0/24")
	w.attachment("vpcs/a-first/subnets/a/attachments/app", "10.0.1.4")
	after := w.compile(t)
	ports := map[string]uint16{}
	for _, d := range after.spec.Domains {
		for _, te := range d.TunnelEndpoints {
			ports[te.UID] = te.Port
		}
	}
	for _, d := range before.spec.Domains {
		for _, te := range d.TunnelEndpoints {
			if ports[te.UID] != te.Port {
				t.Errorf("tunnel endpoint %s moved from port %d to %d", te.UID, te.Port, ports[te.UID])
			}
		}
	}
}

func TestTunnelEndpointUnusedAndPortLost(t *testing.T) {
	w := shop()
	w.compile(t)
	w.attachments = slices.DeleteFunc(w.attachments, func(v store.Versioned[*pb.Attachment]) bool { return strings.Contains(v.Name, "/prod/") })
	lost := account("vpcs/partner/tunnelEndpoints/us-east-1a-0")
	delete(w.ports, lost)
	r := compile(w.input, testOptions)
	if want := []string{account("vpcs/prod/tunnelEndpoints/us-east-1a-0")}; !slices.Equal(r.unused, want) {
		t.Errorf("unused %v, want %v", r.unused, want)
	}
	if len(r.missing) != 1 || r.missing[0].name() != lost || !r.missing[0].stored {
		t.Errorf("missing %+v, want the stored one that lost its port", r.missing)
	}
}

func TestPortsExhausted(t *testing.T) {
	w := shop()
	opts := testOptions
	opts.ports = PortRange{First: 7, Last: 7}
	r := compile(w.input, opts)
	if len(r.missing) != 1 {
		t.Fatalf("missing %v, want one", r.missing)
	}
	failed := account("vpcs/prod/subnets/a/attachments/app")
	if !strings.Contains(r.objects[failed], "no UDP port is free") {
		t.Errorf("%s: %q", failed, r.objects[failed])
	}
	if problem := r.objects[account("vpcs/partner/subnets/a/attachments/web")]; problem != "" {
		t.Errorf("the one that got the port is left out: %s", problem)
	}
}

func TestPeeringExposures(t *testing.T) {
	base := func() *world {
		w := &world{}
		for i, id := range []string{"a", "b", "c"} {
			prefix := "10." + string(rune('1'+i)) + "."
			w.vpc(id, prefix+"0.0/16")
			service := w.publish(id, id, "us-east-1a", prefix+"0.5")
			w.endpoint("vpcs/"+id+"/endpoints/e", service, "us-east-1a", prefix+"0.6")
		}
		return w
	}
	seen := func(r result, vpc string) map[string]string {
		how := map[string]string{}
		for _, d := range r.spec.Domains {
			if d.Name != account("vpcs/"+vpc) {
				continue
			}
			for _, x := range d.Exposures {
				for _, id := range []string{"a", "b", "c"} {
					if x.Interface == testUID("eni", account("vpcs/"+id+"/endpoints/e")+"us-east-1a") {
						how[id] = strings.TrimPrefix(x.Via, account("peerings/")) + map[bool]string{true: "+tunnels"}[x.Tunnels]
					}
				}
			}
		}
		return how
	}
	tests := []struct {
		name   string
		change func(*world)
		want   map[string]map[string]string
	}{
		{"none", func(*world) {}, map[string]map[string]string{
			"a": {"a": "+tunnels"}, "b": {"b": "+tunnels"}, "c": {"c": "+tunnels"},
		}},
		{"chain is not transitive", func(w *world) { w.peering("ab", "a", "b"); w.peering("bc", "b", "c") },
			map[string]map[string]string{
				"a": {"a": "+tunnels", "b": "ab+tunnels"},
				"b": {"a": "ab+tunnels", "b": "+tunnels", "c": "bc+tunnels"},
				"c": {"b": "bc+tunnels", "c": "+tunnels"},
			}},
		{"requester denies tunnels", func(w *world) { w.peering("ab", "a", "b").TunnelAccess = pb.Peering_DENIED },
			map[string]map[string]string{
				"a": {"a": "+tunnels", "b": "ab+tunnels"},
				"b": {"a": "ab", "b": "+tunnels"},
			}},
		{"peer denies tunnels", func(w *world) { w.peering("ab", "a", "b").PeerTunnelAccess = pb.Peering_DENIED },
			map[string]map[string]string{
				"a": {"a": "+tunnels", "b": "ab"},
				"b": {"a": "ab+tunnels", "b": "+tunnels"},
			}},
		{"not accepted", func(w *world) { w.peering("ab", "a", "b").State = pb.Peering_PENDING_ACCEPTANCE },
			map[string]map[string]string{"a": {"a": "+tunnels"}, "b": {"b": "+tunnels"}}},
		{"being deleted", func(w *world) { w.peering("ab", "a", "b").State = pb.Peering_DELETING },
			map[string]map[string]string{"a": {"a": "+tunnels"}, "b": {"b": "+tunnels"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := base()
			tt.change(w)
			r := w.compile(t)
			for vpc, want := range tt.want {
				if diff := cmp.Diff(want, seen(r, vpc)); diff != "" {
					t.Errorf("exposures in %s (-want +got):\n%s", vpc, diff)
				}
			}
		})
	}
}

func TestRoutes(t *testing.T) {
	w := shop()
	w.vpc("far", "10.7.0.0/16")
	w.peering("p", "prod", "far").PeerTunnelAccess = pb.Peering_DENIED
	w.vpn("office", "prod", []string{"192.168.7.0/24"}, "us-east-1a", "us-east-1b")
	r := w.compile(t)
	tests := []struct{ peer, want string }{
		{"vpcs/prod/subnets/a/attachments/app", "10.0.0.0/16 10.7.0.0/16"},
		{"vpnConnections/office/tunnels/1", "10.0.0.0/16"},
		{"vpcs/partner/subnets/a/attachments/web", "10.0.0.0/16"},
	}
	for _, tt := range tests {
		if got := prefixes(r.peers[account(tt.peer)].routes); got != tt.want {
			t.Errorf("%s routes %q, want %q", tt.peer, got, tt.want)
		}
	}
}

func prefixes(list []netip.Prefix) string {
	var texts []string
	for _, p := range list {
		texts = append(texts, p.String())
	}
	return strings.Join(texts, " ")
}

// TestQuarantine breaks one object at a time and wants it left out with a reason, and what does not
// depend on it in force.
func TestQuarantine(t *testing.T) {
	tests := []struct {
		name         string
		harm         func(*world)
		object, want string
	}{
		{"vpc without range", func(w *world) { w.vpcs[0].Value.CidrBlock = "" }, "vpcs/partner", "cidr_block"},
		{"vpc of another family", func(w *world) { w.vpcs[0].Value.CidrBlock = "fd00::/16" }, "vpcs/partner", "IPv4"},
		{"vpc with host bits", func(w *world) { w.vpcs[0].Value.CidrBlock = "10.0.0.1/16" }, "vpcs/partner", "canonical"},
		{"subnet outside", func(w *world) { w.subnets[0].Value.CidrBlock = "10.9.0.0/24" }, "vpcs/partner/subnets/a", "outside"},
		{"subnet in no zone", func(w *world) { w.subnets[0].Value.AvailabilityZone = "eu-1" }, "vpcs/partner/subnets/a", "no gateway serves"},
		{"attachment of low order", func(w *world) {
			w.attachments[0].Value.PublicKey = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
		}, "vpcs/partner/subnets/a/attachments/web", "low order"},
		{"attachment with the key of another", func(w *world) {
			w.attachment("vpcs/partner/subnets/a/attachments/zap", "10.0.1.9").PublicKey = w.attachments[0].Value.PublicKey
		}, "vpcs/partner/subnets/a/attachments/zap", "public key is in use"},
		{"attachment without key", func(w *world) { w.attachments[0].Value.PublicKey = "x" }, "vpcs/partner/subnets/a/attachments/web", "public key"},
		{"attachment address taken", func(w *world) { w.attachments[0].Value.IpAddress = "10.0.1.5" }, "vpcs/partner/subnets/a/attachments/web", "in use"},
		{"attachment outside", func(w *world) { w.attachments[0].Value.IpAddress = "8.8.8.8" }, "vpcs/partner/subnets/a/attachments/web", "outside"},
		{"group without port", func(w *world) { w.targetGroups[0].Value.Port = 0 }, "targetGroups/orders", "port"},
		{"group with a bad check", func(w *world) {
			w.targetGroups[0].Value.HealthCheck = &pb.HealthCheck{Interval: durationpb.New(0)}
		}, "targetGroups/orders", "interval"},
		{"group of no vpc", func(w *world) { w.targetGroups[0].Value.Vpc = "x" }, "targetGroups/orders", `VPC "x"`},
		{"target is no address", func(w *world) { w.targets[0].Value.Targets[0].IpAddress = "localhost" }, "targetGroups/orders", "localhost"},
		{"listener idles forever", func(w *world) { w.listeners[0].Value.IdleTimeout = durationpb.New(0) }, "loadBalancers/orders/listeners/tcp-443", "idle_timeout"},
		{"listener of no group", func(w *world) { w.listeners[0].Value.TargetGroup = "" }, "loadBalancers/orders/listeners/tcp-443", "target group"},
		{"listener of no protocol", func(w *world) { w.listeners[0].Value.Protocol = 9 }, "loadBalancers/orders/listeners/tcp-443", "protocol"},
		{"balancer in no zone", func(w *world) { w.loadBalancers[0].Value.Nodes = nil }, "loadBalancers/orders", "zones"},
		{"balancer outside", func(w *world) { w.loadBalancers[0].Value.Nodes[0].IpAddress = "127.0.0.1" }, "loadBalancers/orders", "no address of a host"},
		{"service of nothing", func(w *world) { w.endpointServices[0].Value.LoadBalancers = nil }, "endpointServices/orders", "no load balancer"},
		{"endpoint of no service", func(w *world) { w.endpoints[0].Value.ServiceUid, w.endpoints[0].Value.ServiceName = "", "vpce-svc-0" }, "vpcs/prod/endpoints/orders", "endpoint service"},
		{"endpoint without interfaces", func(w *world) { w.endpoints[0].Value.NetworkInterfaces = nil }, "vpcs/prod/endpoints/orders", "zones"},
		{"endpoint with a path for a uid", func(w *world) { w.endpoints[0].Value.NetworkInterfaces[0].Uid = "../x" }, "vpcs/prod/endpoints/orders", "uid"},
		{"endpoint without bounds", func(w *world) { w.endpoints[0].Value.Bandwidth = &pb.Bandwidth{BaselineMbps: -1} }, "vpcs/prod/endpoints/orders", "bandwidth"},
		{"endpoint at an attachment", func(w *world) { w.endpoints[0].Value.NetworkInterfaces[0].IpAddress = "10.1.0.0" }, "vpcs/prod/endpoints/orders", "outside"},
		{"endpoint in no subnet", func(w *world) { w.endpoints[0].Value.NetworkInterfaces[0].IpAddress = "10.0.9.5" }, "vpcs/prod/endpoints/orders", "no subnet"},
		{"endpoint of no group", func(w *world) { w.endpoints[0].Value.SecurityGroups = []string{"x"} }, "vpcs/prod/endpoints/orders", `security group "x" is not in force`},
		{"endpoint of another vpc's group", func(w *world) {
			w.endpoints[0].Value.SecurityGroups = []string{w.group("partner", "g").GetName()}
		}, "vpcs/prod/endpoints/orders", "is not in force"},
		{"endpoint with a policy that cannot be read", func(w *world) { w.endpoints[0].Value.Policy = "{}" }, "vpcs/prod/endpoints/orders", "policy: "},
		{"balancer in no subnet", func(w *world) { w.loadBalancers[0].Value.Nodes[0].IpAddress = "10.0.9.5" }, "loadBalancers/orders", "no subnet"},
		{"subnet of no network acl", func(w *world) { w.subnets[0].Value.NetworkAcl = "x" }, "vpcs/partner/subnets/a", `network ACL "x"`},
		{"subnet of another vpc's network acl", func(w *world) {
			w.subnets[0].Value.NetworkAcl = w.acl("prod", "n").GetName()
		}, "vpcs/partner/subnets/a", "is not in force"},
		{"subnet with a default network acl that goes", func(w *world) { w.acl("partner", "default").State = pb.NetworkAcl_DELETING }, "vpcs/partner/subnets/a", "is not in force"},
		{"attachment of no group", func(w *world) { w.attachments[0].Value.SecurityGroups = []string{"x"} }, "vpcs/partner/subnets/a/attachments/web", "is not in force"},
		{"peering of overlapping vpcs", func(w *world) { w.peering("p", "prod", "partner") }, "peerings/p", "overlaps"},
		{"peering with itself", func(w *world) { w.peering("p", "prod", "prod") }, "peerings/p", "overlaps"},
		{"peering with none", func(w *world) { w.peering("p", "prod", "gone") }, "peerings/p", "not in force"},
		{"vpn over the vpc", func(w *world) { w.vpn("v", "prod", []string{"10.0.0.0/8"}, "us-east-1a") }, "vpnConnections/v", "overlaps"},
		{"vpn without tunnels", func(w *world) { w.vpn("v", "prod", []string{"10.9.0.0/16"}) }, "vpnConnections/v", "no tunnels"},
		{"vpn with the route of another", func(w *world) {
			w.vpn("a", "prod", []string{"10.9.0.0/16"}, "us-east-1a")
			w.vpn("v", "prod", []string{"10.9.0.0/16"}, "us-east-1a")
		}, "vpnConnections/v", "prefix 10.9.0.0/16 is in use"},
		{"vpn in no zone", func(w *world) { w.vpn("v", "prod", []string{"10.9.0.0/16"}, "eu-1") }, "vpnConnections/v", "no gateway serves"},
		{"vpn of no site", func(w *world) {
			w.vpn("v", "prod", []string{"10.9.0.0/16"}, "us-east-1a").CustomerGateway = "x"
		}, "vpnConnections/v", "customer gateway"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := shop()
			w.vpc("zoo", "10.8.0.0/16")
			w.subnet("vpcs/zoo/subnets/a", "us-east-1a", "10.8.1.0/24")
			w.attachment("vpcs/zoo/subnets/a/attachments/app", "10.8.1.4")
			tt.harm(w)
			r := w.compile(t)
			if got := r.objects[account(tt.object)]; !strings.Contains(got, tt.want) {
				t.Errorf("%s left out with %q, want %q", tt.object, got, tt.want)
			}
			if got := r.objects[account("vpcs/zoo/subnets/a/attachments/app")]; got != "" || r.peers[account("vpcs/zoo/subnets/a/attachments/app")].tunnelEndpoint == "" {
				t.Errorf("an object that depends on nothing broken is left out: %q", got)
			}
		})
	}
}

func TestOlderPeeringStays(t *testing.T) {
	w := &world{}
	w.vpc("hub", "10.1.0.0/16")
	w.vpc("old", "10.2.0.0/16")
	w.vpc("new", "10.2.0.0/16")
	w.peering("z-old", "hub", "old")
	w.peering("a-new", "hub", "new")
	r := w.compile(t)
	if got := r.objects[account("peerings/z-old")]; got != "" {
		t.Errorf("the older peering is left out: %s", got)
	}
	if got := r.objects[account("peerings/a-new")]; !strings.Contains(got, "over another peering") {
		t.Errorf("the later peering: %q", got)
	}
}

func TestDeletingIsLeftOut(t *testing.T) {
	w := shop()
	w.endpoints[0].Value.State = pb.Endpoint_DELETING
	w.vpcs[1].Value.State = pb.Vpc_DELETING
	r := w.compile(t)
	if len(r.spec.Endpoints) != 0 || len(r.spec.Domains) != 1 || r.spec.Domains[0].Name != account("vpcs/partner") {
		t.Errorf("spec still has what is being deleted: %+v", r.spec)
	}
	var got []string
	for _, d := range r.deleting {
		got = append(got, d.name)
	}
	if want := []string{account("vpcs/prod/endpoints/orders"), account("vpcs/prod")}; !slices.Equal(got, want) {
		t.Errorf("to be removed %v, want dependents first: %v", got, want)
	}
}

func TestCompileTargetGroup(t *testing.T) {
	w := shop()
	group := account("targetGroups/orders")
	for _, v := range w.targetGroups {
		if v.Name != group {
			continue
		}
		m := v.Value
		m.HealthCheck = &pb.HealthCheck{Protocol: pb.HealthCheck_HTTPS, Path: "/up", Matcher: "200,300-399"}
		m.FailOpen, m.CrossZone, m.Stickiness = new(false), new(true), pb.TargetGroup_SOURCE_IP
		m.SlowStart, m.DeregistrationDelay = durationpb.New(time.Minute), durationpb.New(0)
		m.ConnectionTermination, m.UnhealthyConnectionTermination = new(true), new(false)
		m.ProxyProtocolV2, m.ProxyProtocolV2HealthChecks = new(true), new(true)
	}
	inside := strings.TrimSuffix(w.subnets[0].Value.GetCidrBlock(), "0/24") + "77"
	vpc := w.subnets[0].Name[:strings.Index(w.subnets[0].Name, "/subnets/")]
	w.targetGroups[0].Value.Vpc = vpc
	w.targets[0].Value.Targets = []*pb.Target{{IpAddress: inside, Weight: new(int32(0))}, {IpAddress: "192.168.0.9", Weight: new(int32(7))}}
	want := spec.TargetGroup{
		Name: group, Domain: vpc,
		HealthCheck: spec.HealthCheck{
			Protocol: spec.HTTPS, Interval: 30e9, Timeout: 10e9, HealthyThreshold: 5, UnhealthyThreshold: 2,
			Path: "/up", Codes: []spec.CodeRange{{First: 200, Last: 200}, {First: 300, Last: 399}},
		},
		CrossZone: true, Sticky: true, SlowStart: time.Minute, DeregistrationReset: true, ProxyProtocol: true, ProxyProtocolChecks: true,
		Targets: []spec.Registration{
			{Target: spec.Target{Address: netip.MustParseAddr(inside), Port: 8080}, Zone: w.subnets[0].Value.GetAvailabilityZone()},
			{Target: spec.Target{Address: netip.MustParseAddr("192.168.0.9"), Port: 8080}, Weight: 7},
		},
	}
	got := w.compile(t).spec.TargetGroups[0]
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("target group (-want +got):\n%s", diff)
	}
}

func TestCompileTLSListener(t *testing.T) {
	w := shop()
	chain, key := spectest.Certificate(t, "orders.example.com")
	good, broken := account("certificates/good"), account("certificates/broken")
	put(w, &w.certificates, good, &pb.Certificate{Name: good, CertificateChain: chain, PrivateKey: key})
	put(w, &w.certificates, broken, &pb.Certificate{Name: broken, CertificateChain: chain, PrivateKey: "broken"})
	l := w.listeners[0].Value
	l.Protocol, l.Certificates, l.AlpnProtocols = pb.Listener_TLS, []string{good}, []string{"h2"}
	r := w.compile(t)
	if err := r.spec.Validate(); err != nil {
		t.Fatal(err)
	}
	want := &spec.ListenerTLS{Certificates: []string{good}, MinimumVersion: "1.2", ALPN: []string{"h2"}}
	if diff := cmp.Diff(want, r.spec.LoadBalancers[0].Listeners[0].TLS); diff != "" {
		t.Errorf("TLS settings (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]spec.Certificate{{Name: good, Chain: chain, PrivateKey: spec.Secret(key)}}, r.spec.Certificates); diff != "" {
		t.Errorf("certificates (-want +got):\n%s", diff)
	}
	l.Certificates = []string{broken, good}
	r = w.compile(t)
	if diff := cmp.Diff(want, r.spec.LoadBalancers[0].Listeners[0].TLS); diff != "" || r.objects[w.listeners[0].Name] != "" {
		t.Errorf("with a broken certificate beside a good one %q (-want +got):\n%s", r.objects[w.listeners[0].Name], diff)
	}
	if got := r.objects[broken]; got != "does not open" {
		t.Errorf("the broken certificate says %q", got)
	}
	for _, names := range [][]string{{broken}, {account("certificates/absent")}, nil} {
		l.Certificates = names
		r = w.compile(t)
		if got := r.objects[w.listeners[0].Name]; got == "" || len(r.spec.LoadBalancers[0].Listeners) > 0 {
			t.Errorf("listener with certificates %q: left out with %q", names, got)
		}
		if err := r.spec.Validate(); err != nil {
			t.Error(err)
		}
	}
}

func TestDefaultsOfServices(t *testing.T) {
	r := shop().compile(t)
	want := spec.TargetGroup{
		Name: account("targetGroups/orders"), Domain: account("vpcs/partner"), FailOpen: true, DeregistrationDelay: 300 * time.Second, UnhealthyReset: true,
		HealthCheck: spec.HealthCheck{Protocol: spec.TCP, Interval: 30e9, Timeout: 10e9, HealthyThreshold: 5, UnhealthyThreshold: 2},
		Targets: []spec.Registration{
			{Target: spec.Target{Address: netip.MustParseAddr("10.9.9.8"), Port: 8080}, Weight: 1},
			{Target: spec.Target{Address: netip.MustParseAddr("10.9.9.9"), Port: 81}, Weight: 1},
		},
	}
	if diff := cmp.Diff(want, r.spec.TargetGroups[0], cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("target group (-want +got):\n%s", diff)
	}
	if got, want := r.spec.Endpoints[0].Bandwidth, (spec.Bandwidth{BaselineBPS: 10e9, MaximumBPS: 40e9}); got != want {
		t.Errorf("bandwidth %+v, want %+v", got, want)
	}
}
