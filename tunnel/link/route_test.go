package link

import (
	"net/netip"
	"testing"
)

func TestRoutes(t *testing.T) {
	l, a := newTestLink(t, Config{}, new(recorder))
	b, c := l.NewPort("b"), l.NewPort("c")
	route := func(prefix string, ports ...*Port) Route {
		return Route{netip.MustParsePrefix(prefix), ports}
	}
	l.SetRoutes([]Route{
		route("10.0.0.0/8", a),
		route("10.1.2.3/16", b), // host bits do not matter
		route("10.1.1.1/32", c),
		route("192.168.0.0/16", a),
		route("192.168.0.0/16", b), // named twice
		route("172.16.0.0/12"),     // no ports
		route("2001:db8::/32", a),  // not IPv4
	})
	tests := []struct {
		addr string
		want *Port
	}{
		{"10.255.255.255", a},
		{"10.1.0.0", b},
		{"10.1.255.255", b},
		{"10.1.1.1", c},
		{"10.1.1.2", b},
		{"11.0.0.0", nil},
		{"9.255.255.255", nil},
		{"192.168.1.1", a},
		{"172.16.0.1", nil},
		{"2001:db8::1", nil},
	}
	for _, tt := range tests {
		if got := l.ActivePort(netip.MustParseAddr(tt.addr)); got != tt.want {
			t.Errorf("%s leaves by %v", tt.addr, got)
		}
	}
	l.SetRoutes([]Route{route("0.0.0.0/0", c), route("10.0.0.0/31", a)})
	for addr, want := range map[string]*Port{"11.0.0.0": c, "10.0.0.1": a, "10.0.0.2": c} {
		if got := l.ActivePort(netip.MustParseAddr(addr)); got != want {
			t.Errorf("with a default route %s leaves by %v", addr, got)
		}
	}
}

func TestNoRoute(t *testing.T) {
	l, _ := newTestLink(t, Config{}, new(recorder))
	l.SetRoutes(nil)
	sendOut(t, l, outbound(segment{flags: flagACK, payload: fill(250, 1)}.bytes(), 100))
	if n := l.Counters().OutDrops[ReasonNoRoute]; n != 3 {
		t.Errorf("%d segments without route, want 3", n)
	}
}

// The site decides which of its tunnels is active, per prefix.
func TestActivePortFollowsTheSite(t *testing.T) {
	l, a := newTestLink(t, Config{Admit: acceptAll}, new(recorder))
	b, c := l.NewPort("b"), l.NewPort("c")
	site := netip.MustParsePrefix("192.168.0.0/24")
	other := netip.MustParsePrefix("192.168.1.0/24")
	host, otherHost := netip.MustParseAddrPort("192.168.0.9:1"), netip.MustParseAddrPort("192.168.1.9:1")
	routes := []Route{{site, []*Port{a, b}}, {other, []*Port{a, b}}}
	from := func(src netip.AddrPort) []byte { return segment{src: src, flags: flagSYN}.bytes() }
	expect := func(what string, addr netip.AddrPort, want *Port) {
		t.Helper()
		if got := l.ActivePort(addr.Addr()); got != want {
			t.Errorf("%s: %v leaves by %q, want %q", what, addr, got.Name(), want.Name())
		}
	}

	l.SetRoutes(routes)
	expect("at the beginning", host, a)
	write(t, b, from(host))
	expect("after the site sent through b", host, b)
	expect("the other prefix has not", otherHost, a)
	l.SetRoutes(routes)
	expect("after the routes were set again", host, b)
	write(t, c, from(host))
	expect("after a port that does not hold it", host, b)
	write(t, a, from(otherHost), from(host), from(otherHost))
	expect("after the site went back", host, a)

	write(t, b, from(host))
	l.SetRoutes([]Route{{site, []*Port{a, c}}})
	expect("after its active port lost the prefix", host, a)
	l.SetRoutes([]Route{{site, []*Port{c}}})
	expect("a single port", host, c)
	sendOut(t, l, outbound(segment{src: service, dst: host, flags: flagACK, payload: []byte("x")}.bytes(), 0))
	if n := len(newReader(2, 2000).read(t, c)); n != 1 {
		t.Errorf("read %d packets from the active port", n)
	}
}

// What failed authentication at WireGuard never gets here; what is malformed inside must not steer traffic either.
func TestMalformedPacketsDoNotMoveTheActivePort(t *testing.T) {
	l, a := newTestLink(t, Config{}, new(recorder))
	b := l.NewPort("b")
	l.SetRoutes([]Route{{netip.MustParsePrefix("10.0.1.0/24"), []*Port{a, b}}})
	bad := segment{flags: flagACK}.bytes()
	bad[10]++
	write(t, b, bad)
	if got := l.ActivePort(client.Addr()); got != a {
		t.Errorf("active port is %q", got.Name())
	}
}
