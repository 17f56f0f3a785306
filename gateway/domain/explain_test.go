package domain

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"causeway/gateway/filter"
	"causeway/gateway/spec"
	"causeway/tunnel/link"
)

// outcome is an explanation in short: the name and verdict of each check, and why the last denies.
func outcome(list []spec.Check) (text []string) {
	for _, c := range list {
		line := c.Name + " " + string(c.Verdict)
		if c.Reason != "" {
			line += ": " + c.Reason
		}
		text = append(text, line)
	}
	return text
}

// explained is a domain with one attachment and one endpoint in subnets of their own, and a site.
func explainedDomain(t *testing.T) *Domain {
	t.Helper()
	d := newDomain(t, Config{Name: "d"})
	app, site := d.NewPort("app"), d.NewPort("site")
	anywhere := prefixes("0.0.0.0/0")[0]
	web := &Subnet{Name: "web", ACL: allowing("acl-web", tcpPorts(32768, 65535), allTraffic)}
	data := &Subnet{Name: "data", ACL: filter.CompileACL(&spec.NetworkACL{
		Name:    "acl-data",
		Ingress: []spec.ACLRule{{Number: 10, Prefix: prefixes("192.168.0.0/24")[0], Traffic: allTraffic}, {Number: 20, Allow: true, Prefix: anywhere, Traffic: allTraffic}},
		Egress:  []spec.ACLRule{{Number: 30, Allow: true, Prefix: anywhere, Traffic: tcpPorts(1024, 65535)}},
	})}
	guard := filter.CompileGroup(&spec.SecurityGroup{Name: "guard", Ingress: []spec.GroupRule{
		{Traffic: tcpPorts(443, 443), Group: "clients"}, {Traffic: tcpPorts(443, 443), Prefix: prefixes("192.168.0.0/16")[0]},
	}})
	d.Publish(Table{
		Peers: []Peer{
			{Name: "web", Port: app, Prefixes: prefixes("10.0.0.5/32"), Subnet: web, SecurityGroups: []string{"clients"}},
			{Name: "neighbour", Port: app, Prefixes: prefixes("10.0.1.4/32"), Subnet: data},
			{Name: "site", Tunnel: true, Port: site, Prefixes: prefixes("192.168.0.0/16")},
		},
		Exposures: []Exposure{
			{Address: addr("10.0.1.5"), Endpoint: "e", Tunnels: true, Subnet: data, SecurityGroups: []*filter.Group{guard}, Services: []Service{{443, always(true)}}},
			{Address: addr("10.0.2.5"), Endpoint: "f", Services: []Service{{443, always(true)}, {444, always(false)}}},
		},
		Resolvers: []Resolver{{Address: addr("10.0.0.2")}},
	})
	return d
}

func TestExplain(t *testing.T) {
	d := explainedDomain(t)
	for _, tt := range []struct {
		name, from, to string
		want           []string
	}{
		{"OK", "10.0.0.5:0", "10.0.1.5:443", []string{
			"peer pass", "source pass", "network_acl_out pass", "network_acl_in pass", "exposure pass", "tunnel_access skip", "listener pass",
			"security_group pass", "connection_limit pass", "healthy_target pass", "network_acl_out_return pass", "network_acl_in_return pass",
		}},
		{"bad way back to the port", "10.0.0.5:30000", "10.0.1.5:443", []string{
			"peer pass", "source pass", "network_acl_out pass", "network_acl_in pass", "exposure pass", "tunnel_access skip", "listener pass",
			"security_group pass", "connection_limit pass", "healthy_target pass", "network_acl_out_return pass", "network_acl_in_return deny: network_acl",
		}},
		{"bad way back, first border", "192.168.1.1:1000", "10.0.1.5:443", []string{
			"peer pass", "source pass", "network_acl_out skip", "network_acl_in pass", "exposure pass", "tunnel_access pass", "listener pass",
			"security_group pass", "connection_limit pass", "healthy_target pass", "network_acl_out_return deny: network_acl",
		}},
		{"bad group within a subnet", "10.0.1.4:0", "10.0.1.5:443", []string{
			"peer pass", "source pass", "network_acl_out skip", "network_acl_in skip", "exposure pass", "tunnel_access skip", "listener pass",
			"security_group deny: security_group",
		}},
		{"bad target", "10.0.0.5:0", "10.0.2.5:444", []string{
			"peer pass", "source pass", "network_acl_out pass", "network_acl_in skip", "exposure pass", "tunnel_access skip", "listener pass",
			"security_group skip", "connection_limit pass", "healthy_target deny: no_healthy_target",
		}},
		{"bad tunnel access", "192.168.1.1:0", "10.0.2.5:443", []string{
			"peer pass", "source pass", "network_acl_out skip", "network_acl_in skip", "exposure pass", "tunnel_access deny: tunnel_access",
		}},
		{"bad port", "10.0.0.5:0", "10.0.1.5:80", []string{
			"peer pass", "source pass", "network_acl_out pass", "network_acl_in pass", "exposure pass", "tunnel_access skip", "listener deny: no_listener",
		}},
		{"bad rule", "192.168.0.1:0", "10.0.1.5:443", []string{
			"peer pass", "source pass", "network_acl_out skip", "network_acl_in deny: network_acl",
		}},
		{"bad address", "10.0.0.5:0", "10.0.1.6:443", []string{
			"peer pass", "source pass", "network_acl_out skip", "network_acl_in skip", "exposure deny: no_exposure",
		}},
		{"OK resolver", "10.0.0.5:0", "10.0.0.2:53", []string{
			"peer pass", "source pass", "network_acl_out skip", "network_acl_in skip", "resolver pass", "network_acl_out_return skip", "network_acl_in_return skip",
		}},
		{"bad resolver for tunnels", "192.168.1.1:0", "10.0.0.2:53", []string{
			"peer pass", "source pass", "network_acl_out skip", "network_acl_in skip", "resolver deny: tunnel_access",
		}},
		{"bad consumer", "10.9.9.9:0", "10.0.1.5:443", []string{"peer deny: refused"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := d.Explain(addrPort(tt.from), addrPort(tt.to))
			if diff := cmp.Diff(tt.want, outcome(got)); diff != "" {
				t.Errorf("checks (-want +got):\n%s", diff)
			}
		})
	}
}

