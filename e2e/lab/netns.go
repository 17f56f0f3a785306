package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// The namespace that this process was started in.
var (
	originOnce sync.Once
	origin     *os.File
	originErr  error
)

func openOrigin() { origin, originErr = os.Open("/proc/thread-self/ns/net") }

// Do runs f on a thread inside the namespace. Sockets that f opens belong to the namespace for
// good; goroutines that f starts do not run in it.
func (h *Host) Do(f func() error) error {
	runtime.LockOSThread()
	if err := unix.Setns(int(h.handle.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter host %q: %w", h.Name, err)
	}
	defer func() {
		// A thread that cannot come back stays locked: the runtime ends it with its goroutine
		// rather than let other code run in the wrong namespace.
		if unix.Setns(int(origin.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return f()
}

// Dial connects from inside the namespace. address must be an IP address and port: names would be
// resolved on other threads. It has the shape of net.Dialer.DialContext, for HTTP and gRPC clients.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return h.DialFrom(ctx, nil, network, address)
}

// DialFrom is Dial from a given local address; nil lets the kernel choose.
func (h *Host) DialFrom(ctx context.Context, local net.Addr, network, address string) (net.Conn, error) {
	var c net.Conn
	err := h.Do(func() (err error) {
		c, err = (&net.Dialer{LocalAddr: local}).DialContext(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("dial on %q: %w", h.Name, err)
	}
	return c, nil
}

// Listen opens a stream listener inside the namespace.
func (h *Host) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	var ln net.Listener
	err := h.Do(func() (err error) {
		ln, err = (&net.ListenConfig{}).Listen(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", h.Name, err)
	}
	return ln, nil
}

// ListenPacket opens a datagram socket inside the namespace.
func (h *Host) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	var c net.PacketConn
	err := h.Do(func() (err error) {
		c, err = (&net.ListenConfig{}).ListenPacket(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", h.Name, err)
	}
	return c, nil
}
