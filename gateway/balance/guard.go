package balance

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// ownRefresh is how long the gateway host's addresses are trusted before they are read again.
const ownRefresh = 5 * time.Second

// Why a [Guard] refuses an address, for use with errors.Is.
var (
	// ErrInvalid: no address, or one with an IPv6 zone.
	ErrInvalid = errors.New("not a plain address")
	// ErrHostScoped: loopback, unspecified, "this network" or link-local.
	ErrHostScoped = errors.New("loopback, unspecified or link-local")
	// ErrMetadata: an instance metadata or platform service of a cloud provider.
	ErrMetadata = errors.New("instance metadata service")
	// ErrNotUnicast: multicast, broadcast or reserved (240.0.0.0/4).
	ErrNotUnicast = errors.New("multicast, broadcast or reserved")
	// ErrTransition: an IPv6 transition form that hides an IPv4 address which cannot be told.
	ErrTransition = errors.New("IPv6 transition address")
	// ErrOwnAddress: an address of the gateway host itself, or these are unknown at the moment.
	ErrOwnAddress = errors.New("address of the gateway itself")
	// ErrNotAllowed: outside the prefixes that the operator opened on the underlay.
	ErrNotAllowed = errors.New("outside underlay.allow")
)

// forbidden maps prefixes to the reason nobody may have a target there. First match counts.
var forbidden = []struct {
	prefix netip.Prefix
	reason error
}{
	{netip.MustParsePrefix("0.0.0.0/8"), ErrHostScoped},        // RFC 1122 section 3.2.1.3
	{netip.MustParsePrefix("127.0.0.0/8"), ErrHostScoped},      // RFC 1122
	{netip.MustParsePrefix("169.254.0.0/16"), ErrHostScoped},   // RFC 3927; metadata of AWS, Azure, GCP
	{netip.MustParsePrefix("100.100.100.200/32"), ErrMetadata}, // Alibaba Cloud
	{netip.MustParsePrefix("168.63.129.16/32"), ErrMetadata},   // Azure platform
	{netip.MustParsePrefix("192.0.0.0/24"), ErrMetadata},       // RFC 6890; Oracle Cloud at .192
	{netip.MustParsePrefix("224.0.0.0/4"), ErrNotUnicast},      // RFC 5771
	{netip.MustParsePrefix("240.0.0.0/4"), ErrNotUnicast},      // RFC 1112 section 4, with broadcast
	{netip.MustParsePrefix("::/96"), ErrHostScoped},            // unspecified, loopback, IPv4-compatible (RFC 4291)
	{netip.MustParsePrefix("::ffff:0:0:0/96"), ErrTransition},  // SIIT (RFC 2765)
	{netip.MustParsePrefix("64:ff9b:1::/48"), ErrTransition},   // RFC 8215: where the address stands is local
	{netip.MustParsePrefix("2001::/32"), ErrTransition},        // Teredo (RFC 4380)
	{netip.MustParsePrefix("fd00:ec2::/32"), ErrMetadata},      // AWS
	{netip.MustParsePrefix("fd20:ce::/32"), ErrMetadata},       // GCP
	{netip.MustParsePrefix("fe80::/10"), ErrHostScoped},        // RFC 4291
	{netip.MustParsePrefix("fec0::/10"), ErrHostScoped},        // deprecated site-local, RFC 3879
	{netip.MustParsePrefix("ff00::/8"), ErrNotUnicast},         // RFC 4291
}

// Guard decides whether the gateway may connect to an address. It is asked at every dial and every probe, with the
// address as it will be used, so it holds whatever an API, a store or a name server said. Safe for concurrent use.
type Guard struct {
	allow []netip.Prefix
	own   func() ([]netip.Addr, error)

	known      atomic.Pointer[ownAddresses]
	refreshing sync.Mutex
}

type ownAddresses struct {
	at    time.Time
	addrs map[netip.Addr]bool
}

// NewGuard returns a Guard that opens the prefixes of allow on the underlay. own lists the addresses of the gateway's
// host; it is called when the last answer is older than 5 seconds.
func NewGuard(allow []netip.Prefix, own func() ([]netip.Addr, error)) *Guard {
	return &Guard{allow: allow, own: own}
}

// Domain checks an address that will be reached through a provider's domain: the classes that are forbidden
// everywhere. The addresses of the gateway's host mean nothing there.
func (g *Guard) Domain(a netip.Addr) error {
	if err := class(a); err != nil {
		return fmt.Errorf("target %v: %w", a, err)
	}
	return nil
}

// Underlay checks an address that will be reached over the network of the gateway's host.
func (g *Guard) Underlay(a netip.Addr) error {
	if err := g.Domain(a); err != nil {
		return err
	}
	a = a.Unmap()
	allowed := false
	for _, p := range g.allow {
		allowed = allowed || p.Contains(a)
	}
	if !allowed {
		return fmt.Errorf("target %v: %w", a, ErrNotAllowed)
	}
	if g.isOwn(a) {
		return fmt.Errorf("target %v: %w", a, ErrOwnAddress)
	}
	return nil
}

// isOwn refreshes the host's addresses when they are old. While they cannot be read, the last ones hold; before they
// were ever read, every address counts as own.
func (g *Guard) isOwn(a netip.Addr) bool {
	known := g.known.Load()
	if known == nil {
		g.refreshing.Lock()
		if known = g.known.Load(); known == nil {
			known = g.refresh()
		}
		g.refreshing.Unlock()
	} else if time.Since(known.at) > ownRefresh && g.refreshing.TryLock() {
		if fresh := g.refresh(); fresh != nil {
			known = fresh
		}
		g.refreshing.Unlock()
	}
	return known == nil || known.addrs[a]
}

// refresh reads the host's addresses; nil when they cannot be read. Called with refreshing held.
func (g *Guard) refresh() *ownAddresses {
	list, err := g.own()
	if err != nil {
		return nil
	}
	fresh := &ownAddresses{at: time.Now(), addrs: make(map[netip.Addr]bool, len(list))}
	for _, a := range list {
		fresh.addrs[a.Unmap().WithZone("")] = true
	}
	g.known.Store(fresh)
	return fresh
}

// class reports why nobody may have a target at a, looking through the IPv6 forms that carry an IPv4 address.
func class(a netip.Addr) error {
	if !a.IsValid() || a.Zone() != "" {
		return ErrInvalid
	}
	if v4, ok := embedded(a); ok {
		return class(v4)
	}
	for _, f := range forbidden {
		if f.prefix.Contains(a) {
			return f.reason
		}
	}
	return nil
}

var (
	nat64  = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052
	sixTo4 = netip.MustParsePrefix("2002::/16")    // RFC 3056
)

// embedded is the IPv4 address inside a v4-mapped, NAT64 or 6to4 address.
func embedded(a netip.Addr) (netip.Addr, bool) {
	b := a.As16()
	switch {
	case a.Is4In6():
		return a.Unmap(), true
	case nat64.Contains(a):
		return netip.AddrFrom4([4]byte(b[12:16])), true
	case sixTo4.Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return netip.Addr{}, false
}
