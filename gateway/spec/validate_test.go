package spec

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// full is a valid spec with one of everything, made anew on every call.
func full() *Gateway {
	return &Gateway{
		Revision: 7, Zones: []string{"a"},
		Domains: []Domain{
			{
				Name: "vpcs/c", Prefixes: []netip.Prefix{prefix("10.0.0.0/16")},
				TunnelEndpoints: []TunnelEndpoint{{UID: "tep-c", Zone: "a", Port: 51820, Peers: []Peer{
					{Name: "app", Kind: Attachment, PublicKey: Key{1}, AllowedIPs: []netip.Prefix{prefix("10.0.1.4/32")}, Keepalive: 25 * time.Second},
					{Name: "site", Kind: Tunnel, PublicKey: Key{2}, AllowedIPs: []netip.Prefix{prefix("192.168.0.0/16")}},
				}}},
				Exposures: []Exposure{{Interface: "eni-1", Tunnels: true}},
			},
			{Name: "vpcs/p", Prefixes: []netip.Prefix{prefix("10.0.0.0/16")}},
		},
		Endpoints: []Endpoint{{
			Name: "endpoints/e", UID: "vpce-1", Service: "s", LoadBalancers: []string{"lb"},
			Bandwidth: Bandwidth{BaselineBPS: 1e9, MaximumBPS: 2e9}, Interfaces: []NetworkInterface{{UID: "eni-1", Zone: "a", Address: addr("10.0.1.10")}},
		}},
		LoadBalancers: []LoadBalancer{{
			Name: "lb", Domain: "vpcs/p", Nodes: []Node{{Zone: "a", Address: addr("10.0.1.200")}},
			Listeners: []Listener{{Port: 443, Protocol: TCP, TargetGroup: "tg", IdleTimeout: 350 * time.Second}},
		}},
		TargetGroups: []TargetGroup{{
			Name: "tg", Domain: "vpcs/p", FailOpen: true, CrossZone: true,
			Targets:     []Registration{{Target: Target{Address: addr("10.0.1.4"), Port: 80}, Weight: 1}},
			HealthCheck: HealthCheck{Protocol: TCP, Interval: 30 * time.Second, Timeout: 10 * time.Second, HealthyThreshold: 5, UnhealthyThreshold: 2},
		}},
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(g *Gateway)
		// want is what the error must name; empty wants none.
		want string
	}{
		{"OK full", func(*Gateway) {}, ""},
		{"OK empty", func(g *Gateway) { *g = Gateway{} }, ""},
		{"OK equal addresses in two domains", func(g *Gateway) { g.LoadBalancers[0].Nodes[0].Address = addr("10.0.1.10") }, ""},
		{"OK a site's key on two tunnel endpoints", func(g *Gateway) {
			te := g.Domains[0].TunnelEndpoints[0]
			te.UID, te.Port = "tep-d", 51821
			g.Domains[0].TunnelEndpoints = append(g.Domains[0].TunnelEndpoints, te)
		}, ""},

		{"bad domain name", func(g *Gateway) { g.Domains = append(g.Domains, Domain{}) }, `domain ""`},
		{"bad domain twice", func(g *Gateway) { g.Domains = append(g.Domains, Domain{Name: "vpcs/p"}) }, `domain "vpcs/p"`},
		{"bad exposure", func(g *Gateway) { g.Domains[0].Exposures[0].Interface = "eni-9" }, `"eni-9"`},
		{"bad exposure twice", func(g *Gateway) {
			g.Domains[0].Exposures = append(g.Domains[0].Exposures, Exposure{Interface: "eni-1"})
		}, `"eni-1"`},
		{"bad exposure at a node's address", func(g *Gateway) {
			g.LoadBalancers[0].Domain, g.LoadBalancers[0].Nodes[0].Address = "vpcs/c", addr("10.0.1.10")
		}, `node of "lb"`},

		{"bad uid", func(g *Gateway) { g.Domains[0].TunnelEndpoints[0].UID = "" }, `tunnel endpoint ""`},
		{"bad uid is a path", func(g *Gateway) { g.Domains[0].TunnelEndpoints[0].UID = "../spec" }, `tunnel endpoint "../spec"`},
		{"bad uid is long", func(g *Gateway) { g.Domains[0].TunnelEndpoints[0].UID = strings.Repeat("x", 64) }, "uid is invalid"},
		{"bad uid twice", func(g *Gateway) {
			g.Domains[1].TunnelEndpoints = []TunnelEndpoint{{UID: "tep-c", Port: 1}}
		}, `tunnel endpoint "tep-c"`},
		{"bad port", func(g *Gateway) { g.Domains[0].TunnelEndpoints[0].Port = 0 }, "port 0"},
		{"bad port twice", func(g *Gateway) {
			g.Domains[1].TunnelEndpoints = []TunnelEndpoint{{UID: "tep-d", Port: 51820}}
		}, `that of "tep-c"`},
		{"bad kind", func(g *Gateway) { g.Domains[0].TunnelEndpoints[0].Peers[0].Kind = "friend" }, `peer "app"`},
		{"bad key", func(g *Gateway) { g.Domains[0].TunnelEndpoints[0].Peers[0].PublicKey = Key{} }, `peer "app"`},
		{"bad key twice", func(g *Gateway) { g.Domains[0].TunnelEndpoints[0].Peers[1].PublicKey = Key{1} }, `that of "app"`},
		{"bad prefix", func(g *Gateway) { g.Domains[0].TunnelEndpoints[0].Peers[0].AllowedIPs[0] = netip.Prefix{} }, `peer "app"`},
		{"bad prefix with host bits", func(g *Gateway) {
			g.Domains[0].TunnelEndpoints[0].Peers[0].AllowedIPs[0] = netip.MustParsePrefix("10.0.1.4/24")
		}, "10.0.1.4/24"},
		{"bad prefix twice", func(g *Gateway) {
			g.Domains[0].TunnelEndpoints[0].Peers[1].AllowedIPs[0] = prefix("10.0.1.4/32")
		}, `that of "app"`},
		{"bad keepalive", func(g *Gateway) { g.Domains[0].TunnelEndpoints[0].Peers[0].Keepalive = time.Millisecond }, "keepalive 1ms"},
		{"bad long keepalive", func(g *Gateway) { g.Domains[0].TunnelEndpoints[0].Peers[0].Keepalive = 65536 * time.Second }, "keepalive"},

		{"bad endpoint name", func(g *Gateway) { g.Endpoints[0].Name = "" }, `endpoint ""`},
		{"bad endpoint twice", func(g *Gateway) { g.Endpoints = append(g.Endpoints, g.Endpoints[0]) }, `endpoint "endpoints/e"`},
		{"bad endpoint's load balancer", func(g *Gateway) { g.Endpoints[0].LoadBalancers = []string{"x"} }, `load balancer "x"`},
		{"bad bandwidth", func(g *Gateway) { g.Endpoints[0].Bandwidth.BaselineBPS = 63_999 }, "bandwidth 63999"},
		{"bad bandwidth range", func(g *Gateway) { g.Endpoints[0].Bandwidth.MaximumBPS = 1e8 }, "bandwidth"},
		{"bad bandwidth maximum", func(g *Gateway) { g.Endpoints[0].Bandwidth.MaximumBPS = 1e12 }, "bandwidth"},
		{"bad interface uid", func(g *Gateway) { g.Endpoints[0].Interfaces[0].UID = "a b" }, `"a b"`},
		{"bad interface zone", func(g *Gateway) { g.Endpoints[0].Interfaces[0].Zone = "" }, `"eni-1"`},
		{"bad interface twice", func(g *Gateway) {
			g.Endpoints[0].Interfaces = append(g.Endpoints[0].Interfaces, g.Endpoints[0].Interfaces[0])
		}, `"eni-1"`},

		{"bad load balancer twice", func(g *Gateway) { g.LoadBalancers = append(g.LoadBalancers, g.LoadBalancers[0]) }, `load balancer "lb"`},
		{"bad load balancer's domain", func(g *Gateway) { g.LoadBalancers[0].Domain = "x" }, `domain "x"`},
		{"bad node", func(g *Gateway) { g.LoadBalancers[0].Nodes[0].Address = addr("127.0.0.1") }, "127.0.0.1"},
		{"bad nodes in one zone", func(g *Gateway) {
			g.LoadBalancers[0].Nodes = append(g.LoadBalancers[0].Nodes, Node{Zone: "a", Address: addr("10.0.1.201")})
		}, "10.0.1.201"},
		{"bad nodes at one address", func(g *Gateway) {
			g.LoadBalancers[0].Nodes = append(g.LoadBalancers[0].Nodes, Node{Zone: "b", Address: addr("10.0.1.200")})
		}, "10.0.1.200"},
		{"bad secondary", func(g *Gateway) { g.LoadBalancers[0].Nodes[0].Secondary = []netip.Addr{addr("10.0.1.200")} }, "10.0.1.200"},
		{"bad secondaries", func(g *Gateway) { g.LoadBalancers[0].Nodes[0].Secondary = make([]netip.Addr, 8) }, "8 secondary"},
		{"bad TLS without settings", func(g *Gateway) { g.LoadBalancers[0].Listeners[0].Protocol = TLS }, "TLS settings"},
		{"bad TLS version", func(g *Gateway) { listenTLS(g, ListenerTLS{Certificates: []string{"c"}, MinimumVersion: "1.1"}) }, `"1.1"`},
		{"bad TLS without certificate", func(g *Gateway) { listenTLS(g, ListenerTLS{MinimumVersion: "1.2"}) }, "no certificate"},
		{"bad TLS certificate", func(g *Gateway) { listenTLS(g, ListenerTLS{Certificates: []string{"x"}, MinimumVersion: "1.2"}) }, `certificate "x"`},
		{"bad certificate", func(g *Gateway) { g.Certificates = []Certificate{{Name: "c", PrivateKey: "k"}} }, `certificate "c"`},
		{"bad listener port", func(g *Gateway) { g.LoadBalancers[0].Listeners[0].Port = 0 }, "listener port 0"},
		{"bad listener twice", func(g *Gateway) {
			g.LoadBalancers[0].Listeners = append(g.LoadBalancers[0].Listeners, g.LoadBalancers[0].Listeners[0])
		}, "listener port 443"},
		{"bad listener protocol", func(g *Gateway) { g.LoadBalancers[0].Listeners[0].Protocol = "SCTP" }, "SCTP"},
		{"bad listener's target group", func(g *Gateway) { g.LoadBalancers[0].Listeners[0].TargetGroup = "x" }, `target group "x"`},
		{"bad idle timeout", func(g *Gateway) { g.LoadBalancers[0].Listeners[0].IdleTimeout = 59 * time.Second }, "idle timeout 59s"},

		{"bad target group twice", func(g *Gateway) { g.TargetGroups = append(g.TargetGroups, g.TargetGroups[0]) }, `target group "tg"`},
		{"bad target group's domain", func(g *Gateway) { g.TargetGroups[0].Domain = "x" }, `domain "x"`},
		{"bad target", func(g *Gateway) { g.TargetGroups[0].Targets[0].Port = 0 }, `target group "tg"`},
		{"bad target twice", func(g *Gateway) {
			g.TargetGroups[0].Targets = append(g.TargetGroups[0].Targets, g.TargetGroups[0].Targets[0])
		}, "10.0.1.4:80"},
		{"bad check protocol", func(g *Gateway) { g.TargetGroups[0].HealthCheck.Protocol = "ICMP" }, "ICMP"},
		{"bad weight", func(g *Gateway) { g.TargetGroups[0].Targets[0].Weight = 1000 }, "weight 1000"},
		{"bad slow start", func(g *Gateway) { g.TargetGroups[0].SlowStart = 29 * time.Second }, "slow start 29s"},
		{"bad deregistration delay", func(g *Gateway) { g.TargetGroups[0].DeregistrationDelay = time.Hour + 1 }, "deregistration delay"},
		{"bad path without HTTP", func(g *Gateway) { g.TargetGroups[0].HealthCheck.Path = "/" }, "path"},
		{"bad path", func(g *Gateway) { checkHTTP(g, "/a b", 200, 200) }, `path "/a b"`},
		{"bad codes", func(g *Gateway) { checkHTTP(g, "/", 100, 200) }, "codes 100-200"},
		{"bad interval", func(g *Gateway) { g.TargetGroups[0].HealthCheck.Interval = 0 }, "interval 0s"},
		{"bad timeout", func(g *Gateway) { g.TargetGroups[0].HealthCheck.Timeout = 121 * time.Second }, "timeout 2m1s"},
		{"bad threshold", func(g *Gateway) { g.TargetGroups[0].HealthCheck.HealthyThreshold = 1 }, "thresholds 1 and 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := full()
			tt.change(g)
			err := g.Validate()
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want an error that names %q", err, tt.want)
			}
		})
	}
}