func TestExplainNamesWhatDecided(t *testing.T) {
	d := explainedDomain(t)
	type said struct{ detail, object string }
	find := func(from, to, name string) said {
		for _, c := range d.Explain(addrPort(from), addrPort(to)) {
			if c.Name == name {
				return said{c.Detail, c.Object}
			}
		}
		return said{}
	}
	for _, tt := range []struct {
		from, to, name string
		want           said
	}{
		{"10.0.0.5:0", "10.0.1.5:443", "peer", said{"attachment holds 10.0.0.5", "web"}},
		{"10.0.0.5:0", "10.0.1.5:443", "network_acl_out", said{"rule 100 allows", "acl-web"}},
		{"10.0.0.5:0", "10.0.1.5:443", "network_acl_in", said{"rule 20 allows", "acl-data"}},
		{"192.168.0.1:0", "10.0.1.5:443", "network_acl_in", said{"rule 10 denies", "acl-data"}},
		{"192.168.1.1:0", "10.0.1.5:443", "network_acl_out", said{"not in a subnet", ""}},
		{"10.0.1.4:0", "10.0.1.5:443", "network_acl_out", said{"within one subnet", "data"}},
		{"10.0.0.5:0", "10.0.1.6:443", "network_acl_in", said{"network ACLs do not apply to the destination", ""}},
		{"10.0.0.5:0", "10.0.1.5:443", "security_group", said{"rule 1 admits", "guard"}},
		{"192.168.1.1:0", "10.0.1.5:443", "security_group", said{"rule 2 admits", "guard"}},
		{"10.0.1.4:0", "10.0.1.5:443", "security_group", said{"no rule admits of guard", "e"}},
		{"10.0.0.5:0", "10.0.1.5:80", "listener", said{"no listener on port 80", "e"}},
		{"10.0.0.5:0", "10.0.1.5:443", "network_acl_out_return", said{"ports 1024 to 65535: rule 30 allows", "acl-data"}},
		{"10.0.0.5:0", "10.0.1.5:443", "network_acl_in_return", said{
			"ports 1024 to 32767: rule * denies: no other rule matches; ports 32768 to 65535: rule 100 allows", "acl-web",
		}},
	} {
		if got := find(tt.from, tt.to, tt.name); got != tt.want {
			t.Errorf("%s from %s to %s: %+v, want %+v", tt.name, tt.from, tt.to, got, tt.want)
		}
	}
}

// TestExplainAgreesWithPackets: an explanation denies what admission denies, for the same reason, and the answer exactly when
// the filter drops it.
func TestExplainAgreesWithPackets(t *testing.T) {
	d := newDomain(t, Config{Name: "d", Busy: func(a netip.Addr) bool { return a == addr("10.0.0.3") }})
	ports := []*link.Port{d.NewPort("a"), d.NewPort("b"), d.NewPort("c")}
	r := rand.New(rand.NewPCG(7, 8))
	tables := 2_000
	if testing.Short() {
		tables = 500
	}
	met := map[string]int{}
	for range tables {
		d.Publish(randomTable(r, ports))
		for range 20 {
			consumer := netip.AddrPortFrom(randomAddr(r), 1+uint16(r.IntN(65535)))
			destination := netip.AddrPortFrom(randomAddr(r), uint16(r.IntN(5)))
			list := d.Explain(consumer, destination)
			last := list[len(list)-1]
			met[last.Name+" "+last.Reason]++
			port := d.link.ActivePort(consumer.Addr())
			there := d.admit(link.Packet{Protocol: link.ProtocolTCP, Source: consumer, Destination: destination, Port: port})
			back := link.Accept()
			if there.Accepted() {
				back = border{d}.Outbound(link.Packet{Protocol: link.ProtocolTCP, Source: destination, Destination: consumer, Port: port})
			}
			reason := ""
			for _, v := range []link.Verdict{there, back} {
				if !v.Accepted() {
					reason = v.Reason().String()
				}
			}
			if last.Reason != reason {
				t.Fatalf("from %v to %v: explained by %+v, but met %q", consumer, destination, list, reason)
			}
		}
	}
	if len(met) != 13 {
		t.Errorf("%d ends of explanations were met: %v", len(met), met)
	}
}
