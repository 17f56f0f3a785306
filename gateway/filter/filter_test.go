package filter

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"causeway/gateway/spec"
)

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func tcpPorts(first, last uint16) spec.Traffic {
	return spec.Traffic{Protocol: tcp, FirstPort: first, LastPort: last}
}

var all = spec.Traffic{Protocol: spec.AllProtocols}

// TestExampleOfAWS is the custom network ACL of the VPC user guide ("Custom network ACLs").
func TestExampleOfAWS(t *testing.T) {
	anywhere := prefix("0.0.0.0/0")
	acl := CompileACL(&spec.NetworkACL{
		Name: "acl",
		Ingress: []spec.ACLRule{
			{Number: 100, Allow: true, Prefix: anywhere, Traffic: tcpPorts(80, 80)},
			{Number: 110, Allow: true, Prefix: anywhere, Traffic: tcpPorts(443, 443)},
			{Number: 120, Allow: true, Prefix: prefix("192.0.2.0/24"), Traffic: tcpPorts(22, 22)},
			{Number: 140, Allow: true, Prefix: anywhere, Traffic: tcpPorts(32768, 65535)},
			{Number: 150, Prefix: prefix("198.51.100.0/24"), Traffic: all},
			{Number: 160, Allow: true, Prefix: prefix("::/0"), Traffic: all},
		},
		Egress: []spec.ACLRule{
			{Number: 90, Prefix: prefix("203.0.113.7/32"), Traffic: all},
			{Number: 100, Allow: true, Prefix: anywhere, Traffic: tcpPorts(80, 80)},
			{Number: 140, Allow: true, Prefix: anywhere, Traffic: tcpPorts(32768, 65535)},
			{Number: 150, Allow: true, Prefix: anywhere, Traffic: spec.Traffic{Protocol: icmp, ICMPType: 3, ICMPCode: 4}},
			{Number: 160, Allow: true, Prefix: anywhere, Traffic: spec.Traffic{Protocol: icmp, ICMPType: 8, ICMPCode: spec.Any}},
		},
	})
	for _, tt := range []struct {
		name     string
		rules    *Rules
		from, to string
		packet   Packet
		want     Decision
	}{
		{"OK in", &acl.Ingress, "10.0.0.1", "10.0.1.1", Packet{Protocol: tcp, Port: 443}, Decision{true, 110}},
		{"OK in looks at the source", &acl.Ingress, "192.0.2.9", "10.0.1.1", Packet{Protocol: tcp, Port: 22}, Decision{true, 120}},
		{"bad in from another source", &acl.Ingress, "10.0.0.1", "192.0.2.9", Packet{Protocol: tcp, Port: 22}, Decision{}},
		{"OK first port", &acl.Ingress, "10.0.0.1", "10.0.1.1", Packet{Protocol: tcp, Port: 32768}, Decision{true, 140}},
		{"OK last port", &acl.Ingress, "10.0.0.1", "10.0.1.1", Packet{Protocol: tcp, Port: 65535}, Decision{true, 140}},
		{"bad before first port", &acl.Ingress, "10.0.0.1", "10.0.1.1", Packet{Protocol: tcp, Port: 32767}, Decision{}},
		{"bad protocol", &acl.Ingress, "10.0.0.1", "10.0.1.1", Packet{Protocol: udp, Port: 443}, Decision{}},
		{"OK lower number wins", &acl.Ingress, "198.51.100.1", "10.0.1.1", Packet{Protocol: tcp, Port: 443}, Decision{true, 110}},
		{"bad by rule", &acl.Ingress, "198.51.100.1", "10.0.1.1", Packet{Protocol: udp, Port: 443}, Decision{false, 150}},
		{"bad out by a lower number", &acl.Egress, "10.0.1.1", "203.0.113.7", Packet{Protocol: tcp, Port: 80}, Decision{false, 90}},
		{"OK out looks at the destination", &acl.Egress, "203.0.113.7", "10.0.1.1", Packet{Protocol: tcp, Port: 80}, Decision{true, 100}},
		{"OK type and code", &acl.Egress, "10.0.1.1", "10.0.0.1", Packet{Protocol: icmp, ICMPType: 3, ICMPCode: 4}, Decision{true, 150}},
		{"bad code", &acl.Egress, "10.0.1.1", "10.0.0.1", Packet{Protocol: icmp, ICMPType: 3, ICMPCode: 3}, Decision{}},
		{"OK any code", &acl.Egress, "10.0.1.1", "10.0.0.1", Packet{Protocol: icmp, ICMPType: 8, ICMPCode: 77}, Decision{true, 160}},
		{"bad IPv6 is apart", &acl.Ingress, "fd00::1", "fd00::2", Packet{Protocol: udp, Port: 1}, Decision{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := tt.packet
			p.Source, p.Destination = addr(tt.from), addr(tt.to)
			if got := tt.rules.Decide(&p); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestOpen(t *testing.T) {
	rule := func(number int, allow bool, from string, t spec.Traffic) spec.ACLRule {
		return spec.ACLRule{Number: number, Allow: allow, Prefix: prefix(from), Traffic: t}
	}
	for _, tt := range []struct {
		name  string
		rules []spec.ACLRule
		want  bool
	}{
		{"empty", nil, false},
		{"all", []spec.ACLRule{rule(100, true, "0.0.0.0/0", all)}, true},
		{"all after an allow", []spec.ACLRule{rule(1, true, "10.0.0.0/8", all), rule(100, true, "0.0.0.0/0", all)}, true},
		{"all before a deny", []spec.ACLRule{rule(1, true, "0.0.0.0/0", all), rule(100, false, "0.0.0.0/0", all)}, true},
		{"all after a deny", []spec.ACLRule{rule(1, false, "10.0.0.0/8", all), rule(100, true, "0.0.0.0/0", all)}, false},
		{"all after a deny of IPv6", []spec.ACLRule{rule(1, false, "::/0", all), rule(100, true, "0.0.0.0/0", all)}, true},
		{"all of IPv6", []spec.ACLRule{rule(1, true, "::/0", all)}, false},
		{"all of TCP", []spec.ACLRule{rule(1, true, "0.0.0.0/0", tcpPorts(0, 65535))}, false},
		{"half", []spec.ACLRule{rule(1, true, "0.0.0.0/1", all), rule(2, true, "128.0.0.0/2", all)}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			acl := CompileACL(&spec.NetworkACL{Ingress: tt.rules, Egress: []spec.ACLRule{rule(1, true, "0.0.0.0/0", all)}})
			if acl.Open() != tt.want || acl.Ingress.Open() != tt.want || !acl.Egress.Open() {
				t.Errorf("open %v, ingress %v, want %v", acl.Open(), acl.Ingress.Open(), tt.want)
			}
		})
	}
}

func TestGroup(t *testing.T) {
	g := CompileGroup(&spec.SecurityGroup{Name: "g", Ingress: []spec.GroupRule{
		{Traffic: tcpPorts(1, 2), Prefix: prefix("fd00::/8")},
		{Traffic: tcpPorts(443, 443), Group: "clients"},
		{Traffic: tcpPorts(80, 81), Prefix: prefix("10.0.0.0/24")},
	}})
	for _, tt := range []struct {
		name     string
		from     string
		port     uint16
		memberOf []string
		rule     int
		ok       bool
	}{
		{"OK member", "10.9.9.9", 443, []string{"others", "clients"}, 1, true},
		{"bad other group", "10.9.9.9", 443, []string{"others"}, 0, false},
		{"bad no group", "10.0.0.9", 443, nil, 0, false},
		{"bad empty group", "10.0.0.9", 443, []string{""}, 0, false},
		{"OK prefix", "10.0.0.9", 81, nil, 2, true},
		{"bad member outside the prefix", "10.0.1.9", 81, []string{"clients"}, 0, false},
		{"bad port", "10.0.0.9", 82, nil, 0, false},
		{"bad IPv6", "fd00::1", 1, nil, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := Packet{Protocol: tcp, Source: addr(tt.from), Destination: addr("10.0.1.1"), Port: tt.port}
			if rule, ok := g.Admits(&p, tt.memberOf); rule != tt.rule || ok != tt.ok {
				t.Errorf("rule %d, %v, want rule %d, %v", rule, ok, tt.rule, tt.ok)
			}
		})
	}
	if _, ok := CompileGroup(&spec.SecurityGroup{}).Admits(&Packet{Source: addr("10.0.0.1")}, []string{""}); ok {
		t.Error("a group without rules admits")
	}
}

func TestSpans(t *testing.T) {
	acl := CompileACL(&spec.NetworkACL{Egress: []spec.ACLRule{
		{Number: 10, Prefix: prefix("10.0.0.0/24"), Traffic: tcpPorts(4000, 4999)},
		{Number: 20, Allow: true, Prefix: prefix("0.0.0.0/0"), Traffic: tcpPorts(2000, 9999)},
		{Number: 30, Allow: true, Prefix: prefix("0.0.0.0/0"), Traffic: tcpPorts(9000, 65535)},
	}})
	spans := func(to string, first, last uint16) []Span {
		return acl.Egress.Spans(Packet{Protocol: tcp, Source: addr("10.0.1.1"), Destination: addr(to)}, first, last)
	}
	for _, tt := range []struct {
		to          string
		first, last uint16
		want        []Span
	}{
		{"10.0.9.1", 1024, 65535, []Span{{1024, 1999, Decision{}}, {2000, 9999, Decision{true, 20}}, {10000, 65535, Decision{true, 30}}}},
		{"10.0.0.1", 3000, 6000, []Span{{3000, 3999, Decision{true, 20}}, {4000, 4999, Decision{false, 10}}, {5000, 6000, Decision{true, 20}}}},
		{"10.0.0.1", 4000, 4000, []Span{{4000, 4000, Decision{false, 10}}}},
		{"10.0.0.1", 0, 65535, []Span{
			{0, 1999, Decision{}}, {2000, 3999, Decision{true, 20}}, {4000, 4999, Decision{false, 10}}, {5000, 9999, Decision{true, 20}},
			{10000, 65535, Decision{true, 30}},
		}},
	} {
		if diff := cmp.Diff(tt.want, spans(tt.to, tt.first, tt.last)); diff != "" {
			t.Errorf("to %s, ports %d to %d (-want +got):\n%s", tt.to, tt.first, tt.last, diff)
		}
	}
}

// agree compares n random packets with the naive evaluator, 100 for each set of rules.
func agree(t *testing.T, seed uint64, n int) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	var allowed, denied, unmatched, admitted int
	for range n / 100 {
		a := spec.NetworkACL{Name: "acl", Ingress: randomRules(r), Egress: randomRules(r)}
		g := randomGroup(r)
		acl, group := CompileACL(&a), CompileGroup(&g)
		memberOf := groups[:r.IntN(len(groups))]
		for range 100 {
			p := randomPacket(r)
			in, out := acl.Ingress.Decide(&p), acl.Egress.Decide(&p)
			if want := naiveACL(a.Ingress, p, p.Source); in != want {
				t.Fatalf("ingress of %+v by %+v: got %+v, want %+v", p, a.Ingress, in, want)
			}
			if want := naiveACL(a.Egress, p, p.Destination); out != want {
				t.Fatalf("egress of %+v by %+v: got %+v, want %+v", p, a.Egress, out, want)
			}
			if acl.Ingress.Open() && !in.Allow || acl.Egress.Open() && !out.Allow {
				t.Fatalf("open rules deny %+v: %+v", p, a)
			}
			_, ok := group.Admits(&p, memberOf)
			if want := naiveGroup(g, p, memberOf); ok != want {
				t.Fatalf("%+v from a member of %v by %+v: got %v, want %v", p, memberOf, g, ok, want)
			}
			switch {
			case in.Allow:
				allowed++
			case in.Number > 0:
				denied++
			default:
				unmatched++
			}
			if ok {
				admitted++
			}
		}
	}
	for name, count := range map[string]int{"allowed": allowed, "denied": denied, "unmatched": unmatched, "admitted": admitted} {
		if count < n/50 {
			t.Errorf("only %d of %d packets were %s: the test says little", count, n, name)
		}
	}
}

// TestSoakAgainstNaiveEvaluator compares 10^6 packets, 10^8 with SOAK set.
func TestSoakAgainstNaiveEvaluator(t *testing.T) {
	rounds, n := uint64(1), 1_000_000
	if testing.Short() {
		n /= 10
	}
	if os.Getenv("SOAK") != "" {
		rounds = 100
	}
	for seed := range rounds {
		agree(t, seed, n)
	}
}

// TestSpansAgreeWithPorts asks about every port apart.
func TestSpansAgreeWithPorts(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		acl := CompileACL(&spec.NetworkACL{Ingress: randomRules(r), Egress: randomRules(r)})
		p := randomPacket(r)
		p.Protocol = tcp
		next := 1024
		for _, s := range acl.Egress.Spans(p, 1024, 65535) {
			if int(s.First) != next || s.Last < s.First {
				t.Fatalf("span %+v does not follow port %d", s, next-1)
			}
			for port := int(s.First); port <= int(s.Last); port++ {
				p.Port = uint16(port)
				if d := acl.Egress.Decide(&p); d != s.Decision {
					t.Fatalf("port %d: %+v, but span %+v", port, d, s)
				}
			}
			next = int(s.Last) + 1
		}
		if next != 65536 {
			t.Fatalf("spans end before port %d", next)
		}
	}
}

