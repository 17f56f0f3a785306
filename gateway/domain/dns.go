package domain

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"causeway/tunnel/link"
)

// DNSPort is where DNS servers are asked (RFC 1035 section 4.2).
const DNSPort = 53

// packetBuffer holds the questions of a burst, some 200 of them with the stack's own 900 bytes for each.
const packetBuffer = 256 << 10

// ListenPacket opens a UDP socket on one of the domain's addresses. What reaches it is decided by the Table: questions to
// a [Resolver]. The caller closes it.
func (d *Domain) ListenPacket(at netip.AddrPort) (net.PacketConn, error) {
	ep, wq, err := d.open(udp.ProtocolNumber)
	if err != nil {
		return nil, fmt.Errorf("listen on %v: %w", at, err)
	}
	ep.SocketOptions().SetReceiveBufferSize(packetBuffer, false)
	if err := ep.Bind(fullAddress(at)); err != nil {
		ep.Close()
		return nil, fmt.Errorf("listen on %v: bind: %v", at, err)
	}
	return gonet.NewUDPConn(wq, ep), nil
}

// ListenStream is [Domain.Listen] in the form of package net, for servers that are not the endpoint engine.
func (d *Domain) ListenStream(at netip.AddrPort) (net.Listener, error) {
	ep, wq, err := d.Listen(at, 0)
	if err != nil {
		return nil, err
	}
	return stream{gonet.NewTCPListener(d.stack, wq, ep)}, nil
}

// stream is a listener whose Close also ends an Accept that waits.
type stream struct{ *gonet.TCPListener }

// Close implements net.Listener.
func (s stream) Close() error {
	s.Shutdown()
	return s.TCPListener.Close()
}

// DialPacket opens a UDP socket from source, an address of one of the domain's Resolvers, to a name server behind one of
// the domain's peers. Its port is random; only datagrams from that name server reach it. The caller closes it.
func (d *Domain) DialPacket(source netip.Addr, to netip.AddrPort) (net.Conn, error) {
	if !d.Holds(to.Addr()) {
		return nil, fmt.Errorf("ask %v: %w", to, ErrNoPeer)
	}
	ep, wq, err := d.open(udp.ProtocolNumber)
	if err != nil {
		return nil, fmt.Errorf("ask %v: %w", to, err)
	}
	if err := ep.Bind(fullAddress(netip.AddrPortFrom(source, 0))); err != nil {
		ep.Close()
		return nil, fmt.Errorf("ask %v from %v: bind: %v", to, source, err)
	}
	if err := ep.Connect(fullAddress(to)); err != nil {
		ep.Close()
		return nil, fmt.Errorf("ask %v from %v: %v", to, source, err)
	}
	return gonet.NewUDPConn(wq, ep), nil
}

// DialStream is DialPacket for TCP. It returns when it is connected, or failed, or ctx ended.
func (d *Domain) DialStream(ctx context.Context, source netip.Addr, to netip.AddrPort) (net.Conn, error) {
	if !d.Holds(to.Addr()) {
		return nil, fmt.Errorf("ask %v: %w", to, ErrNoPeer)
	}
	ep, wq, err := d.open(tcp.ProtocolNumber)
	if err != nil {
		return nil, fmt.Errorf("ask %v: %w", to, err)
	}
	if err := connect(ctx, ep, wq, source, to); err != nil {
		ep.Abort()
		return nil, fmt.Errorf("ask %v: %w", to, err)
	}
	return gonet.NewTCPConn(wq, ep), nil
}

// awaits reports whether a datagram comes from where one of the sockets of DialPacket has asked.
func (d *Domain) awaits(p *link.Packet) bool {
	return d.stack.FindTransportEndpoint(ipv4.ProtocolNumber, udp.ProtocolNumber, stack.TransportEndpointID{
		LocalAddress: tcpip.AddrFrom4(p.Destination.Addr().As4()), LocalPort: p.Destination.Port(),
		RemoteAddress: tcpip.AddrFrom4(p.Source.Addr().As4()), RemotePort: p.Source.Port(),
	}, NIC) != nil
}
