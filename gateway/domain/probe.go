package domain

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// ErrNoPeer tells that no peer of the domain holds an address.
var ErrNoPeer = errors.New("no attachment or tunnel holds the address")

// Probe connects from source, one of the domain's addresses, to a target behind one of its peers, lets talk, if it is not
// nil, use the connection, and resets it: a reset leaves no TIME_WAIT behind on either side. It returns what the attempt
// met, or talk's error.
func (d *Domain) Probe(ctx context.Context, source netip.Addr, to netip.AddrPort, talk func(context.Context, net.Conn) error) error {
	if !d.Holds(to.Addr()) {
		return fmt.Errorf("connect to %v: %w", to, ErrNoPeer)
	}
	ep, wq, err := d.open(tcp.ProtocolNumber)
	if err != nil {
		return fmt.Errorf("connect to %v: %w", to, err)
	}
	defer ep.Abort()
	if err := connect(ctx, ep, wq, source, to); err != nil {
		return fmt.Errorf("connect to %v: %w", to, err)
	}
	if talk == nil {
		return nil
	}
	return talk(ctx, gonet.NewTCPConn(wq, ep))
}

// connect waits until ep is connected.
func connect(ctx context.Context, ep tcpip.Endpoint, wq *waiter.Queue, source netip.Addr, to netip.AddrPort) error {
	entry, ready := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventErr | waiter.EventHUp)
	wq.EventRegister(&entry)
	defer wq.EventUnregister(&entry)
	if err := ep.Bind(fullAddress(netip.AddrPortFrom(source, 0))); err != nil {
		return fmt.Errorf("bind %v: %v", source, err)
	}
	switch err := ep.Connect(fullAddress(to)); err.(type) {
	case nil:
		return nil
	case *tcpip.ErrConnectStarted:
	default:
		return errors.New(err.String())
	}
	select {
	case <-ready:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := ep.LastError(); err != nil {
		return errors.New(err.String())
	}
	return nil
}
