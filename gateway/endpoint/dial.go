package endpoint

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// Dialer starts connections. Start never blocks: it returns a connection that
// is established or under way, or an error when it could not even be started.
// It is called from several goroutines at once.
type Dialer interface {
	Start(to netip.AddrPort) (Leg, error)
}

// Leg is the target's side of a flow: a connection established or under way.
// Make one with KernelLeg or StackLeg. Whoever holds a Leg that it does not
// hand on must Abort it.
type Leg struct {
	fd int // valid when ep is nil
	ep tcpip.Endpoint
	wq *waiter.Queue
	// port is the local one of a gVisor endpoint; nil when it is not counted.
	port *portUse
}

// KernelLeg wraps a non-blocking TCP socket on which connect was called.
func KernelLeg(fd int) Leg { return Leg{fd: fd} }

// StackLeg wraps a TCP endpoint on which Connect was called, and the queue it
// was made with.
func StackLeg(ep tcpip.Endpoint, wq *waiter.Queue) Leg { return Leg{fd: -1, ep: ep, wq: wq} }

// Abort ends the connection with a reset.
func (l Leg) Abort() {
	if l.ep != nil {
		l.ep.Abort()
		l.port.release()
		return
	}
	if l.fd < 0 {
		return
	}
	// Closing a socket that lingers for no time sends a reset. A socket that
	// is gone already has nothing left to reset.
	_ = unix.SetsockoptLinger(l.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	closeSocket(l.fd)
}

// errShortWrite tells that a connection just made takes less than a segment.
var errShortWrite = errors.New("connection takes too little")

// writeAll sends b, less than a segment, on a connection that was just made.
func (l Leg) writeAll(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	var n int
	if l.ep != nil {
		written, err := l.ep.Write(bytes.NewReader(b), tcpip.WriteOptions{})
		if err != nil {
			return fmt.Errorf("begin connection: %w", stackError(err))
		}
		n = int(written)
	} else {
		var err error
		if n, err = unix.Write(l.fd, b); err != nil {
			return fmt.Errorf("begin connection: %w", err)
		}
	}
	if n != len(b) {
		return errShortWrite
	}
	return nil
}

// close ends, in order, a connection that has nothing more to send or to
// receive.
func (l Leg) close() {
	if l.ep != nil {
		closeStack(l.ep)
		l.port.release()
		return
	}
	closeSocket(l.fd)
}

// errNotLocal tells that a source address cannot be used; mostly the host does
// not have it.
var errNotLocal = errors.New("source address is not usable")

// KernelDialer dials from the gateway host's own network. The zero value is
// usable.
type KernelDialer struct {
	// Sources are local addresses. Each is used once the ports of those before
	// it are used up towards the target. Without any the kernel chooses one.
	Sources []netip.Addr
}

var _ Dialer = KernelDialer{}

// Start implements Dialer. The error wraps ErrPortsExhausted when no local port
// is left.
func (d KernelDialer) Start(to netip.AddrPort) (Leg, error) {
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	fd, err := -1, error(nil)
	if len(d.Sources) == 0 {
		fd, err = connectFrom(netip.Addr{}, to)
	}
	for _, source := range d.Sources {
		fd, err = connectFrom(source, to)
		if !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, errNotLocal) {
			break
		}
	}
	if errors.Is(err, unix.EADDRNOTAVAIL) {
		err = fmt.Errorf("%w: %w", ErrPortsExhausted, err)
	}
	if err != nil {
		return Leg{}, fmt.Errorf("dial %v: %w", to, err)
	}
	return KernelLeg(fd), nil
}

// connectFrom starts a connection of a new socket; an invalid source is the
// kernel's choice.
func connectFrom(source netip.Addr, to netip.AddrPort) (int, error) {
	family := unix.AF_INET6
	if to.Addr().Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, fmt.Errorf("open socket: %w", err)
	}
	if source.IsValid() {
		// The port is chosen at connect, by 4-tuple; otherwise each bind
		// would use up one of the source's ports for all targets.
		if err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err == nil {
			err = unix.Bind(fd, sockaddr(netip.AddrPortFrom(source.Unmap(), 0)))
		}
		if err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("bind to %v: %w: %s", source, errNotLocal, err.Error())
		}
	}
	if err := connectSocket(fd, to); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("connect: %w", err)
	}
	return fd, nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

