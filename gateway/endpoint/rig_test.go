package endpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gvisor.dev/gvisor/pkg/refs"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

func TestMain(m *testing.M) {
	refs.SetLeakMode(refs.LeaksPanic)
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		refs.DoLeakCheck()
	}
	os.Exit(code)
}

var (
	consumerAddr = netip.MustParseAddr("10.0.1.10")
	exposureAddr = netip.MustParseAddr("10.0.1.4")
)

const (
	servicePort = 443
	waitLimit   = time.Minute // far beyond what a busy machine needs
)

func newStack(t testing.TB, link stack.LinkEndpoint, addr netip.Addr) *stack.Stack {
	t.Helper()
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
	})
	check := func(err tcpip.Error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	rcv := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4 << 10, Default: 1 << 20, Max: 8 << 20}
	check(s.SetTransportProtocolOption(tcp.ProtocolNumber, &rcv))
	snd := tcpip.TCPSendBufferSizeRangeOption{Min: 4 << 10, Default: 1 << 20, Max: 6 << 20}
	check(s.SetTransportProtocolOption(tcp.ProtocolNumber, &snd))
	timeWait := tcpip.TCPTimeWaitTimeoutOption(time.Second)
	check(s.SetTransportProtocolOption(tcp.ProtocolNumber, &timeWait))
	check(s.CreateNIC(dialNIC, link))
	check(s.AddProtocolAddress(dialNIC, tcpip.ProtocolAddress{
		Protocol:          ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddrFromSlice(addr.AsSlice()).WithPrefix(),
	}, stack.AddressProperties{}))
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: dialNIC}})
	return s
}

// rig is a consumer's stack joined to the gateway's, and an engine.
type rig struct {
	t        testing.TB
	wire     *wire
	consumer *stack.Stack
	gateway  *stack.Stack
	engine   *Engine
	domain   *Domain
	options  rigOptions
	stopRun  context.CancelFunc
	ran      chan error

	mu      sync.Mutex
	records []Record
}

type rigOptions struct {
	engine Config
	mtu    uint32
	gso    bool
	delay  time.Duration
	domain DomainLimits
	// receiveBuffer of the listener, in bytes; 0 is the stack's default.
	receiveBuffer int64
}

func newRig(t testing.TB, o rigOptions) *rig {
	t.Helper()
	if o.mtu == 0 {
		o.mtu = 1420
	}
	if o.delay == 0 {
		o.delay = time.Millisecond
	}
	r := &rig{t: t, options: o, wire: newWire(o.mtu, o.gso, o.delay), ran: make(chan error, 1)}
	r.consumer = newStack(t, r.wire.ends[0], consumerAddr)
	r.gateway = newStack(t, r.wire.ends[1], exposureAddr)
	r.domain = NewDomain("vpc-test", o.domain)
	if o.engine.OnEnd == nil {
		o.engine.OnEnd = func(rec Record) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.records = append(r.records, rec)
		}
	}
	var err error
	if r.engine, err = NewEngine(o.engine); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stopRun = cancel
	go func() { r.ran <- r.engine.Run(ctx) }()
	t.Cleanup(r.close)
	return r
}

func (r *rig) close() {
	r.stopRun()
	if err := <-r.ran; err != nil {
		r.t.Errorf("Run: %v", err)
	}
	if n := len(r.engine.snapshot()); n != 0 {
		r.t.Errorf("%d flows left after Run", n)
	}
	if u := r.domain.Usage(); u != (DomainUsage{}) {
		r.t.Errorf("domain still holds %+v", u)
	}
	for _, s := range []*stack.Stack{r.consumer, r.gateway} {
		s.Close()
		s.Wait()
	}
	r.wire.close()
}

// fixedTargets tries addresses in order.
type fixedTargets struct {
	addrs []netip.AddrPort

	mu      sync.Mutex
	reports []string
}

var errNoTarget = errors.New("no target left")

func (x *fixedTargets) Pick(_ FlowKey, tried []netip.AddrPort) (Target, error) {
	for _, a := range x.addrs {
		if !slices.Contains(tried, a) {
			return Target{Addr: a}, nil
		}
	}
	return Target{}, errNoTarget
}

func (x *fixedTargets) Report(t Target, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.reports = append(x.reports, fmt.Sprintf("%v %t", t.Addr, err == nil))
}

