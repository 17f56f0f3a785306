package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"causeway/gateway/balance"
	"causeway/gateway/domain"
	"causeway/gateway/endpoint"
	"causeway/gateway/probe"
	"causeway/gateway/spec"
)

// Why a target cannot be connected to, beside the reasons of [balance.Guard].
var (
	errNoTarget = errors.New("no target is available")
	// errLoop keeps a service from having an endpoint IP of its own VPC as target: the connection would enter the
	// gateway again.
	errLoop = errors.New("address of an endpoint in the provider's own VPC")
	errNode = errors.New("load balancer has no node")
)

// route is how connections to the targets of a group are made: from a node of the load balancer in the
// provider's domain, or over the underlay. It is immutable.
type route struct {
	group *balance.Group // nil in routes of health checks, which do not choose
	guard *balance.Guard
	// provider is the provider's domain, prefixes its VPC's own address ranges.
	provider *domain.Domain
	prefixes []netip.Prefix
	// sources are the node's addresses; none when the load balancer has no node. zone is the node's.
	sources []netip.Addr
	zone    string
	// ports counts connections from the provider's domain; underlay are source addresses on the host's own network.
	ports    *endpoint.SourcePorts
	underlay []netip.Addr
	// tls is how the listener ends TLS; nil when it does not.
	tls *tls.Config
	// proxyProtocol tells that connections begin with a header.
	proxyProtocol bool
}

// inside reports whether an address is reached through the provider's domain: it belongs to the VPC, or one
// of the VPC's peers holds it.
func (r *route) inside(a netip.Addr) bool {
	for _, p := range r.prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return r.provider.Holds(a)
}

// check has the last word on a target's address, whatever the API accepted.
func (r *route) check(a netip.Addr) error {
	a = a.Unmap()
	if !r.inside(a) {
		return r.guard.Underlay(a)
	}
	if r.provider.Exposes(a) {
		return fmt.Errorf("target %v: %w", a, errLoop)
	}
	return r.guard.Domain(a)
}

// start begins a connection to a target that check let pass.
func (r *route) start(to netip.AddrPort) (endpoint.Leg, error) {
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	if !r.inside(to.Addr()) {
		return endpoint.KernelDialer{Sources: r.underlay}.Start(to)
	}
	if err := r.reachable(to); err != nil {
		return endpoint.Leg{}, err
	}
	return r.dialer().Start(to)
}

// dialer is how targets inside the provider's domain are connected to.
func (r *route) dialer() endpoint.StackDialer {
	return endpoint.StackDialer{Stack: r.provider.Stack(), Sources: r.sources, Ports: r.ports}
}

// reachable tells at once what a connection through the provider's domain would find out by waiting.
func (r *route) reachable(to netip.AddrPort) error {
	switch {
	case len(r.sources) == 0:
		return fmt.Errorf("target %v: %w", to, errNode)
	case !r.provider.Holds(to.Addr()):
		return fmt.Errorf("target %v: %w", to, domain.ErrNoPeer)
	}
	return nil
}

// probe makes one health check: it connects, says what there is to say, and resets.
func (r *route) probe(ctx context.Context, to netip.AddrPort, talk probe.Talk) error {
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	if err := r.check(to.Addr()); err != nil {
		return err
	}
	if r.inside(to.Addr()) {
		if err := r.reachable(to); err != nil {
			return err
		}
		return r.provider.Probe(ctx, r.sources[0], to, talk)
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return err
	}
	if talk != nil {
		err = talk(ctx, conn)
	}
	// A reset leaves no TIME_WAIT, of which thousands to one target would make every connect slow.
	return errors.Join(err, conn.(*net.TCPConn).SetLinger(0), conn.Close())
}

// service is one port of a network interface. It stands between the endpoint engine and the route in force, which may be
// replaced at any time: connections that begin later take the new one.
type service struct{ route atomic.Pointer[route] }

var (
	_ endpoint.Targets = (*service)(nil)
	_ endpoint.Dialer  = (*service)(nil)
)

// settings gives how a connection that begins now ends TLS.
func (s *service) settings() *tls.Config { return s.route.Load().tls }

// available reports whether a target could serve a connection now.
func (s *service) available() bool {
	r := s.route.Load()
	return r.group.Available(r.zone)
}

// healthy reports whether a healthy target could serve a connection now.
func (s *service) healthy() bool {
	r := s.route.Load()
	return r.group.HealthyIn(r.zone)
}

// undecided reports whether health checks have no opinion of any target yet.
func (s *service) undecided() bool { return s.route.Load().group.Undecided() }

// connect makes one connection to a target as a consumer's would be made, and resets it.
func (s *service) connect(ctx context.Context) error {
	r := s.route.Load()
	nowhere := netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	target, ok := r.group.Pick(balance.Flow{Zone: r.zone, Protocol: 6, Source: nowhere, Destination: nowhere}, nil)
	if !ok {
		return errNoTarget
	}
	return r.probe(ctx, target, nil)
}

// Pick implements endpoint.Targets. The flow's number is its nonce: the engine never gives it twice.
func (s *service) Pick(f endpoint.FlowKey, tried []netip.AddrPort) (endpoint.Target, error) {
	r := s.route.Load()
	target, ok := r.pick(f, tried)
	if !ok {
		return endpoint.Target{}, errNoTarget
	}
	return endpoint.Target{Addr: target, Group: r.group.Name()}, nil
}

// pick chooses a target that was not tried.
func (r *route) pick(f endpoint.FlowKey, tried []netip.AddrPort) (netip.AddrPort, bool) {
	flow := balance.Flow{Zone: r.zone, Protocol: protocolTCP, Source: f.Consumer, Destination: f.Exposure, Nonce: uint32(f.ID)}
	return r.group.Pick(flow, tried)
}

// Report implements endpoint.Targets. What the gateway itself lacks is not the target's fault.
func (s *service) Report(t endpoint.Target, err error) {
	group := s.route.Load().group
	switch {
	case group.Name() != t.Group: // picked before another group came into force
	case err == nil:
		group.Connected(t.Addr)
	case !lacking(err):
		group.Failed(t.Addr, err)
	}
}

// lacking reports whether a connection could not be made for want of something on the gateway's own side.
func lacking(err error) bool {
	for _, e := range []error{
		unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.EADDRNOTAVAIL, unix.EADDRINUSE, unix.EAGAIN, endpoint.ErrPortsExhausted, errNode,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Start implements endpoint.Dialer.
func (s *service) Start(to netip.AddrPort) (endpoint.Leg, error) { return s.route.Load().start(to) }

// check is an endpoint.Guard.
func (s *service) check(a netip.Addr) error { return s.route.Load().check(a) }

// probe is the pool's prober: it takes the route of any load balancer that uses the group.
func (g *Gateway) probe(ctx context.Context, group *spec.TargetGroup, target netip.AddrPort) error {
	r := (*g.probes.Load())[group.Name]
	if r == nil {
		return errNode
	}
	target = netip.AddrPortFrom(target.Addr().Unmap(), target.Port())
	return r.probe(ctx, target, probe.Of(group, target))
}
