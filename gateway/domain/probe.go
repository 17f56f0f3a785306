package domain

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/waiter"
)

// ErrNoPeer tells that no peer of the domain holds an address.
var ErrNoPeer = errors.New("no attachment or tunnel holds the address")

// Probe connects from source, one of the domain's addresses, to a target behind one of its peers and resets the
// connection at once: a reset leaves no TIME_WAIT behind on either side. It returns what the attempt met.
func (d *Domain) Probe(ctx context.Context, source netip.Addr, to netip.AddrPort) error {
	if !d.Holds(to.Addr()) {
		return fmt.Errorf("connect to %v: %w", to, ErrNoPeer)
	}
	ep, wq, err := d.open()
	if err != nil {
		return fmt.Errorf("connect to %v: %w", to, err)
	}
	defer ep.Abort()
	entry, ready := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventErr | waiter.EventHUp)
	wq.EventRegister(&entry)
	defer wq.EventUnregister(&entry)
	if err := ep.Bind(fullAddress(netip.AddrPortFrom(source, 0))); err != nil {
		return fmt.Errorf("connect to %v: bind %v: %v", to, source, err)
	}
	switch err := ep.Connect(fullAddress(to)); err.(type) {
	case nil:
		return nil
	case *tcpip.ErrConnectStarted:
	default:
		return fmt.Errorf("connect to %v: %v", to, err)
	}
	select {
	case <-ready:
	case <-ctx.Done():
		return fmt.Errorf("connect to %v: %w", to, ctx.Err())
	}
	if err := ep.LastError(); err != nil {
		return fmt.Errorf("connect to %v: %v", to, err)
	}
	return nil
}
