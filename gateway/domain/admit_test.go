package domain

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"causeway/gateway/filter"
	"causeway/gateway/spec"
	"causeway/tunnel/link"
)

func addr(s string) netip.Addr         { return netip.MustParseAddr(s) }
func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func always(v bool) func() bool { return func() bool { return v } }

// newDomain returns a domain that is closed with the test.
func newDomain(t testing.TB, cfg Config) *Domain {
	t.Helper()
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// allowing is an ACL that lets one kind of traffic in and out, from and to everywhere.
func allowing(name string, in, out spec.Traffic) *filter.ACL {
	rule := func(t spec.Traffic) []spec.ACLRule {
		return []spec.ACLRule{{Number: 100, Allow: true, Prefix: netip.MustParsePrefix("0.0.0.0/0"), Traffic: t}}
	}
	return filter.CompileACL(&spec.NetworkACL{Name: name, Ingress: rule(in), Egress: rule(out)})
}

func tcpPorts(first, last uint16) spec.Traffic {
	return spec.Traffic{Protocol: 6, FirstPort: first, LastPort: last}
}

var allTraffic = spec.Traffic{Protocol: spec.AllProtocols}

func TestAdmit(t *testing.T) {
	d := newDomain(t, Config{Name: "d", Busy: func(c netip.Addr) bool { return c == addr("10.0.0.66") }})
	app, site, other := d.NewPort("app"), d.NewPort("site"), d.NewPort("other")
	web := &Subnet{Name: "web", ACL: allowing("acl-web", allTraffic, tcpPorts(80, 443))}
	data := &Subnet{Name: "data", ACL: allowing("acl-data", tcpPorts(81, 443), tcpPorts(1024, 65535))}
	closed := filter.CompileGroup(&spec.SecurityGroup{Name: "closed"})
	guard := filter.CompileGroup(&spec.SecurityGroup{Name: "guard", Ingress: []spec.GroupRule{
		{Traffic: tcpPorts(443, 443), Group: "clients"}, {Traffic: allTraffic, Prefix: netip.MustParsePrefix("192.168.9.0/24")},
	}})
	d.Publish(Table{
		Peers: []Peer{
			{Name: "app", Port: app, Prefixes: prefixes("10.0.0.5/32")},
			{Name: "busy", Port: app, Prefixes: prefixes("10.0.0.66/32")},
			{Name: "site", Tunnel: true, Port: site, Prefixes: prefixes("192.168.0.0/16", "10.0.0.0/16")},
			{Name: "inner", Port: site, Prefixes: prefixes("192.168.9.0/24")},
			{Name: "web", Port: app, Prefixes: prefixes("10.0.0.7/32"), Subnet: web, SecurityGroups: []string{"x", "clients"}},
			{Name: "neighbour", Port: app, Prefixes: prefixes("10.0.0.8/32"), Subnet: data},
		},
		Exposures: []Exposure{
			{Address: addr("10.0.1.5"), Tunnels: true, Services: []Service{{443, always(true)}, {80, always(false)}}},
			{Address: addr("10.0.1.6"), Services: []Service{{443, always(true)}}},
			{Address: addr("10.0.1.10"), Tunnels: true, Subnet: data, Services: []Service{{443, always(true)}, {80, always(true)}, {81, always(true)}}},
			{Address: addr("10.0.1.11"), Tunnels: true, SecurityGroups: []*filter.Group{closed, guard}, Services: []Service{{443, always(true)}, {80, always(true)}}},
		},
		Resolvers: []Resolver{{Address: addr("10.0.0.2")}, {Address: addr("10.0.1.53"), Tunnels: true}, {Address: addr("10.0.1.54"), Tunnels: true, Subnet: data}},
		Nodes:     []Node{{addr("10.0.1.9"), data}},
	})
	if err := d.AddAddress(addr("10.0.1.9")); err != nil { // a load balancer node: the stack's own, exposed to nobody
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name     string
		port     *link.Port
		from, to string
		protocol uint8
		want     link.Verdict
	}{
		{"OK attachment", app, "10.0.0.5:1000", "10.0.1.5:443", link.ProtocolTCP, link.Accept()},
		{"OK tunnel", site, "192.168.1.1:1000", "10.0.1.5:443", link.ProtocolTCP, link.Accept()},
		{"OK attachment where tunnels are shut out", app, "10.0.0.5:1000", "10.0.1.6:443", link.ProtocolTCP, link.Accept()},
		{"OK attachment inside a tunnel's prefix", site, "192.168.9.1:1000", "10.0.1.6:443", link.ProtocolTCP, link.Accept()},
		{"bad tunnel shut out", site, "192.168.1.1:1000", "10.0.1.6:443", link.ProtocolTCP, link.Drop(link.ReasonTunnelAccess)},
		{"bad tunnel shut out, port unknown", site, "192.168.1.1:1000", "10.0.1.6:1", link.ProtocolTCP, link.Drop(link.ReasonTunnelAccess)},
		{"bad source", app, "10.0.0.6:1000", "10.0.1.5:443", link.ProtocolTCP, link.Drop(link.ReasonRefused)},
		{"bad source of another port", app, "192.168.1.1:1000", "10.0.1.5:443", link.ProtocolTCP, link.Drop(link.ReasonRefused)},
		{"bad port without peers", other, "10.0.0.5:1000", "10.0.1.5:443", link.ProtocolTCP, link.Drop(link.ReasonRefused)},
		{"bad source is an exposure", site, "10.0.1.6:1000", "10.0.1.5:443", link.ProtocolTCP, link.Drop(link.ReasonMartian)},
		{"bad destination", app, "10.0.0.5:1000", "10.0.1.7:443", link.ProtocolTCP, link.Drop(link.ReasonNoExposure)},
		{"bad node", app, "10.0.0.5:1000", "10.0.1.9:443", link.ProtocolTCP, link.Drop(link.ReasonNoExposure)},
		{"bad other peer", app, "10.0.0.5:1000", "10.0.0.66:443", link.ProtocolTCP, link.Drop(link.ReasonNoExposure)},
		{"bad listener", app, "10.0.0.5:1000", "10.0.1.5:22", link.ProtocolTCP, link.Reset(link.ReasonNoListener)},
		{"bad target", app, "10.0.0.5:1000", "10.0.1.5:80", link.ProtocolTCP, link.Reset(link.ReasonNoHealthyTarget)},
		{"bad limit", app, "10.0.0.66:1000", "10.0.1.5:443", link.ProtocolTCP, link.Drop(link.ReasonConnectionLimit)},
		{"OK question", app, "10.0.0.5:1000", "10.0.0.2:53", link.ProtocolUDP, link.Accept()},
		{"OK question over TCP", app, "10.0.0.5:1000", "10.0.0.2:53", link.ProtocolTCP, link.Accept()},
		{"OK question at an inbound address", app, "10.0.0.5:1000", "10.0.1.53:53", link.ProtocolUDP, link.Accept()},
		{"OK question of a site at an inbound address", site, "192.168.1.1:1000", "10.0.1.53:53", link.ProtocolUDP, link.Accept()},
		{"OK question of a site over TCP", site, "192.168.1.1:1000", "10.0.1.53:53", link.ProtocolTCP, link.Accept()},
		{"bad question of a site to the VPC's resolver", site, "192.168.1.1:1000", "10.0.0.2:53", link.ProtocolUDP, link.Drop(link.ReasonTunnelAccess)},
		{"bad question of a site over TCP", site, "192.168.1.1:1000", "10.0.0.2:53", link.ProtocolTCP, link.Drop(link.ReasonTunnelAccess)},
		{"bad port of the resolver", app, "10.0.0.5:1000", "10.0.0.2:54", link.ProtocolTCP, link.Reset(link.ReasonNoListener)},
		{"bad port of the resolver over UDP", app, "10.0.0.5:53", "10.0.0.2:54", link.ProtocolUDP, link.Reset(link.ReasonNoListener)},
		{"bad question at an exposure", app, "10.0.0.5:1000", "10.0.1.5:53", link.ProtocolUDP, link.Drop(link.ReasonNoListener)},
		{"bad source is a resolver", site, "10.0.1.53:53", "10.0.1.5:443", link.ProtocolTCP, link.Drop(link.ReasonMartian)},
		{"bad protocol", app, "10.0.0.5:1000", "10.0.1.5:443", link.ProtocolUDP, link.Drop(link.ReasonNoListener)},

		{"OK both subnets", app, "10.0.0.7:1000", "10.0.1.10:443", link.ProtocolTCP, link.Accept()},
		{"OK within a subnet", app, "10.0.0.8:1000", "10.0.1.10:80", link.ProtocolTCP, link.Accept()},
		{"OK tunnel into a subnet", site, "192.168.1.1:1000", "10.0.1.10:443", link.ProtocolTCP, link.Accept()},
		{"bad tunnel into a subnet", site, "192.168.1.1:1000", "10.0.1.10:80", link.ProtocolTCP, link.Drop(link.ReasonNetworkACL)},
		{"bad out of a subnet", app, "10.0.0.7:1000", "10.0.1.5:22", link.ProtocolTCP, link.Drop(link.ReasonNetworkACL)},
		{"bad out of a subnet by protocol", app, "10.0.0.7:1000", "10.0.1.5:443", link.ProtocolUDP, link.Drop(link.ReasonNetworkACL)},
		{"bad into a subnet", app, "10.0.0.7:1000", "10.0.1.10:80", link.ProtocolTCP, link.Drop(link.ReasonNetworkACL)},
		{"bad port behind an ACL", site, "192.168.1.1:1000", "10.0.1.10:82", link.ProtocolTCP, link.Reset(link.ReasonNoListener)},
		{"bad nowhere, which has no ACL", app, "10.0.0.7:1000", "10.0.1.7:22", link.ProtocolTCP, link.Drop(link.ReasonNoExposure)},
		{"bad node behind an ACL", app, "10.0.0.5:1000", "10.0.1.9:22", link.ProtocolTCP, link.Drop(link.ReasonNetworkACL)},
		{"OK member of a group", app, "10.0.0.7:1000", "10.0.1.11:443", link.ProtocolTCP, link.Accept()},
		{"OK resolver is exempt", app, "10.0.0.7:1000", "10.0.0.2:53", link.ProtocolUDP, link.Accept()},
		{"bad question out of a subnet", app, "10.0.0.7:1000", "10.0.1.53:53", link.ProtocolUDP, link.Drop(link.ReasonNetworkACL)},
		{"bad question into a subnet", site, "192.168.1.1:1000", "10.0.1.54:53", link.ProtocolTCP, link.Drop(link.ReasonNetworkACL)},
		{"bad member on another port", app, "10.0.0.7:1000", "10.0.1.11:80", link.ProtocolTCP, link.Drop(link.ReasonSecurityGroup)},
		{"bad no member", app, "10.0.0.5:1000", "10.0.1.11:443", link.ProtocolTCP, link.Drop(link.ReasonSecurityGroup)},
		{"OK prefix of a group", site, "192.168.9.1:1000", "10.0.1.11:80", link.ProtocolTCP, link.Accept()},
		{"bad prefix of a group", site, "192.168.8.1:1000", "10.0.1.11:80", link.ProtocolTCP, link.Drop(link.ReasonSecurityGroup)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := d.admit(link.Packet{Protocol: tt.protocol, Source: addrPort(tt.from), Destination: addrPort(tt.to), Port: tt.port})
			if got != tt.want {
				t.Errorf("got %s, want %s", show(got), show(tt.want))
			}
		})
	}
}