func listenTLS(g *Gateway, settings ListenerTLS) {
	g.LoadBalancers[0].Listeners[0].Protocol, g.LoadBalancers[0].Listeners[0].TLS = TLS, &settings
}

func checkHTTP(g *Gateway, path string, first, last int) {
	check := &g.TargetGroups[0].HealthCheck
	check.Protocol, check.Path, check.Codes = HTTP, path, []CodeRange{{first, last}}
}

func TestSecretIsNotShown(t *testing.T) {
	c := Certificate{Name: "c", PrivateKey: "hidden"}
	if text := fmt.Sprintf("%v %+v %#v %s", c, c, c, c); strings.Contains(text, "hidden") {
		t.Errorf("shown: %s", text)
	}
}

func TestValidateAddresses(t *testing.T) {
	for _, a := range []string{
		"0.0.0.0", "127.0.0.1", "169.254.1.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "::", "::1", "fe80::1", "fe80::1%eth0",
		"ff02::1", "::ffff:10.0.0.1", "fd00::1%1",
	} {
		g := full()
		g.Endpoints[0].Interfaces[0].Address = addr(a)
		if g.Validate() == nil {
			t.Errorf("interface at %s is valid", a)
		}
	}
}

func TestEncodingIsStable(t *testing.T) {
	g := ruled()
	data, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	var back Gateway
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if !g.Equal(&back) || g.Revision != back.Revision {
		t.Errorf("changed by its encoding:\n%+v\n%+v", g, back)
	}
	back.Revision++
	if !g.Equal(&back) {
		t.Error("Equal looks at revisions")
	}
	back.Endpoints[0].Bandwidth.MaximumBPS++
	if g.Equal(&back) {
		t.Error("Equal overlooks a change")
	}
}

func TestKey(t *testing.T) {
	k := Key{1, 2, 3}
	if back, err := ParseKey(k.String()); err != nil || back != k {
		t.Errorf("%v from its own text: %v, %v", k, back, err)
	}
	for _, text := range []string{
		"", "AQID", Key{}.String(), k.String() + "=", k.String()[:43], k.String() + "\n", " " + k.String()[1:],
		"AQIDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=", // unused bits set
		strings.Repeat("A", 44),
	} {
		if k, err := ParseKey(text); err == nil {
			t.Errorf("%q is key %v", text, k)
		}
	}
}

// FuzzValidate: no bytes make decoding or validating panic.
func FuzzValidate(f *testing.F) {
	data, err := json.Marshal(ruled())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(_ *testing.T, data []byte) {
		var g Gateway
		if json.Unmarshal(data, &g) == nil {
			_ = g.Validate()
		}
	})
}
