package resolver

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

const regional = "vpce-0123456789abcdef0-abcdefgh.vpce-svc-0123456789abcdef0.us-east-1.vpce.causeway.internal"

func ownTable() Table {
	withdrawn := name("withdrawn.example", "10.0.1.12")
	withdrawn.Published = never
	return Table{Names: []Name{
		name(regional, "10.0.1.10", "10.0.2.10"),
		name("kinesis.us-east-1.example", "10.0.1.11"),
		name("*.data.example", "10.0.1.13"),
		name("*.deep.data.example", "10.0.1.14"),
		name("exact.data.example", "10.0.1.15"),
		withdrawn,
	}}
}

func TestOwnNames(t *testing.T) {
	g := newRig(t, ownTable())
	g.host.set(host1, answering(t, dns.RcodeNameError))
	for _, tt := range []struct {
		title, name string
		kind        uint16
		code        int
		addrs       []string
		soa         string // of a negative answer
	}{
		{"OK regional", regional + ".", dns.TypeA, dns.RcodeSuccess, []string{"10.0.1.10", "10.0.2.10"}, ""},
		{"OK private", "kinesis.us-east-1.example.", dns.TypeA, dns.RcodeSuccess, []string{"10.0.1.11"}, ""},
		{"OK upper case", "KINESIS.us-east-1.Example.", dns.TypeA, dns.RcodeSuccess, []string{"10.0.1.11"}, ""},
		{"OK wildcard", "a.data.example.", dns.TypeA, dns.RcodeSuccess, []string{"10.0.1.13"}, ""},
		{"OK wildcard for two labels", "b.a.data.example.", dns.TypeA, dns.RcodeSuccess, []string{"10.0.1.13"}, ""},
		{"OK longest wildcard", "a.deep.data.example.", dns.TypeA, dns.RcodeSuccess, []string{"10.0.1.14"}, ""},
		{"OK exact before wildcard", "exact.data.example.", dns.TypeA, dns.RcodeSuccess, []string{"10.0.1.15"}, ""},
		{"OK no IPv6", "kinesis.us-east-1.example.", dns.TypeAAAA, dns.RcodeSuccess, nil, "kinesis.us-east-1.example."},
		{"OK no mail below a wildcard", "a.data.example.", dns.TypeMX, dns.RcodeSuccess, nil, "data.example."},
		{"OK no IPv6 of a regional name", regional + ".", dns.TypeAAAA, dns.RcodeSuccess, nil, regional + "."},
		{"OK name above an endpoint's", "us-east-1.vpce.causeway.internal.", dns.TypeA, dns.RcodeSuccess, nil, "vpce.causeway.internal."},
		{"OK zone", "vpce.causeway.internal.", dns.TypeA, dns.RcodeSuccess, nil, "vpce.causeway.internal."},
		{"bad endpoint of another", "vpce-1.us-east-1.vpce.causeway.internal.", dns.TypeA, dns.RcodeNameError, nil, "vpce.causeway.internal."},
		{"bad name below an endpoint's", "a." + regional + ".", dns.TypeA, dns.RcodeNameError, nil, "vpce.causeway.internal."},
		{"OK not the wildcard itself: forwarded", "data.example.", dns.TypeA, dns.RcodeNameError, nil, ""},
		{"OK withdrawn: forwarded", "withdrawn.example.", dns.TypeA, dns.RcodeNameError, nil, ""},
		{"OK suffix itself: forwarded", "causeway.internal.", dns.TypeA, dns.RcodeNameError, nil, ""},
		{"OK below a private name: forwarded", "a.kinesis.us-east-1.example.", dns.TypeA, dns.RcodeNameError, nil, ""},
	} {
		t.Run(tt.title, func(t *testing.T) {
			forwarded := strings.Contains(tt.title, "forwarded")
			g.host.questions()
			m := g.lookup(t, tt.name, tt.kind)
			if asked := len(g.host.questions()) > 0; asked != forwarded {
				t.Errorf("other servers were asked: %v", asked)
			}
			if m.Rcode != tt.code || !reflect.DeepEqual(addresses(m), tt.addrs) {
				t.Errorf("got %s, want %s with %v", m, dns.RcodeToString[tt.code], tt.addrs)
			}
			if m.Authoritative == forwarded || !m.RecursionAvailable {
				t.Errorf("authoritative %v, recursion available %v", m.Authoritative, m.RecursionAvailable)
			}
			if m.Question[0].Name != tt.name {
				t.Errorf("question is repeated as %s", m.Question[0].Name)
			}
			for _, rr := range m.Answer {
				if rr.Header().Ttl != 60 || rr.Header().Name != tt.name {
					t.Errorf("record %v, want it to live for 60 s and to be spelt as asked", rr)
				}
			}
			if tt.soa == "" && !forwarded && len(m.Ns) > 0 || tt.soa != "" && (len(m.Ns) != 1 || m.Ns[0].Header().Name != tt.soa && !strings.EqualFold(m.Ns[0].Header().Name, tt.soa)) {
				t.Errorf("authority %v, want %q", m.Ns, tt.soa)
			}
		})
	}
	if soa := g.lookup(t, "vpce.causeway.internal.", dns.TypeSOA); len(soa.Answer) != 1 {
		t.Errorf("the zone has no SOA record: %v", soa)
	}
}