func show(v link.Verdict) string {
	return fmt.Sprintf("accepted %v, reset %v, %v", v.Accepted(), v.Resets(), v.Reason())
}

// naive is admission said again as plainly as possible, from the table as it was given.
func naive(t Table, p link.Packet) link.Verdict {
	var peer *Peer
	longest := -1
	for i := range t.Peers {
		for _, prefix := range t.Peers[i].Prefixes {
			if t.Peers[i].Port == p.Port && prefix.Contains(p.Source.Addr()) && prefix.Bits() > longest {
				peer, longest = &t.Peers[i], prefix.Bits()
			}
		}
	}
	find := func(a netip.Addr) *Exposure {
		for i := range t.Exposures {
			if t.Exposures[i].Address == a {
				return &t.Exposures[i]
			}
		}
		return nil
	}
	x := find(p.Destination.Addr())
	switch {
	case peer == nil:
		return link.Drop(link.ReasonRefused)
	case find(p.Source.Addr()) != nil:
		return link.Drop(link.ReasonMartian)
	case !naiveCrosses(t, p, peer.Subnet):
		return link.Drop(link.ReasonNetworkACL)
	case x == nil:
		return link.Drop(link.ReasonNoExposure)
	case peer.Tunnel && !x.Tunnels:
		return link.Drop(link.ReasonTunnelAccess)
	case p.Protocol != link.ProtocolTCP:
		return link.Drop(link.ReasonNoListener)
	}
	for _, s := range x.Services {
		if s.Port == p.Destination.Port() {
			if !naiveAdmits(x.SecurityGroups, p, peer.SecurityGroups) {
				return link.Drop(link.ReasonSecurityGroup)
			}
			if !s.Available() {
				return link.Reset(link.ReasonNoHealthyTarget)
			}
			return link.Accept()
		}
	}
	return link.Reset(link.ReasonNoListener)
}

