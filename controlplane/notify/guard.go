package notify

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// ErrRefused says that no receiver may have an address.
var ErrRefused = errors.New("no receiver may have this address")

// class is what a prefix is, and whether the operator can open it or a part of it.
type class struct {
	prefix netip.Prefix
	word   string
	opens  bool
}

// classes are the prefixes that are not open to everybody. First match counts.
var classes = []class{
	{netip.MustParsePrefix("127.0.0.0/8"), "a loopback address", true},
	{netip.MustParsePrefix("::1/128"), "a loopback address", true},
	{netip.MustParsePrefix("169.254.169.254/32"), "an instance metadata service", true},
	{netip.MustParsePrefix("169.254.0.0/16"), "a link-local address", true},              // RFC 3927
	{netip.MustParsePrefix("100.100.100.200/32"), "an instance metadata service", true},  // Alibaba Cloud
	{netip.MustParsePrefix("168.63.129.16/32"), "a platform service of Azure", true},     // metadata of Azure
	{netip.MustParsePrefix("192.0.0.0/24"), "a protocol assignment", true},               // RFC 6890; Oracle Cloud at .192
	{netip.MustParsePrefix("fd00:ec2::/32"), "an instance metadata service", true},       // AWS
	{netip.MustParsePrefix("fd20:ce::/32"), "an instance metadata service", true},        // GCP
	{netip.MustParsePrefix("fe80::/10"), "a link-local address", true},                   // RFC 4291
	{netip.MustParsePrefix("10.0.0.0/8"), "a private address", true},                     // RFC 1918
	{netip.MustParsePrefix("172.16.0.0/12"), "a private address", true},                  // RFC 1918
	{netip.MustParsePrefix("192.168.0.0/16"), "a private address", true},                 // RFC 1918
	{netip.MustParsePrefix("100.64.0.0/10"), "a shared address", true},                   // RFC 6598
	{netip.MustParsePrefix("198.18.0.0/15"), "a benchmarking address", true},             // RFC 2544
	{netip.MustParsePrefix("fc00::/7"), "a private address", true},                       // RFC 4193
	{netip.MustParsePrefix("0.0.0.0/8"), "an unspecified address", false},                // RFC 1122
	{netip.MustParsePrefix("224.0.0.0/4"), "a multicast address", false},                 // RFC 5771
	{netip.MustParsePrefix("240.0.0.0/4"), "a reserved or the broadcast address", false}, // RFC 1112
	{netip.MustParsePrefix("::/96"), "an unspecified address", false},                    // RFC 4291
	{netip.MustParsePrefix("::ffff:0:0:0/96"), "an IPv6 transition address", false},      // RFC 2765
	{netip.MustParsePrefix("64:ff9b:1::/48"), "an IPv6 transition address", false},       // RFC 8215
	{netip.MustParsePrefix("2001::/32"), "an IPv6 transition address", false},            // RFC 4380
	{netip.MustParsePrefix("fec0::/10"), "a site-local address", false},                  // RFC 3879
	{netip.MustParsePrefix("ff00::/8"), "a multicast address", false},                    // RFC 4291
}

// Guard decides which addresses receivers may have: all public ones that are not this host's own,
// and what the operator allows beyond these. It is asked at every dial with the resolved address, so
// it holds whatever a name server says. Safe for concurrent use.
type Guard struct {
	allow []netip.Prefix
	own   func() ([]net.Addr, error)
}

// NewGuard makes a guard. A prefix of allow opens private, loopback, link-local and metadata
// addresses only where it lies within their range, so that 0.0.0.0/0 opens none of them, and an
// address of this host only where it is that address alone.
func NewGuard(allow []netip.Prefix) *Guard {
	return &Guard{allow: allow, own: net.InterfaceAddrs}
}

// Check gives nil, or ErrRefused with the reason.
func (g *Guard) Check(a netip.Addr) error {
	plain, ok := embedded(a)
	if !ok {
		return fmt.Errorf("%w: %v is not a plain address", ErrRefused, a)
	}
	for _, c := range classes {
		if !c.prefix.Contains(plain) {
			continue
		}
		if c.opens && g.opened(plain, c.prefix) {
			return g.checkOwn(plain)
		}
		return fmt.Errorf("%w: %v is %s", ErrRefused, a, c.word)
	}
	return g.checkOwn(plain)
}

// opened says whether a prefix that lies within a class is allowed and holds the address.
func (g *Guard) opened(a netip.Addr, class netip.Prefix) bool {
	for _, p := range g.allow {
		if p.Contains(a) && p.Bits() >= class.Bits() && class.Contains(p.Addr()) {
			return true
		}
	}
	return false
}

// checkOwn refuses the addresses of this host, where its API, its metrics and its store may listen.
// That loopback is its own was known to who allowed it.
func (g *Guard) checkOwn(a netip.Addr) error {
	if a.IsLoopback() {
		return nil
	}
	for _, p := range g.allow {
		if p.IsSingleIP() && p.Addr() == a {
			return nil
		}
	}
	own, err := g.own()
	if err != nil {
		return fmt.Errorf("%w: the addresses of the gateway's host are not known: %w", ErrRefused, err)
	}
	for _, address := range own {
		if n, ok := address.(*net.IPNet); ok && n.IP.Equal(a.AsSlice()) {
			return fmt.Errorf("%w: %v is the gateway's own", ErrRefused, a)
		}
	}
	return nil
}

var (
	nat64  = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052
	sixTo4 = netip.MustParsePrefix("2002::/16")    // RFC 3056
)

// embedded gives the IPv4 address inside a v4-mapped, NAT64 or 6to4 address, and others as they are;
// ok is false for what is no address, or one with a zone.
func embedded(a netip.Addr) (plain netip.Addr, ok bool) {
	if !a.IsValid() || a.Zone() != "" {
		return netip.Addr{}, false
	}
	b := a.As16()
	switch {
	case a.Is4In6():
		return a.Unmap(), true
	case nat64.Contains(a):
		return netip.AddrFrom4([4]byte(b[12:])), true
	case sixTo4.Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return a, true
}
