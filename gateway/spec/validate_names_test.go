package spec

import (
	"net/netip"
	"strings"
	"testing"
)

// withResolver is full with one of everything that a resolver has.
func withResolver() *Gateway {
	g := full()
	g.Subnets = []Subnet{{Name: "subnets/a"}}
	g.Domains[0].Resolver = &Resolver{
		Address: addr("10.0.0.2"),
		Inbound: []InboundAddress{{UID: "eni-53", Zone: "a", Address: addr("10.0.1.53"), Subnet: "subnets/a"}},
		Names: []DNSName{
			{Name: "*.data.example", Endpoint: "endpoints/e", Interfaces: []string{"eni-1"}, Probed: true},
			{Name: "_srv.kinesis.us-east-1.example", Endpoint: "endpoints/e", Interfaces: []string{"eni-1"}},
		},
		Rules: []ForwardRule{
			{Domain: ".", Targets: servers("192.168.1.53:53", "192.168.2.53:5353")},
			{Domain: "corp.example", Targets: servers("10.0.1.4:53")},
		},
	}
	return g
}

func servers(list ...string) (out []netip.AddrPort) {
	for _, s := range list {
		out = append(out, netip.MustParseAddrPort(s))
	}
	return out
}

func TestValidateResolver(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(r *Resolver)
		want   string
	}{
		{"OK", func(*Resolver) {}, ""},
		{"OK inbound only", func(r *Resolver) { r.Address = netip.Addr{} }, ""},
		{"OK no names", func(r *Resolver) { r.Names, r.Rules = nil, nil }, ""},
		{"bad no address", func(r *Resolver) { *r = Resolver{} }, "has no address"},
		{"bad address", func(r *Resolver) { r.Address = addr("169.254.169.253") }, "169.254.169.253"},
		{"bad address of IPv6", func(r *Resolver) { r.Address = addr("fd00::2") }, "fd00::2"},
		{"bad address of an exposure", func(r *Resolver) { r.Address = addr("10.0.1.10") }, "eni-1"},
		{"bad inbound address of an exposure", func(r *Resolver) { r.Inbound[0].Address = addr("10.0.1.10") }, "eni-1"},
		{"bad inbound address repeated", func(r *Resolver) { r.Inbound[0].Address = r.Address }, "10.0.0.2 is repeated"},
		{"bad inbound uid", func(r *Resolver) { r.Inbound[0].UID = "../x" }, "../x"},
		{"bad inbound subnet", func(r *Resolver) { r.Inbound[0].Subnet = "subnets/x" }, "subnets/x"},
		{"bad inbound uid repeated", func(r *Resolver) {
			r.Inbound = append(r.Inbound, r.Inbound[0])
			r.Inbound[1].Address = addr("10.0.1.54")
		}, "eni-53"},
		{"bad name in upper case", func(r *Resolver) { r.Names[1].Name = "Kinesis.example" }, "Kinesis.example"},
		{"bad name with a final dot", func(r *Resolver) { r.Names[1].Name = "kinesis.example." }, "kinesis.example."},
		{"bad empty label", func(r *Resolver) { r.Names[1].Name = "kinesis..example" }, "kinesis..example"},
		{"bad empty name", func(r *Resolver) { r.Names[1].Name = "" }, `name ""`},
		{"bad bare wildcard", func(r *Resolver) { r.Names[1].Name = "*" }, `"*"`},
		{"bad wildcard of all", func(r *Resolver) { r.Names[1].Name = "*." }, `"*."`},
		{"bad wildcard in the middle", func(r *Resolver) { r.Names[1].Name = "a.*.example" }, "a.*.example"},
		{"bad label of 64", func(r *Resolver) { r.Names[1].Name = strings.Repeat("a", 64) + ".example" }, "aaaa"},
		{"OK label of 63", func(r *Resolver) { r.Names[1].Name = strings.Repeat("a", 63) + ".example" }, ""},
		{"bad name of 255", func(r *Resolver) { r.Names[1].Name = strings.Repeat("a.", 127) + "a" }, "a.a.a"},
		{"OK name of 253", func(r *Resolver) { r.Names[1].Name = strings.Repeat("a.", 126) + "a" }, ""},
		{"bad name repeated", func(r *Resolver) { r.Names[1].Name = r.Names[0].Name }, "*.data.example"},
		{"bad endpoint", func(r *Resolver) { r.Names[1].Endpoint = "endpoints/x" }, "endpoints/x"},
		{"bad interface", func(r *Resolver) { r.Names[1].Interfaces = []string{"eni-9"} }, "eni-9"},
		{"bad name that leads nowhere", func(r *Resolver) { r.Names[1].Interfaces = nil }, "leads nowhere"},
		{"bad rule repeated", func(r *Resolver) { r.Rules[1].Domain = "." }, `rule "."`},
		{"bad rule's domain", func(r *Resolver) { r.Rules[1].Domain = "corp.example." }, "corp.example."},
		{"bad rule for a wildcard", func(r *Resolver) { r.Rules[1].Domain = "*.corp.example" }, "*.corp.example"},
		{"bad rule without servers", func(r *Resolver) { r.Rules[1].Targets = nil }, "0 servers"},
		{"bad rule with 7 servers", func(r *Resolver) {
			r.Rules[1].Targets = servers("10.0.9.1:53", "10.0.9.2:53", "10.0.9.3:53", "10.0.9.4:53", "10.0.9.5:53", "10.0.9.6:53", "10.0.9.7:53")
		}, "7 servers"},
		{"bad server repeated", func(r *Resolver) { r.Rules[0].Targets[1] = r.Rules[0].Targets[0] }, "192.168.1.53:53 is repeated"},
		{"bad server is the resolver", func(r *Resolver) { r.Rules[1].Targets = servers("10.0.0.2:53") }, "10.0.0.2:53 is the resolver itself"},
		{"bad server is an inbound address", func(r *Resolver) { r.Rules[1].Targets = servers("10.0.1.53:5353") }, "the resolver itself"},
		{"bad server's port", func(r *Resolver) { r.Rules[1].Targets = servers("10.0.1.4:0") }, "10.0.1.4:0"},
		{"bad server on loopback", func(r *Resolver) { r.Rules[1].Targets = servers("127.0.0.1:53") }, "127.0.0.1:53"},
		{"bad server of metadata", func(r *Resolver) { r.Rules[1].Targets = servers("169.254.169.253:53") }, "169.254.169.253:53"},
		{"bad server of multicast", func(r *Resolver) { r.Rules[1].Targets = servers("224.0.0.251:5353") }, "224.0.0.251:5353"},
		{"bad server of IPv6", func(r *Resolver) { r.Rules[1].Targets = servers("[::ffff:10.0.1.4]:53") }, "::ffff:10.0.1.4"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := withResolver()
			tt.change(g.Domains[0].Resolver)
			err := g.Validate()
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "vpcs/c") {
				t.Errorf("got %v, want it to name %q", err, tt.want)
			}
		})
	}
	g := withResolver()
	g.Domains[1].Resolver = &Resolver{Address: addr("10.0.1.200")}
	if err := g.Validate(); err == nil || !strings.Contains(err.Error(), "node") {
		t.Errorf("a resolver at a node's address: %v", err)
	}
	g.Domains[1].Resolver = &Resolver{Address: addr("10.0.0.2"), Names: g.Domains[0].Resolver.Names}
	if err := g.Validate(); err == nil || !strings.Contains(err.Error(), "shown here") {
		t.Errorf("a name of an endpoint that another domain shows: %v", err)
	}
}
