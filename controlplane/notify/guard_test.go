package notify

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

func TestGuard(t *testing.T) {
	own := func() ([]net.Addr, error) {
		return []net.Addr{&net.IPNet{IP: net.ParseIP("203.0.113.7"), Mask: net.CIDRMask(24, 32)}, &net.IPNet{IP: net.ParseIP("10.7.0.1"), Mask: net.CIDRMask(24, 32)}}, nil
	}
	prefixes := func(texts ...string) (all []netip.Prefix) {
		for _, text := range texts {
			all = append(all, netip.MustParsePrefix(text))
		}
		return all
	}
	everything := prefixes("0.0.0.0/0", "::/0")
	cases := []struct {
		name  string
		addr  string
		allow []netip.Prefix
		ok    bool
	}{
		{"OK public", "198.51.100.7", nil, true},
		{"OK public IPv6", "2600::1", nil, true},
		{"OK mapped public", "::ffff:198.51.100.7", nil, true},
		{"bad own", "203.0.113.7", nil, false},
		{"bad own by range", "203.0.113.7", prefixes("203.0.113.0/24"), false},
		{"OK own alone", "203.0.113.7", prefixes("203.0.113.7/32"), true},
		{"bad loopback", "127.0.0.1", nil, false},
		{"bad loopback elsewhere", "127.255.255.254", nil, false},
		{"bad loopback IPv6", "::1", nil, false},
		{"bad mapped loopback", "::ffff:127.0.0.1", nil, false},
		{"bad compatible loopback", "::127.0.0.1", nil, false},
		{"bad NAT64 loopback", "64:ff9b::7f00:1", nil, false},
		{"bad 6to4 loopback", "2002:7f00:1::", nil, false},
		{"bad local NAT64", "64:ff9b:1::7f00:1", everything, false},
		{"bad Teredo", "2001:0:7f00:1::", everything, false},
		{"bad unspecified", "0.0.0.0", everything, false},
		{"bad unspecified IPv6", "::", everything, false},
		{"bad this network", "0.1.2.3", everything, false},
		{"bad link-local", "169.254.1.1", nil, false},
		{"bad link-local IPv6", "fe80::1", nil, false},
		{"bad zone", "fe80::1%eth0", prefixes("fe80::/10"), false},
		{"bad metadata", "169.254.169.254", nil, false},
		{"bad metadata by link-local", "169.254.169.254", prefixes("169.254.0.0/16"), false},
		{"OK metadata alone", "169.254.169.254", prefixes("169.254.169.254/32"), true},
		{"bad metadata of AWS", "fd00:ec2::254", prefixes("fc00::/7"), false},
		{"bad metadata of GCP", "fd20:ce::254", nil, false},
		{"bad metadata of Alibaba", "100.100.100.200", nil, false},
		{"bad platform of Azure", "168.63.129.16", nil, false},
		{"bad metadata of Oracle", "192.0.0.192", nil, false},
		{"bad private", "10.1.2.3", nil, false},
		{"bad private by everything", "10.1.2.3", everything, false},
		{"OK private allowed", "10.1.2.3", prefixes("10.1.0.0/16"), true},
		{"bad own in an allowed range", "10.7.0.1", prefixes("10.7.0.0/24"), false},
		{"bad private 172", "172.31.255.255", nil, false},
		{"bad private 192", "192.168.0.1", nil, false},
		{"bad shared", "100.64.0.1", nil, false},
		{"bad unique local", "fd12::1", nil, false},
		{"bad multicast", "224.0.0.1", everything, false},
		{"bad multicast IPv6", "ff02::1", everything, false},
		{"bad broadcast", "255.255.255.255", everything, false},
		{"OK loopback allowed", "127.0.0.1", prefixes("127.0.0.0/8"), true},
		{"bad loopback by everything", "127.0.0.1", everything, false},
		{"bad loopback by half of everything", "127.0.0.1", prefixes("0.0.0.0/1"), false},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			g := NewGuard(tc.allow)
			g.own = own
			err := g.Check(netip.MustParseAddr(tc.addr))
			if (err == nil) != tc.ok || err != nil && !errors.Is(err, ErrRefused) {
				t.Errorf("%s: %v", tc.addr, err)
			}
		})
	}
	g := NewGuard(nil)
	g.own = func() ([]net.Addr, error) { return nil, errors.New("no netlink") }
	if g.Check(netip.MustParseAddr("198.51.100.7")) == nil || g.Check(netip.Addr{}) == nil {
		t.Error("what is not known is allowed")
	}
}