// naiveCrosses applies the ACLs of the subnets of a peer and of one of the domain's own addresses.
func naiveCrosses(t Table, p link.Packet, from *Subnet) bool {
	var to *Subnet
	own := false
	for _, x := range t.Exposures {
		if x.Address == p.Destination.Addr() {
			own, to = true, x.Subnet
		}
	}
	for _, a := range t.Nodes {
		if a.Address == p.Destination.Addr() {
			own, to = true, a.Subnet
		}
	}
	if !own || from != nil && to != nil && from.Name == to.Name {
		return true
	}
	q := filter.Packet{Protocol: p.Protocol, Source: p.Source.Addr(), Destination: p.Destination.Addr(), Port: p.Destination.Port()}
	leaves := from == nil || from.ACL == nil || from.ACL.Egress.Decide(&q).Allow
	return leaves && (to == nil || to.ACL == nil || to.ACL.Ingress.Decide(&q).Allow)
}

func naiveAdmits(groups []*filter.Group, p link.Packet, memberOf []string) bool {
	q := filter.Packet{Protocol: p.Protocol, Source: p.Source.Addr(), Destination: p.Destination.Addr(), Port: p.Destination.Port()}
	for _, g := range groups {
		if _, ok := g.Admits(&q, memberOf); ok {
			return true
		}
	}
	return len(groups) == 0
}

