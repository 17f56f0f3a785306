package domain

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"causeway/tunnel/link"
)

// NIC is the number of a domain's only network interface.
const NIC tcpip.NICID = 1

// backlog bounds half-open and unaccepted connections of a listener; beyond it the stack answers with SYN cookies.
const backlog = 4096

// TCP parameters. The maxima allow 8 MiB in flight, enough for 1 Gbit/s at 60 ms; buffers grow to them only in use.
var (
	receiveBuffers = tcpip.TCPReceiveBufferSizeRangeOption{Min: 4 << 10, Default: 1 << 20, Max: 8 << 20}
	sendBuffers    = tcpip.TCPSendBufferSizeRangeOption{Min: 4 << 10, Default: 1 << 20, Max: 6 << 20}
)

// timeWait is a quarter of what RFC 9293 asks for (2 MSL): a tunnel's path is short, and an endpoint holds 2 kB.
const timeWait = 15 * time.Second

// ErrClosed is returned by methods of a closed Domain.
var ErrClosed = errors.New("domain is closed")

// Config configures a [Domain].
type Config struct {
	// Name is the resource name of the VPC, for errors.
	Name string
	// MTU of the tunnels in bytes; 0 is 1420. See [link.Config].
	MTU int
	// Busy tells that a client may not start another connection now; its SYN is dropped, so that it tries again. Nil
	// is never. It is called for every SYN that is otherwise admitted, and must not block.
	Busy func(client netip.Addr) bool
}

// Domain is one VPC's stack. Its methods are safe for concurrent use.
type Domain struct {
	name  string
	busy  func(netip.Addr) bool
	link  *link.Link
	stack *stack.Stack
	table atomic.Pointer[compiled]

	mu        sync.Mutex
	addresses map[netip.Addr]bool
	closed    bool
}

// New returns a Domain without addresses and peers: it answers nothing. Close it.
func New(cfg Config) (*Domain, error) {
	d := &Domain{name: cfg.Name, busy: cfg.Busy, addresses: map[netip.Addr]bool{}}
	if d.busy == nil {
		d.busy = func(netip.Addr) bool { return false }
	}
	d.table.Store(compile(Table{}))
	var err error
	if d.link, err = link.New(link.Config{MTU: cfg.MTU, Admit: d.admit}); err != nil {
		return nil, fmt.Errorf("domain %q: %w", cfg.Name, err)
	}
	if d.stack, err = newStack(d.link.Endpoint()); err != nil {
		d.link.Close()
		return nil, fmt.Errorf("domain %q: %w", cfg.Name, err)
	}
	return d, nil
}

// The local ports of connections to targets. gVisor's own range begins at 16000.
const firstPort, lastPort = 1024, 65535

// newStack configures gVisor: what is not named here is off.
func newStack(ep stack.LinkEndpoint) (*stack.Stack, error) {
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol}, // UDP is for DNS alone: see admit
		HandleLocal:        false,
	})
	if err := configure(s, ep); err != nil {
		s.Close()
		s.Wait()
		return nil, err
	}
	return s, nil
}

func configure(s *stack.Stack, ep stack.LinkEndpoint) error {
	sack := tcpip.TCPSACKEnabled(true)
	recovery := tcpip.TCPRACKLossDetection // gVisor before 2026-06 mismeasured RTT with it (gvisor#13394)
	control := tcpip.CongestionControlOption("cubic")
	moderate := tcpip.TCPModerateReceiveBufferOption(true)
	wait := tcpip.TCPTimeWaitTimeoutOption(timeWait)
	receive, send := receiveBuffers, sendBuffers
	for _, opt := range []tcpip.SettableTransportProtocolOption{&sack, &recovery, &control, &moderate, &wait, &receive, &send} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, opt); err != nil {
			return fmt.Errorf("set tcp option %T: %v", opt, err)
		}
	}
	// Nothing but connections to targets uses ports of the nodes' addresses.
	if err := s.SetPortRange(firstPort, lastPort); err != nil {
		return fmt.Errorf("set range of local ports: %v", err)
	}
	if err := s.CreateNIC(NIC, ep); err != nil {
		return fmt.Errorf("create network interface: %v", err)
	}
	everywhere, err := tcpip.NewSubnet(tcpip.AddrFrom4([4]byte{}), tcpip.MaskFromBytes(make([]byte, 4)))
	if err != nil {
		return fmt.Errorf("make default route: %w", err)
	}
	s.SetRouteTable([]tcpip.Route{{Destination: everywhere, NIC: NIC}})
	return nil
}