// FuzzDecide draws rules and packets from fuzzed seeds and bytes: nothing panics, and all agrees with the naive evaluator.
func FuzzDecide(f *testing.F) {
	f.Add(uint64(1), uint8(6), []byte{10, 0, 0, 1, 10, 0, 1, 1, 1, 187})
	f.Fuzz(func(t *testing.T, seed uint64, protocol uint8, b []byte) {
		r := rand.New(rand.NewPCG(seed, 9))
		a := spec.NetworkACL{Ingress: randomRules(r), Egress: randomRules(r)}
		g := randomGroup(r)
		p := randomPacket(r)
		if len(b) >= 10 {
			p = Packet{
				Protocol: protocol, Source: netip.AddrFrom4([4]byte(b)), Destination: netip.AddrFrom4([4]byte(b[4:])),
				Port: uint16(b[8])<<8 | uint16(b[9]), ICMPType: b[8], ICMPCode: b[9],
			}
		}
		acl := CompileACL(&a)
		if got, want := acl.Ingress.Decide(&p), naiveACL(a.Ingress, p, p.Source); got != want {
			t.Errorf("ingress of %+v by %+v: got %+v, want %+v", p, a.Ingress, got, want)
		}
		if got, want := acl.Egress.Decide(&p), naiveACL(a.Egress, p, p.Destination); got != want {
			t.Errorf("egress of %+v by %+v: got %+v, want %+v", p, a.Egress, got, want)
		}
		if _, got := CompileGroup(&g).Admits(&p, groups[:1]); got != naiveGroup(g, p, groups[:1]) {
			t.Errorf("%+v by %+v: got %v", p, g, got)
		}
	})
}