// randomRules are subnets and security groups for a random table.
type randomRules struct {
	subnets []*Subnet
	groups  []*filter.Group
}

func newRandomRules(r *rand.Rand) randomRules {
	traffic := func() spec.Traffic {
		if r.IntN(2) == 0 {
			return allTraffic
		}
		first := uint16(r.IntN(4))
		return tcpPorts(first, first+uint16(r.IntN(65532)))
	}
	prefix := func() netip.Prefix {
		p, _ := randomAddr(r).Prefix([]int{0, 0, 8, 29, 30, 32}[r.IntN(6)])
		return p
	}
	list := func() (rules []spec.ACLRule) {
		for i := range r.IntN(4) {
			rules = append(rules, spec.ACLRule{Number: i + 1, Allow: r.IntN(3) != 0, Prefix: prefix(), Traffic: traffic()})
		}
		return rules
	}
	random := randomRules{subnets: []*Subnet{nil, {Name: "open"}}}
	for i := range 3 {
		name := fmt.Sprint(i)
		random.subnets = append(random.subnets, &Subnet{Name: name, ACL: filter.CompileACL(&spec.NetworkACL{Name: "acl" + name, Ingress: list(), Egress: list()})})
		g := spec.SecurityGroup{Name: name}
		for range r.IntN(3) {
			rule := spec.GroupRule{Traffic: traffic(), Prefix: prefix()}
			if r.IntN(2) == 0 {
				rule.Prefix, rule.Group = netip.Prefix{}, fmt.Sprint(r.IntN(3))
			}
			g.Ingress = append(g.Ingress, rule)
		}
		random.groups = append(random.groups, filter.CompileGroup(&g))
	}
	return random
}

func (s randomRules) subnet(r *rand.Rand) *Subnet { return s.subnets[r.IntN(len(s.subnets))] }

// randomTable draws from few addresses and short prefixes, so that everything overlaps with everything.
func randomTable(r *rand.Rand, ports []*link.Port) Table {
	var t Table
	rules := newRandomRules(r)
	type owned struct {
		port   *link.Port
		prefix netip.Prefix
	}
	taken := map[owned]bool{}
	for i := range r.IntN(8) {
		p := Peer{Name: fmt.Sprint(i), Tunnel: r.IntN(2) == 0, Port: ports[r.IntN(len(ports))], Subnet: rules.subnet(r)}
		for group := range 3 {
			if r.IntN(3) == 0 {
				p.SecurityGroups = append(p.SecurityGroups, fmt.Sprint(group))
			}
		}
		for range r.IntN(4) {
			prefix, _ := randomAddr(r).Prefix([]int{0, 1, 8, 24, 29, 30, 31, 32}[r.IntN(8)])
			if !taken[owned{p.Port, prefix}] {
				taken[owned{p.Port, prefix}] = true
				p.Prefixes = append(p.Prefixes, prefix)
			}
		}
		t.Peers = append(t.Peers, p)
	}
	seen := map[netip.Addr]bool{}
	for range r.IntN(6) {
		x := Exposure{Address: randomAddr(r), Tunnels: r.IntN(2) == 0, Subnet: rules.subnet(r), SecurityGroups: rules.groups[:r.IntN(3)]}
		for port := range uint16(3) {
			if r.IntN(2) == 0 {
				x.Services = append(x.Services, Service{port + 1, always(r.IntN(3) != 0)})
			}
		}
		if !seen[x.Address] {
			seen[x.Address] = true
			t.Exposures = append(t.Exposures, x)
		}
	}
	for range r.IntN(3) {
		a := Node{randomAddr(r), rules.subnet(r)}
		if !seen[a.Address] {
			seen[a.Address] = true
			t.Nodes = append(t.Nodes, a)
		}
	}
	return t
}

