// Package bind is WireGuard's UDP socket (conn.Bind) for Linux gateways: one local address, batches of 128, UDP segmentation
// offload in both directions without copies on the way out.
//
// It differs from conn.StdNetBind in what measurements asked for: sent trains stay below the size at which kernels cut
// them in software, datagrams received are staged in buffers of 64 KiB instead of being spread over the device's,
// sources cost no allocation, and it can listen on a single address.
package bind

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// batchSize is the number of datagrams that WireGuard hands over or takes at a time.
const batchSize = conn.IdealBatchSize

// Config configures a [Bind].
type Config struct {
	// Address is the local address; the zero value and the unspecified address listen on all. On a host with several
	// addresses the kernel then chooses the source of replies by route.
	Address netip.Addr
	// OnReceiveError is told of every error of the socket that keeps a receive from succeeding, but not of Close. WireGuard
	// itself gives up on a socket after ten in a row without a word. May be nil; must not block.
	OnReceiveError func(error)
}

// Counters count since New.
type Counters struct {
	// ReceiveErrors and SendErrors count failed system calls, after fallbacks.
	ReceiveErrors, SendErrors uint64
	// OffloadFallbacks counts endpoints for which segmentation offload was given up, because the way to them does not
	// support it.
	OffloadFallbacks uint64
}

// Bind implements conn.Bind on one UDP socket. It is safe for concurrent use.
type Bind struct {
	cfg     Config
	senders sync.Pool // of *sender

	mu     sync.Mutex // guards opening and closing
	socket atomic.Pointer[socket]

	receiveErrors, sendErrors, fallbacks atomic.Uint64
}

var _ conn.Bind = (*Bind)(nil)

// socket is an open UDP socket.
type socket struct {
	conn    *net.UDPConn
	raw     syscall.RawConn
	family  uint16 // unix.AF_INET or unix.AF_INET6
	receive offload
	send    offload
}

// offload says whether the kernel splits and joins datagrams for us.
type offload bool

// New returns a Bind that is not open yet.
func New(cfg Config) *Bind {
	b := &Bind{cfg: cfg}
	b.senders.New = func() any { return newSender() }
	return b
}

// Open implements conn.Bind.
func (b *Bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.socket.Load() != nil {
		return nil, 0, conn.ErrBindAlreadyOpen
	}
	s, err := listen(b.cfg.Address, port)
	if err != nil {
		return nil, 0, err
	}
	r := newReceiver(b, s)
	b.socket.Store(s)
	local := s.conn.LocalAddr().(*net.UDPAddr)
	return []conn.ReceiveFunc{r.receive}, uint16(local.Port), nil
}

// Close implements conn.Bind: receive functions return net.ErrClosed, those that wait included.
func (b *Bind) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.socket.Swap(nil)
	if s == nil {
		return nil
	}
	return s.conn.Close()
}

// SetMark implements conn.Bind with SO_MARK, which needs CAP_NET_ADMIN.
func (b *Bind) SetMark(mark uint32) error {
	s := b.socket.Load()
	if s == nil {
		return nil
	}
	var errMark error
	err := s.raw.Control(func(fd uintptr) {
		errMark = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark))
	})
	return errors.Join(err, errMark)
}

// ParseEndpoint implements conn.Bind. It takes a numeric address and a port.
func (b *Bind) ParseEndpoint(s string) (conn.Endpoint, error) {
	addr, err := netip.ParseAddrPort(s)
	if err != nil {
		return nil, err
	}
	return newEndpoint(addr), nil
}

// BatchSize implements conn.Bind.
func (*Bind) BatchSize() int { return batchSize }

// Counters returns a snapshot.
func (b *Bind) Counters() Counters {
	return Counters{
		ReceiveErrors:    b.receiveErrors.Load(),
		SendErrors:       b.sendErrors.Load(),
		OffloadFallbacks: b.fallbacks.Load(),
	}
}

func listen(addr netip.Addr, port uint16) (*socket, error) {
	network, family := "udp4", uint16(unix.AF_INET)
	if addr.Is6() && !addr.Is4In6() {
		network, family = "udp6", unix.AF_INET6
	}
	if !addr.IsValid() {
		addr = netip.IPv4Unspecified()
	}
	s := &socket{family: family}
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			setBuffers(int(fd))
			s.send, s.receive = enableOffload(int(fd))
		})
	}}
	c, err := config.ListenPacket(context.Background(), network, netip.AddrPortFrom(addr.Unmap(), port).String())
	if err != nil {
		return nil, fmt.Errorf("bind udp: %w", err)
	}
	s.conn = c.(*net.UDPConn)
	if s.raw, err = s.conn.SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("bind udp: %w", err), s.conn.Close())
	}
	return s, nil
}
