package gateway

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"

	"causeway/gateway/balance"
	"causeway/gateway/domain"
	"causeway/gateway/resolver"
)

// hostNetwork is the way to the operator's own forwarders: whatever the host can reach, loopback included.
type hostNetwork struct{}

var _ resolver.Network = hostNetwork{}

// DialPacket implements resolver.Network. The kernel chooses a random port for a socket that connects without one.
func (hostNetwork) DialPacket(to netip.AddrPort) (net.Conn, error) {
	return net.Dial("udp", to.String())
}

// DialStream implements resolver.Network.
func (hostNetwork) DialStream(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", to.String())
}

// ruleNetwork is the way to the servers of a VPC's forward rules. It is that of targets of the VPC's load balancers: through
// its domain to what is in the VPC or behind its tunnels, else over the underlay, under the same guard.
type ruleNetwork struct {
	domain *domain.Domain
	guard  *balance.Guard
	// from is replaced when the VPC changes.
	from atomic.Pointer[resolverPlace]
}

// resolverPlace is where a resolver stands in its VPC.
type resolverPlace struct {
	source   netip.Addr
	prefixes []netip.Prefix
}

var _ resolver.Network = (*ruleNetwork)(nil)

// check decides about a server's address, as route.check does about a target's, and tells whether it is inside the domain.
func (n *ruleNetwork) check(a netip.Addr) (inside bool, err error) {
	place := n.from.Load()
	inside = n.domain.Holds(a)
	for _, p := range place.prefixes {
		inside = inside || p.Contains(a)
	}
	switch {
	case !inside:
		return false, n.guard.Underlay(a)
	case n.domain.Resolves(a) || n.domain.Exposes(a):
		return true, fmt.Errorf("name server %v: %w", a, errLoop)
	}
	return true, n.guard.Domain(a)
}

// DialPacket implements resolver.Network.
func (n *ruleNetwork) DialPacket(to netip.AddrPort) (net.Conn, error) {
	inside, err := n.check(to.Addr())
	switch {
	case err != nil:
		return nil, err
	case inside:
		return n.domain.DialPacket(n.from.Load().source, to)
	}
	return hostNetwork{}.DialPacket(to)
}

// DialStream implements resolver.Network.
func (n *ruleNetwork) DialStream(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	inside, err := n.check(to.Addr())
	switch {
	case err != nil:
		return nil, err
	case inside:
		return n.domain.DialStream(ctx, n.from.Load().source, to)
	}
	return hostNetwork{}.DialStream(ctx, to)
}