// Name is the resource name of the VPC.
func (d *Domain) Name() string { return d.name }

// NewPort adds a way into the domain for one WireGuard device; the device closes it. Nothing goes through
// before a [Table] has peers on it.
func (d *Domain) NewPort(name string) *link.Port { return d.link.NewPort(name) }

// Counters sums up what passed the domain's tunnels.
func (d *Domain) Counters() link.Counters { return d.link.Counters() }

// AddAddress makes an IPv4 address one of the stack's own. Adding it again changes nothing.
func (d *Domain) AddAddress(a netip.Addr) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return ErrClosed
	case !a.Is4():
		return fmt.Errorf("add address %v: not IPv4", a)
	case d.addresses[a]:
		return nil
	}
	protocolAddress := tcpip.ProtocolAddress{
		Protocol:          ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddrFrom4(a.As4()).WithPrefix(),
	}
	if err := d.stack.AddProtocolAddress(NIC, protocolAddress, stack.AddressProperties{}); err != nil {
		return fmt.Errorf("add address %v: %v", a, err)
	}
	d.addresses[a] = true
	return nil
}

// RemoveAddress takes an address away; removing an unknown one changes nothing. Connections that use it no longer send
// or receive: end them before.
func (d *Domain) RemoveAddress(a netip.Addr) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.addresses[a] || d.closed {
		return nil
	}
	delete(d.addresses, a)
	if err := d.stack.RemoveAddress(NIC, tcpip.AddrFrom4(a.As4())); err != nil {
		return fmt.Errorf("remove address %v: %v", a, err)
	}
	return nil
}

// Listen opens a listening TCP endpoint on one of the domain's addresses and returns it with its event queue. The caller
// owns it. What reaches it is also decided by the Table. Connections start with a receive buffer of that many bytes, and
// may grow it; 0 is 1 MiB. To shrink it later would drop what the consumer has been told to send.
func (d *Domain) Listen(at netip.AddrPort, receiveBuffer int) (tcpip.Endpoint, *waiter.Queue, error) {
	ep, wq, err := d.open(tcp.ProtocolNumber)
	if err != nil {
		return nil, nil, fmt.Errorf("listen on %v: %w", at, err)
	}
	if receiveBuffer > 0 {
		ep.SocketOptions().SetReceiveBufferSize(int64(receiveBuffer), false)
	}
	// Connections of an earlier listener, in TIME_WAIT or alive, hold its port.
	ep.SocketOptions().SetReuseAddress(true)
	if err := ep.Bind(fullAddress(at)); err != nil {
		ep.Close()
		return nil, nil, fmt.Errorf("listen on %v: bind: %v", at, err)
	}
	if err := ep.Listen(backlog); err != nil {
		ep.Close()
		return nil, nil, fmt.Errorf("listen on %v: %v", at, err)
	}
	return ep, wq, nil
}

// open makes an unbound endpoint.
func (d *Domain) open(protocol tcpip.TransportProtocolNumber) (tcpip.Endpoint, *waiter.Queue, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, nil, ErrClosed
	}
	wq := new(waiter.Queue)
	ep, err := d.stack.NewEndpoint(protocol, ipv4.ProtocolNumber, wq)
	if err != nil {
		return nil, nil, fmt.Errorf("make endpoint: %v", err)
	}
	return ep, wq, nil
}

// Stack is the domain's stack, to start connections from it. Use it only for addresses that [Domain.Holds].
func (d *Domain) Stack() *stack.Stack { return d.stack }

// Close ends all connections, waits for the stack's goroutines, and closes the ports that are left. Close the WireGuard
// devices before. It is idempotent.
func (d *Domain) Close() {
	d.mu.Lock()
	closed := d.closed
	d.closed = true
	d.mu.Unlock()
	if !closed {
		d.Publish(Table{})
		d.stack.Close()
	}
	d.stack.Wait()
	d.link.Close()
}

// fullAddress leaves out the NIC: with one, gVisor binds to IPv4 addresses that it does not have.
func fullAddress(a netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{Addr: tcpip.AddrFrom4(a.Addr().As4()), Port: a.Port()}
}