// StackDialer dials from a domain's stack, through its NIC 1.
type StackDialer struct {
	Stack *stack.Stack
	// Sources are local addresses, assigned to NIC 1; at least one. Each is used
	// once the ports of those before it are used up towards the target.
	Sources []netip.Addr
	// Ports counts the connections. Dialers of one stack share it.
	Ports *SourcePorts
}

var _ Dialer = StackDialer{}

// dialNIC is the one NIC of a domain's stack.
const dialNIC tcpip.NICID = 1

// portTries is how many local ports are tried at random before all are, in
// order.
const portTries = 32

// Exhausted reports whether Start would find no local port left.
func (d StackDialer) Exhausted(to netip.AddrPort) bool {
	first, last := d.Stack.PortRange()
	limit := int(last-first) + 1
	return !slices.ContainsFunc(d.Sources, func(source netip.Addr) bool { return d.Ports.Used(source, to) < limit })
}

// Start implements Dialer. The error wraps ErrPortsExhausted when no local port
// is left.
func (d StackDialer) Start(to netip.AddrPort) (Leg, error) {
	first, last := d.Stack.PortRange()
	limit := int(last-first) + 1
	err := ErrPortsExhausted
	for _, source := range d.Sources {
		use := d.Ports.take(sourceTarget{source, to}, limit)
		if use == nil {
			continue
		}
		var leg Leg
		if leg, err = d.startFrom(source, to, first, limit); err == nil {
			leg.port = use
			return leg, nil
		}
		use.release()
		if !errors.Is(err, ErrPortsExhausted) {
			break
		}
	}
	return Leg{}, fmt.Errorf("dial %v from %v: %w", to, d.Sources, err)
}

// startFrom starts a connection from a port of one address. Left to choose the
// port, gVisor gives each away once for all targets. So it is chosen here, and
// the 4-tuple decides.
func (d StackDialer) startFrom(source netip.Addr, to netip.AddrPort, first uint16, count int) (Leg, error) {
	rng := d.Stack.SecureRNG()
	begin := int(rng.Uint32() % uint32(count))
	for try := range count {
		offset := begin + try
		if try < portTries {
			offset = int(rng.Uint32() % uint32(count))
		}
		leg, err := d.connect(source, to, first+uint16(offset%count))
		if err == nil {
			return leg, nil
		}
		switch err.(type) {
		case *tcpip.ErrPortInUse, *tcpip.ErrBadLocalAddress:
			if d.Stack.CheckLocalAddress(dialNIC, network(source), address(source)) != 0 {
				continue
			}
		}
		return Leg{}, stackError(err)
	}
	return Leg{}, ErrPortsExhausted
}

func (d StackDialer) connect(source netip.Addr, to netip.AddrPort, port uint16) (Leg, tcpip.Error) {
	wq := &waiter.Queue{}
	ep, err := d.Stack.NewEndpoint(tcp.ProtocolNumber, network(to.Addr()), wq)
	if err != nil {
		return Leg{}, err
	}
	ep.SocketOptions().SetReuseAddress(true) // share the port, see startFrom
	if err := ep.Bind(tcpip.FullAddress{NIC: dialNIC, Addr: address(source), Port: port}); err != nil {
		ep.Close()
		return Leg{}, err
	}
	err = ep.Connect(tcpip.FullAddress{NIC: dialNIC, Addr: address(to.Addr()), Port: to.Port()})
	if _, started := err.(*tcpip.ErrConnectStarted); err != nil && !started {
		ep.Close()
		return Leg{}, err
	}
	return StackLeg(ep, wq), nil
}

// network returns gVisor's number of the address family.
func network(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Unmap().Is4() {
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}

func address(a netip.Addr) tcpip.Address { return tcpip.AddrFromSlice(a.Unmap().AsSlice()) }

// stackError turns gVisor's kind of error into Go's.
func stackError(err tcpip.Error) error {
	if err == nil {
		return nil
	}
	return errors.New(err.String())
}