func randomAddr(r *rand.Rand) netip.Addr {
	if r.IntN(8) == 0 {
		return netip.AddrFrom4([4]byte{200, 0, 0, byte(r.IntN(2))})
	}
	return netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(16))})
}

func TestAdmitAgreesWithNaiveEvaluator(t *testing.T) {
	d := newDomain(t, Config{Name: "d"})
	ports := []*link.Port{d.NewPort("a"), d.NewPort("b"), d.NewPort("c")}
	r := rand.New(rand.NewPCG(5, 6))
	tables := 20_000
	if testing.Short() {
		tables = 2_000
	}
	verdicts := map[link.Verdict]int{}
	for range tables {
		table := randomTable(r, ports)
		now := compile(table)
		d.table.Store(now)
		for range 100 {
			p := link.Packet{
				Protocol: []uint8{link.ProtocolTCP, link.ProtocolTCP, link.ProtocolUDP}[r.IntN(3)], Port: ports[r.IntN(3)],
				Source:      netip.AddrPortFrom(randomAddr(r), uint16(r.IntN(65536))),
				Destination: netip.AddrPortFrom(randomAddr(r), uint16(r.IntN(5))),
			}
			got, want := d.admit(p), naive(table, p)
			if got != want {
				t.Fatalf("%+v in %+v: got %s, want %s", p, table, show(got), show(want))
			}
			if !now.filtering && got.Reason() == link.ReasonNetworkACL && !got.Accepted() {
				t.Fatalf("an ACL denies %+v, but packets are not filtered: %+v", p, table)
			}
			verdicts[got]++
		}
	}
	if len(verdicts) != 10 {
		t.Errorf("only these verdicts were met: %v", verdicts)
	}
}

func BenchmarkAdmit(b *testing.B) {
	d := newDomain(b, Config{Name: "d"})
	port := d.NewPort("p")
	var t Table
	for i := range 1000 {
		a := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		t.Peers = append(t.Peers, Peer{Name: "p", Port: port, Prefixes: []netip.Prefix{netip.PrefixFrom(a, 32)}})
		t.Exposures = append(t.Exposures, Exposure{Address: netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), Services: []Service{{443, always(true)}}})
	}
	d.Publish(t)
	p := link.Packet{Protocol: link.ProtocolTCP, Source: addrPort("10.0.1.1:1000"), Destination: addrPort("10.1.1.1:443"), Port: port}
	b.ReportAllocs()
	for b.Loop() {
		if !d.admit(p).Accepted() {
			b.Fatal("refused")
		}
	}
}

func TestAdmitAllocatesNothing(t *testing.T) {
	d := newDomain(t, Config{Name: "d"})
	port := d.NewPort("p")
	guard := filter.CompileGroup(&spec.SecurityGroup{Ingress: []spec.GroupRule{{Traffic: allTraffic, Group: "clients"}}})
	d.Publish(Table{
		Peers: []Peer{{
			Name: "p", Port: port, Prefixes: prefixes("10.0.0.0/8"), SecurityGroups: []string{"clients"},
			Subnet: &Subnet{ACL: allowing("a", allTraffic, tcpPorts(80, 443))},
		}},
		Exposures: []Exposure{{
			Address: addr("10.1.1.1"), Services: []Service{{443, always(true)}}, SecurityGroups: []*filter.Group{guard},
			Subnet: &Subnet{ACL: allowing("b", tcpPorts(80, 443), tcpPorts(1024, 65535))},
		}},
	})
	for _, to := range []string{"10.1.1.1:443", "10.1.1.1:80", "10.1.1.2:443"} {
		p := link.Packet{Protocol: link.ProtocolTCP, Source: addrPort("10.0.1.1:1000"), Destination: addrPort(to), Port: port}
		back := p
		back.Source, back.Destination = p.Destination, p.Source
		if n := testing.AllocsPerRun(100, func() {
			d.admit(p)
			border{d}.Inbound(p)
			border{d}.Outbound(back)
		}); n != 0 {
			t.Errorf("to %s: %v allocations", to, n)
		}
	}
}