func TestOnlyInterfacesThatServe(t *testing.T) {
	serves := map[string]bool{"10.0.1.10": true, "10.0.2.10": true, "10.0.3.10": true}
	n := Name{Name: "orders.example"}
	for a := range serves {
		n.Interfaces = append(n.Interfaces, Interface{netip.MustParseAddr(a), func() bool { return serves[a] }})
	}
	g := newRig(t, Table{Names: []Name{n}})
	for subset := range 8 {
		for i, a := range []string{"10.0.1.10", "10.0.2.10", "10.0.3.10"} {
			serves[a] = subset>>i&1 != 0
		}
		var want []string
		for a, ok := range serves {
			if ok {
				want = append(want, a)
			}
		}
		if want == nil { // never an empty answer
			want = []string{"10.0.1.10", "10.0.2.10", "10.0.3.10"}
		}
		slices.Sort(want)
		if got := addresses(g.lookup(t, "orders.example.", dns.TypeA)); !slices.Equal(got, want) {
			t.Errorf("with %v serving: got %v", serves, got)
		}
	}
}

func TestAddressesRotate(t *testing.T) {
	g := newRig(t, Table{Names: []Name{name("orders.example", "10.0.1.10", "10.0.2.10", "10.0.3.10")}})
	first := map[string]int{}
	for range 30 {
		m := g.lookup(t, "orders.example.", dns.TypeA)
		first[m.Answer[0].(*dns.A).A.String()]++
	}
	for a, n := range first {
		if n != 10 || len(first) != 3 {
			t.Errorf("%s came first %d of 30 times, want 10", a, n)
		}
	}
}

func TestRequestsThatAreNotServed(t *testing.T) {
	g := newRig(t, ownTable())
	ask := func(change func(*dns.Msg)) *dns.Msg {
		m := new(dns.Msg).SetQuestion("kinesis.us-east-1.example.", dns.TypeA)
		change(m)
		return m
	}
	edns := func(change func(*dns.OPT)) func(*dns.Msg) {
		return func(m *dns.Msg) {
			m.SetEdns0(1232, false)
			change(m.IsEdns0())
		}
	}
	for _, tt := range []struct {
		name string
		m    *dns.Msg
		code int // -1: no answer
	}{
		{"OK", ask(func(*dns.Msg) {}), dns.RcodeSuccess},
		{"OK EDNS", ask(edns(func(*dns.OPT) {})), dns.RcodeSuccess},
		{"bad answer", ask(func(m *dns.Msg) { m.Response = true }), -1},
		{"bad update", ask(func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }), dns.RcodeNotImplemented},
		{"bad notify", ask(func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }), dns.RcodeNotImplemented},
		{"bad status", ask(func(m *dns.Msg) { m.Opcode = dns.OpcodeStatus }), dns.RcodeNotImplemented},
		{"bad two questions", ask(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), dns.RcodeFormatError},
		{"bad records", ask(func(m *dns.Msg) { m.Answer = []dns.RR{rr(t, "a.example. 60 A 10.0.0.1")} }), dns.RcodeFormatError},
		{"bad CHAOS", ask(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), dns.RcodeRefused},
		{"bad transfer", ask(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAXFR }), dns.RcodeRefused},
		{"bad type of EDNS", ask(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeOPT }), dns.RcodeFormatError},
		{"bad version", ask(edns(func(o *dns.OPT) { o.SetVersion(1) })), dns.RcodeBadVers},
		{"bad EDNS twice", ask(edns(func(*dns.OPT) {})), dns.RcodeFormatError},
		{"bad without recursion", func() *dns.Msg {
			m := new(dns.Msg).SetQuestion("other.example.", dns.TypeA)
			m.RecursionDesired = false
			return m
		}(), dns.RcodeRefused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if strings.Contains(tt.name, "twice") {
				tt.m.Extra = append(tt.m.Extra, tt.m.Extra[0])
			}
			got := g.ask(t, tt.m)
			switch {
			case got == nil && tt.code == -1:
			case got == nil || got.Rcode != tt.code:
				t.Errorf("got %v, want %s", got, dns.RcodeToString[tt.code])
			case got.Opcode != tt.m.Opcode:
				t.Errorf("answered with opcode %d, want %d", got.Opcode, tt.m.Opcode)
			case len(got.Question) > 0 && got.Question[0] != tt.m.Question[0]:
				t.Errorf("question is repeated as %v", got.Question)
			case (got.IsEdns0() != nil) != (tt.m.IsEdns0() != nil) && !strings.Contains(tt.name, "twice"):
				t.Errorf("EDNS in the answer: %v", got.IsEdns0())
			}
		})
	}
	if len(g.host.questions()) > 0 {
		t.Error("one of them was forwarded")
	}
	any := g.lookup(t, "other.example.", dns.TypeANY)
	if len(any.Answer) != 1 || any.Answer[0].Header().Rrtype != dns.TypeHINFO {
		t.Errorf("ANY is answered with %v", any.Answer)
	}
	for size := range headerLen {
		if reply, q := g.handle(app, make([]byte, size), false); reply != nil || q != nil {
			t.Errorf("%d bytes are answered", size)
		}
	}
	if reply, q := g.handle(app, make([]byte, maxQuestion+1), false); reply != nil || q != nil {
		t.Error("a request that is too long is answered")
	}
}