func allowAll(netip.Addr) error { return nil }

// listen exposes targets; change may alter the configuration.
func (r *rig) listen(targets Targets, change func(*ListenerConfig)) *Listener {
	r.t.Helper()
	wq := &waiter.Queue{}
	ep, err := r.gateway.NewEndpoint(tcp.ProtocolNumber, ipv4.ProtocolNumber, wq)
	if err != nil {
		r.t.Fatal(err)
	}
	ep.SocketOptions().SetReuseAddress(true)
	if r.options.receiveBuffer > 0 {
		ep.SocketOptions().SetReceiveBufferSize(r.options.receiveBuffer, true)
	}
	addr := tcpip.FullAddress{NIC: dialNIC, Addr: tcpip.AddrFromSlice(exposureAddr.AsSlice()), Port: servicePort}
	if err := ep.Bind(addr); err != nil {
		r.t.Fatal(err)
	}
	if err := ep.Listen(4096); err != nil {
		r.t.Fatal(err)
	}
	cfg := ListenerConfig{
		Endpoint:         ep,
		Queue:            wq,
		Exposure:         netip.AddrPortFrom(exposureAddr, servicePort),
		NetworkInterface: "eni-1",
		EndpointName:     "accounts/default/vpcs/test/endpoints/e",
		Peer:             func(netip.Addr) (Peer, bool) { return Peer{Name: "attachments/app", KeyFingerprint: "fp"}, true },
		Domain:           r.domain,
		Targets:          targets,
		Dialer:           KernelDialer{},
		Guard:            allowAll,
	}
	if change != nil {
		change(&cfg)
	}
	l, lerr := r.engine.Listen(cfg)
	if lerr != nil {
		r.t.Fatal(lerr)
	}
	return l
}

// dial connects from the consumer's stack to the exposure.
func (r *rig) dial() *gonet.TCPConn {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	c, err := gonet.DialContextTCP(ctx, r.consumer, tcpip.FullAddress{
		NIC: dialNIC, Addr: tcpip.AddrFromSlice(exposureAddr.AsSlice()), Port: servicePort,
	}, ipv4.ProtocolNumber)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return c
}

// backend serves each connection on loopback with handle.
func backend(t testing.TB, handle func(*net.TCPConn)) netip.AddrPort {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// echo sends back what it gets, then closes its direction too. It does not let
// io.Copy splice: the pipes for that stay open until they are collected, and
// tests count descriptors.
func echo(c *net.TCPConn) {
	io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
	c.CloseWrite()
}

// hold keeps a connection until the other side ends it.
func hold(c *net.TCPConn) { io.Copy(io.Discard, c) }

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(waitLimit); ; {
		if ok() {
			return
		}
		select {
		case <-limit:
			t.Fatalf("never happened: %s", what)
		case <-tick.C:
		}
	}
}

// ended waits for the record of n flows and returns them.
func (r *rig) ended(n int) []Record {
	r.t.Helper()
	var got []Record
	eventually(r.t, fmt.Sprintf("%d flows ended", n), func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		got = slices.Clone(r.records)
		return len(got) >= n
	})
	return got
}

// endReason waits for the one flow's end.
func (r *rig) endReason() Reason {
	r.t.Helper()
	return r.ended(1)[0].Reason
}

// deadline bounds blocking calls of a test on c.
func deadline(c net.Conn) { c.SetDeadline(time.Now().Add(waitLimit)) }

// isReset reports whether err is what a consumer sees after a reset.
func isReset(err error) bool {
	return err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrDeadlineExceeded)
}

var writeOptions = tcpip.WriteOptions{}

// dialEndpoint is dial for tests that need what gonet hides.
func (r *rig) dialEndpoint() tcpip.Endpoint {
	r.t.Helper()
	leg, err := StackDialer{Stack: r.consumer, Sources: []netip.Addr{consumerAddr}, Ports: &SourcePorts{}}.Start(netip.AddrPortFrom(exposureAddr, servicePort))
	if err != nil {
		r.t.Fatal(err)
	}
	eventually(r.t, "the consumer is connected", func() bool {
		return tcp.EndpointState(leg.ep.State()) == tcp.StateEstablished
	})
	r.t.Cleanup(leg.ep.Close)
	return leg.ep
}

func statsOf(ep tcpip.Endpoint) *tcp.Stats { return ep.Stats().(*tcp.Stats) }
