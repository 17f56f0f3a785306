package balance

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// everywhere opens all addresses on the underlay, so that only the fixed rules refuse.
var everywhere = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

func noAddresses() ([]netip.Addr, error) { return nil, nil }

func TestGuardRefusesEverySpelling(t *testing.T) {
	g := NewGuard(everywhere, noAddresses)
	for _, text := range []string{
		"127.0.0.1", "127.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "::", "::1", "::ffff:127.0.0.1", "::127.0.0.1",
		"::ffff:169.254.169.254", "::ffff:0:127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1", "64:ff9b:1::", "64:ff9b:1::7f00:1",
		"2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "fe80::1", "fe80::1%eth0", "fec0::1",
		"169.254.169.254", "169.254.169.253", "169.254.169.123", "169.254.170.2", "fd00:ec2::254", "fd00:ec2::253", "fd20:ce::254",
		"168.63.129.16", "::ffff:168.63.129.16", "100.100.100.200", "192.0.0.192", "224.0.0.1", "239.255.255.255", "ff02::1",
		"255.255.255.255", "240.0.0.1", "::ffff:240.0.0.1", "010.0.0.1", "0x7f.1", "2130706433", "1", "[::1]", "localhost",
		"localhost.", "a.localhost", "metadata.google.internal", "", "2001:db8::1%1",
	} {
		a, err := netip.ParseAddr(text)
		if err != nil {
			continue // not an address at all: it never reaches the guard
		}
		if g.Domain(a) == nil || g.Underlay(a) == nil {
			t.Errorf("%q: domain %v, underlay %v; want both refused", text, g.Domain(a), g.Underlay(a))
		}
	}
	if g.Domain(netip.Addr{}) == nil {
		t.Error("zero address: want refused")
	}
}

func TestGuardUnderlay(t *testing.T) {
	own := []netip.Addr{netip.MustParseAddr("192.168.7.1"), netip.MustParseAddr("::ffff:192.168.7.2"), netip.MustParseAddr("fd00::1%eth0")}
	g := NewGuard([]netip.Prefix{netip.MustParsePrefix("192.168.7.0/24"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("fd00::/64")},
		func() ([]netip.Addr, error) { return own, nil })
	for _, tt := range []struct {
		name, addr string
		want       error
	}{
		{"OK allowed", "192.168.7.10", nil},
		{"OK allowed, mapped", "::ffff:192.168.7.10", nil},
		{"OK allowed, v6", "fd00::2", nil},
		{"bad own", "192.168.7.1", ErrOwnAddress},
		{"bad own, mapped", "::ffff:192.168.7.1", ErrOwnAddress},
		{"bad own, listed mapped", "192.168.7.2", ErrOwnAddress},
		{"bad own, listed with zone", "fd00::1", ErrOwnAddress},
		{"bad outside", "192.168.8.10", ErrNotAllowed},
		{"bad loopback though listed", "127.0.0.1", ErrHostScoped},
		{"bad NAT64 of an allowed address", "64:ff9b::c0a8:70a", ErrNotAllowed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := g.Underlay(netip.MustParseAddr(tt.addr)); !errors.Is(err, tt.want) {
				t.Errorf("Underlay(%s) = %v, want %v", tt.addr, err, tt.want)
			}
		})
	}
}

func TestGuardFollowsOwnAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var own []netip.Addr
		failure := errors.New("no netlink")
		g := NewGuard(everywhere, func() ([]netip.Addr, error) { return own, failure })
		a := netip.MustParseAddr("192.168.7.1")
		if err := g.Underlay(a); !errors.Is(err, ErrOwnAddress) {
			t.Errorf("before the first answer: %v, want %v", err, ErrOwnAddress)
		}
		failure = nil
		if err := g.Underlay(a); err != nil {
			t.Errorf("not own: %v", err)
		}
		own = []netip.Addr{a}
		time.Sleep(ownRefresh + 1)
		if err := g.Underlay(a); !errors.Is(err, ErrOwnAddress) {
			t.Errorf("after it became own: %v, want %v", err, ErrOwnAddress)
		}
		failure = errors.New("no netlink")
		time.Sleep(ownRefresh + 1)
		if err := g.Underlay(a); !errors.Is(err, ErrOwnAddress) {
			t.Errorf("while unreadable: %v, want the last answer to hold", err)
		}
	})
}

// FuzzGuard asks for the rule that matters: nothing that netip itself calls host scoped or not unicast ever passes, in
// whatever form it is wrapped.
func FuzzGuard(f *testing.F) {
	f.Add([]byte{127, 0, 0, 1})
	f.Add([]byte{10, 0, 0, 1})
	f.Add(netip.MustParseAddr("64:ff9b::7f00:1").AsSlice())
	g := NewGuard(everywhere, noAddresses)
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := netip.AddrFromSlice(b)
		if !ok {
			return
		}
		forms := []netip.Addr{a, a.Unmap()}
		if a.Is4() {
			v4 := a.As4()
			forms = append(forms, netip.AddrFrom16(a.As16()),
				netip.AddrFrom16([16]byte{0, 0x64, 0xff, 0x9b, 12: v4[0], 13: v4[1], 14: v4[2], 15: v4[3]}),
				netip.AddrFrom16([16]byte{0x20, 0x02, v4[0], v4[1], v4[2], v4[3]}))
		}
		u := a.Unmap()
		bad := u.IsLoopback() || u.IsUnspecified() || u.IsMulticast() || u.IsLinkLocalUnicast()
		for _, form := range forms {
			if err := g.Underlay(form); bad && err == nil {
				t.Errorf("%v passed as %v", a, form)
			}
		}
	})
}