// forty are as many rules as an ACL may have, of which only the last matches what is asked.
func forty() *ACL {
	var rules []spec.ACLRule
	for i := range 39 {
		rules = append(rules, spec.ACLRule{
			Number: i + 1, Allow: i%2 == 0, Prefix: prefix("10.0.0.0/16"), Traffic: tcpPorts(uint16(1000+i), uint16(1000+i)),
		})
	}
	rules = append(rules, spec.ACLRule{Number: 100, Allow: true, Prefix: prefix("10.0.0.0/8"), Traffic: tcpPorts(443, 443)})
	return CompileACL(&spec.NetworkACL{Ingress: rules, Egress: rules})
}

var asked = Packet{Protocol: tcp, Source: netip.MustParseAddr("10.0.1.1"), Destination: netip.MustParseAddr("10.0.2.2"), Port: 443}

func TestDecidingAllocatesNothing(t *testing.T) {
	acl := forty()
	group := CompileGroup(&spec.SecurityGroup{Ingress: []spec.GroupRule{{Traffic: all, Group: "a"}, {Traffic: all, Group: "b"}}})
	memberOf := []string{"x", "b"}
	if n := testing.AllocsPerRun(1000, func() {
		acl.Ingress.Decide(&asked)
		acl.Egress.Decide(&asked)
		group.Admits(&asked, memberOf)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkDecide is the worst case: the last of 40 rules matches.
func BenchmarkDecide(b *testing.B) {
	acl := forty()
	b.ReportAllocs()
	for b.Loop() {
		if !acl.Ingress.Decide(&asked).Allow {
			b.Fatal("denied")
		}
	}
}

// BenchmarkAdmits is the worst case of a security group: the last of 60 rules matches, by group.
func BenchmarkAdmits(b *testing.B) {
	g := spec.SecurityGroup{}
	for i := range 59 {
		g.Ingress = append(g.Ingress, spec.GroupRule{Traffic: tcpPorts(uint16(i), uint16(i)), Group: "others"})
	}
	g.Ingress = append(g.Ingress, spec.GroupRule{Traffic: all, Group: "clients"})
	group, memberOf := CompileGroup(&g), []string{"clients"}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := group.Admits(&asked, memberOf); !ok {
			b.Fatal("denied")
		}
	}
}