func TestAnswersKeepToTheClientsSize(t *testing.T) {
	var addrs []string
	for i := range 60 { // 60 records of 16 bytes
		addrs = append(addrs, fmt.Sprintf("10.0.1.%d", i+1))
	}
	g := newRig(t, Table{Names: []Name{name("many.example", addrs...)}})
	for _, tt := range []struct {
		size int // 0: no EDNS
		cut  bool
	}{{0, true}, {100, true}, {512, true}, {1100, false}, {1232, false}, {65535, false}} {
		m := new(dns.Msg).SetQuestion("many.example.", dns.TypeA)
		if tt.size > 0 {
			m.SetEdns0(uint16(tt.size), false)
		}
		got := g.ask(t, m)
		if got.Truncated != tt.cut || tt.cut != (len(got.Answer) == 0) || !tt.cut && len(got.Answer) != 60 {
			t.Errorf("with %d bytes: cut %v, %d records", tt.size, got.Truncated, len(got.Answer))
		}
		if (got.IsEdns0() != nil) != (tt.size > 0) {
			t.Errorf("with %d bytes: EDNS %v", tt.size, got.IsEdns0())
		}
	}
}

// naiveOwn says again, as plainly as possible, which name of a table a question matches.
func naiveOwn(t Table, asked string) string {
	asked = strings.TrimSuffix(asked, ".")
	best := ""
	for _, n := range t.Names {
		if n.Published != nil && !n.Published() {
			continue
		}
		if n.Name == asked {
			return n.Name
		}
		if base, wild := strings.CutPrefix(n.Name, "*"); wild && strings.HasSuffix(asked, base) && len(n.Name) > len(best) {
			best = n.Name
		}
	}
	return best
}

func TestLookupAgreesWithNaiveEvaluator(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	word := func() string {
		labels := make([]string, 1+random.IntN(4))
		for i := range labels {
			labels[i] = string(rune('a' + random.IntN(3)))
		}
		return strings.Join(labels, ".")
	}
	for range 2000 {
		table, seen := Table{}, map[string]bool{}
		for range random.IntN(8) {
			n := name(word(), "10.0.0.1")
			if random.IntN(2) == 0 {
				n.Name = "*." + n.Name
			}
			if random.IntN(4) == 0 {
				n.Published = never
			}
			if !seen[n.Name] {
				seen[n.Name] = true
				table.Names = append(table.Names, n)
			}
		}
		c := compile(table)
		for range 20 {
			asked := word() + "."
			found, _ := c.own(asked)
			got := ""
			if found != nil {
				got = found.Name
			}
			if want := naiveOwn(table, asked); got != want {
				t.Fatalf("%s in %v: got %q, want %q", asked, seen, got, want)
			}
		}
	}
}

func BenchmarkOwnName(b *testing.B) {
	g := newRig(b, ownTable())
	m, err := new(dns.Msg).SetQuestion(regional+".", dns.TypeA).Pack()
	if err != nil {
		b.Fatal(err)
	}
	g.unlimited()
	b.ReportAllocs()
	for b.Loop() {
		if reply, _ := g.handle(app, m, false); reply == nil {
			b.Fatal("no answer")
		}
	}
}
