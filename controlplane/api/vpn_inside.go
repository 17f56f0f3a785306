package api

import (
	"context"
	"fmt"
	"net/netip"

	"causeway/controlplane/apierr"
	"causeway/controlplane/resource"
	"causeway/controlplane/store"
)

// The inside of a VPN tunnel is a /30 of 169.254.0.0/16, unique in its VPC, of which the gateway
// has the lower usable address and the site the higher. As AWS, which keeps these /30s for itself:
// https://docs.aws.amazon.com/vpn/latest/s2svpn/VPNTunnels.html
var (
	insideRange    = netip.MustParsePrefix("169.254.0.0/16")
	insideReserved = []netip.Prefix{
		netip.MustParsePrefix("169.254.0.0/30"),
		netip.MustParsePrefix("169.254.1.0/30"),
		netip.MustParsePrefix("169.254.2.0/30"),
		netip.MustParsePrefix("169.254.3.0/30"),
		netip.MustParsePrefix("169.254.4.0/30"),
		netip.MustParsePrefix("169.254.5.0/30"),
		netip.MustParsePrefix("169.254.169.252/30"),
	}
)

const (
	insideSize = 4 // addresses of a /30
	insideSite = 2 // the site's among them
)

// insidePool is the inside prefixes of a VPC and which of them are taken. It is used by one
// goroutine.
type insidePool struct{ slots *slots }

func newInsidePool() *insidePool {
	p := &insidePool{slots: newSlots(1 << 16 / insideSize)}
	for _, prefix := range insideReserved {
		p.mark(prefix.Addr())
	}
	return p
}

func (p *insidePool) mark(addr netip.Addr) {
	if insideRange.Contains(addr) {
		p.slots.take(int(addressNumber(addr)-addressNumber(insideRange.Addr())) / insideSize)
	}
}

// take gives the site's address of the lowest free prefix, or of the one that skip free ones
// precede.
func (p *insidePool) take(skip int) (netip.Addr, error) {
	free := p.slots.free()
	if free == 0 {
		return netip.Addr{}, errAddressExhaustion
	}
	n := p.slots.nth(skip % free)
	p.slots.take(n)
	return numberAddress(addressNumber(insideRange.Addr()) + uint32(n*insideSize+insideSite)), nil
}

func readInsidePool(ctx context.Context, s *store.Store, vpc string) (*insidePool, error) {
	claims, _, err := s.Claims(ctx, resource.ClaimInside, vpc+"/")
	if err != nil {
		return nil, fmt.Errorf("read inside addresses in use in %s: %w", vpc, err)
	}
	pool := newInsidePool()
	for _, claim := range claims {
		if addr, err := netip.ParseAddr(claim.Key[len(vpc)+1:]); err == nil {
			pool.mark(addr)
		}
	}
	return pool, nil
}

func insideExhausted(vpc string) error {
	return apierr.Exhausted(apierr.ReasonQuotaExceeded, vpc, "VPC %q has no inside prefix left for another tunnel", vpc)
}