func TestCheckURL(t *testing.T) {
	g := NewGuard(nil)
	for _, text := range []string{
		"https://hooks.example.com", "http://hooks.example.com:8080/a?b=c", "https://198.51.100.7/x", "https://[2600::1]:8443/", "https://hooks.example.com./",
		"HTTPS://Hooks.Example.com/%20", "https://xn--bcher-kva.example/",
	} {
		if err := CheckURL(text, g); err != nil {
			t.Errorf("%s %v", text, err)
		}
	}
	for _, text := range []string{
		"", "hooks.example.com", "//hooks.example.com", "ftp://hooks.example.com", "http:hooks", "http://", "https:///x", "https://u@h.example",
		"https://u:p@h.example", "https://h.example#", "https://h.example/#f", "https://h.example:", "https://h.example:0", "https://h.example:65536",
		"https://h.example /", "https://h.example/ ", "https://bücher.example", "https://h..example", "https://-h.example", "https://127.0.0.1",
		"https://127.1", "https://2130706433", "https://0x7f.0.0.1", "https://0x7f000001", "https://017700000001", "https://127.0.0.1.", "https://localhost",
		"https://LocalHost.", "https://x.localhost", "https://[::1]", "https://[::]", "https://[::ffff:127.0.0.1]", "https://[fe80::1%25lo]", "https://10.0.0.1",
		"http://169.254.169.254/latest", "https://h.example\n", "https://h.example\\@127.0.0.1",
	} {
		if err := CheckURL(text, g); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
	if err := CheckURL("http://localhost:8080", NewGuard([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")})); err != nil {
		t.Errorf("localhost that the operator allows: %v", err)
	}
}

// TestRebinding has a name that means an address that is allowed when it is looked up first, and
// another at every later look: the check is of the address that is dialled.
func TestRebinding(t *testing.T) {
	r := newRig(t)
	r.allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}
	l, err := net.Listen("tcp", "127.0.0.2:0")
	must(t, err)
	allowed := &receiver{t: t, answer: func(w http.ResponseWriter, _ message) int {
		w.Header().Set("Connection", "close")
		return 204
	}}
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: allowed}}
	server.Start()
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(l.Addr().String())
	must(t, err)
	if l, err = net.Listen("tcp", "127.0.0.1:"+port); err != nil {
		t.Fatal(err)
	}
	forbidden := &receiver{t: t}
	inside := &httptest.Server{Listener: l, Config: &http.Server{Handler: forbidden}}
	inside.Start()
	t.Cleanup(inside.Close)

	var asked atomic.Int32
	r.resolver = resolver(t, func() [4]byte {
		if asked.Add(1) == 1 {
			return [4]byte{127, 0, 0, 2}
		}
		return [4]byte{127, 0, 0, 1}
	})
	n := r.notification("n", "http://rebind.example:"+port)
	first := r.event(n)
	r.start()
	r.eventually("delivered", func() bool { return r.pending(n) == 0 })
	r.event(n)
	literal := r.notification("literal", "http://127.0.0.1:"+port) // as if written into the store
	r.event(literal)
	r.eventually("refused", func() bool {
		const want = "the host has an address that no receiver may have"
		return r.delivery(n).GetLastError() == want && r.delivery(literal).GetLastError() == want && asked.Load() > 3
	})
	r.stop() // while the name server still answers
	if forbidden.called() != 0 || !slices.Equal(allowed.ids(), []string{first}) {
		t.Errorf("%d requests to what is forbidden, %v to what is allowed", forbidden.called(), allowed.ids())
	}
}

// resolver asks a name server that gives an address of its own choice for every name.
func resolver(t *testing.T, answer func() [4]byte) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			size, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(reply(buf[:size], answer), from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

func reply(query []byte, answer func() [4]byte) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return nil
	}
	m.Response, m.Additionals = true, nil
	if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
			Body:   &dnsmessage.AResource{A: answer()},
		}}
	}
	packed, _ := m.Pack()
	return packed
}
