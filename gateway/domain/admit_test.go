package domain

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

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

func TestAdmit(t *testing.T) {
	d := newDomain(t, Config{Name: "d", Busy: func(c netip.Addr) bool { return c == addr("10.0.0.66") }})
	app, site, other := d.NewPort("app"), d.NewPort("site"), d.NewPort("other")
	d.Publish(Table{
		Peers: []Peer{
			{Name: "app", Port: app, Prefixes: prefixes("10.0.0.5/32")},
			{Name: "busy", Port: app, Prefixes: prefixes("10.0.0.66/32")},
			{Name: "site", Tunnel: true, Port: site, Prefixes: prefixes("192.168.0.0/16", "10.0.0.0/16")},
			{Name: "inner", Port: site, Prefixes: prefixes("192.168.9.0/24")},
		},
		Exposures: []Exposure{
			{Address: addr("10.0.1.5"), Tunnels: true, Services: []Service{{443, always(true)}, {80, always(false)}}},
			{Address: addr("10.0.1.6"), Services: []Service{{443, always(true)}}},
		},
		Resolvers: []Resolver{{Address: addr("10.0.0.2")}, {Address: addr("10.0.1.53"), Tunnels: true}},
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
	case x == nil:
		return link.Drop(link.ReasonNoExposure)
	case peer.Tunnel && !x.Tunnels:
		return link.Drop(link.ReasonTunnelAccess)
	case p.Protocol != link.ProtocolTCP:
		return link.Drop(link.ReasonNoListener)
	}
	for _, s := range x.Services {
		if s.Port == p.Destination.Port() {
			if !s.Available() {
				return link.Reset(link.ReasonNoHealthyTarget)
			}
			return link.Accept()
		}
	}
	return link.Reset(link.ReasonNoListener)
}

// randomTable draws from few addresses and short prefixes, so that everything overlaps with everything.
func randomTable(r *rand.Rand, ports []*link.Port) Table {
	var t Table
	type owned struct {
		port   *link.Port
		prefix netip.Prefix
	}
	taken := map[owned]bool{}
	for i := range r.IntN(8) {
		p := Peer{Name: fmt.Sprint(i), Tunnel: r.IntN(2) == 0, Port: ports[r.IntN(len(ports))]}
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
		x := Exposure{Address: randomAddr(r), Tunnels: r.IntN(2) == 0}
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
		d.table.Store(compile(table))
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
			verdicts[got]++
		}
	}
	if len(verdicts) != 8 {
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
	d.Publish(Table{
		Peers:     []Peer{{Name: "p", Port: port, Prefixes: prefixes("10.0.0.0/8")}},
		Exposures: []Exposure{{Address: addr("10.1.1.1"), Services: []Service{{443, always(true)}}}},
	})
	for _, to := range []string{"10.1.1.1:443", "10.1.1.1:80", "10.1.1.2:443"} {
		p := link.Packet{Protocol: link.ProtocolTCP, Source: addrPort("10.0.1.1:1000"), Destination: addrPort(to), Port: port}
		if n := testing.AllocsPerRun(100, func() { d.admit(p) }); n != 0 {
			t.Errorf("to %s: %v allocations", to, n)
		}
	}
}
