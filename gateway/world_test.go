package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"

	"causeway/gateway/domain"
	"causeway/gateway/spec"
	"causeway/tunnel"
)

const patience = 15 * time.Second

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("still not: %s", what)
		case <-tick.C:
		}
	}
}

// gatewayUnderTest is a running gateway on loopback.
type gatewayUnderTest struct {
	*Gateway
	stop func()
}

func config(t testing.TB, dir string) Config {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	return Config{
		StateDir: dir, Advertise: "127.0.0.1", ListenAddress: addr("127.0.0.1"), Logger: logger,
		UnderlayAllow: []netip.Prefix{prefix("0.0.0.0/0")},
		hostAddresses: func() ([]netip.Addr, error) { return nil, nil },
	}
}

// run starts a gateway that is stopped with the test, or by stop.
func run(t testing.TB, cfg Config) gatewayUnderTest {
	t.Helper()
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(patience):
			t.Error("gateway does not stop")
		}
	})
	t.Cleanup(stop)
	return gatewayUnderTest{g, stop}
}

func (g gatewayUnderTest) apply(t testing.TB, s *spec.Gateway) {
	t.Helper()
	s.Revision++
	if err := g.Apply(t.Context(), *s); err != nil {
		t.Fatal(err)
	}
}

func (g gatewayUnderTest) tunnelEndpoint(t testing.TB, uid string) spec.TunnelEndpointStatus {
	t.Helper()
	for _, s := range g.Status().TunnelEndpoints {
		if s.UID == uid {
			return s
		}
	}
	t.Fatalf("no tunnel endpoint %q in the status", uid)
	return spec.TunnelEndpointStatus{}
}

// givenPorts are those that freePort has returned, so that it returns none twice.
var givenPorts sync.Map

// freePort is a UDP port of loopback that is free at the moment.
func freePort(t testing.TB) uint16 {
	t.Helper()
	for {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		port := uint16(c.LocalAddr().(*net.UDPAddr).Port)
		c.Close()
		if _, given := givenPorts.LoadOrStore(port, true); !given {
			return port
		}
	}
}

// host is what stands at the other end of a tunnel: a userspace WireGuard peer with a TCP/IP stack of its own.
type host struct {
	key    tunnel.PrivateKey
	addr   netip.Addr
	domain *domain.Domain
	device *tunnel.Device
	uplink domain.Peer // the way to the gateway, in the domain
}

func newHost(address string) *host { return &host{key: tunnel.NewPrivateKey(), addr: addr(address)} }

// peer is the host in a spec.
func (h *host) peer(name string, kind spec.PeerKind) spec.Peer {
	return spec.Peer{Name: name, Kind: kind, PublicKey: spec.Key(h.key.Public()), AllowedIPs: []netip.Prefix{netip.PrefixFrom(h.addr, 32)}}
}

// connect brings the host's tunnel up and waits for its handshake.
func (h *host) connect(t testing.TB, g gatewayUnderTest, uid string) {
	t.Helper()
	status := g.tunnelEndpoint(t, uid)
	var err error
	if h.domain, err = domain.New(domain.Config{Name: "host"}); err != nil {
		t.Fatal(err)
	}
	if err := h.domain.AddAddress(h.addr); err != nil {
		t.Fatal(err)
	}
	port := h.domain.NewPort("uplink")
	h.uplink = port2peer(port)
	h.serves(h.uplink)
	h.device, err = tunnel.New(tunnel.Config{
		Name: "host", PrivateKey: h.key, Listen: netip.MustParseAddrPort("127.0.0.1:0"), TUN: port.Device(),
	})
	if err != nil {
		t.Fatal(err)
	}
	everything := []netip.Prefix{prefix("0.0.0.0/0")}
	peer := tunnel.Peer{
		Name: "gateway", PublicKey: tunnel.Key(status.PublicKey), AllowedIPs: everything,
		Endpoint: netip.MustParseAddrPort(status.Endpoint),
	}
	if err := h.device.SetPeers([]tunnel.Peer{peer}); err != nil {
		t.Fatal(err)
	}
	if err := h.device.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.close)
	eventually(t, "handshake", func() bool {
		s, err := h.device.Status()
		return err == nil && !s.Peers[0].LastHandshake.IsZero()
	})
}

func (h *host) close() {
	h.device.Close()
	h.domain.Close()
}

// handshake is when the host's session began.
func (h *host) handshake(t testing.TB) time.Time {
	t.Helper()
	s, err := h.device.Status()
	if err != nil {
		t.Fatal(err)
	}
	return s.Peers[0].LastHandshake
}

// dial connects from the host, from a given port if that is not zero.
func (h *host) dial(t testing.TB, to string, from uint16, limit time.Duration) (*gonet.TCPConn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	target := netip.MustParseAddrPort(to)
	return gonet.DialTCPWithBind(ctx, h.domain.Stack(),
		tcpip.FullAddress{Addr: tcpip.AddrFrom4(h.addr.As4()), Port: from},
		tcpip.FullAddress{Addr: tcpip.AddrFrom4(target.Addr().As4()), Port: target.Port()}, ipv4.ProtocolNumber)
}

// open connects and asks the service who it is.
func (h *host) open(t testing.TB, to string, want string) *gonet.TCPConn {
	t.Helper()
	c, err := h.dial(t, to, 0, patience)
	if err != nil {
		t.Fatalf("connect to %s: %v", to, err)
	}
	t.Cleanup(func() { c.Close() })
	if err := ask(c, want); err != nil {
		t.Fatalf("%s: %v", to, err)
	}
	return c
}

// ask makes one exchange with the service at the other end of a connection.
func ask(c net.Conn, want string) error { return askWithin(c, want, patience) }

func askWithin(c net.Conn, want string, limit time.Duration) error {
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("?")); err != nil {
		return err
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != want {
		return fmt.Errorf("answered by %q, want %q", got, want)
	}
	return nil
}

// ended waits for a live connection to be reset.
func ended(t testing.TB, c net.Conn) {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	_, err := c.Read(b[:])
	var timeout net.Error
	if err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("connection is still alive: %v", err)
	}
}

// answer is a service that says its name for every byte it gets.
func answer(t testing.TB, l net.Listener, name string) {
	t.Helper()
	serve(t, l, func(c net.Conn) {
		var b [1]byte
		for {
			if _, err := c.Read(b[:]); err != nil {
				return
			}
			if _, err := c.Write([]byte(name)); err != nil {
				return
			}
		}
	})
}

// serve hands every connection, health checks included, to a function of its own, and ends them with the test.
func serve(t testing.TB, l net.Listener, handle func(net.Conn)) {
	t.Helper()
	var (
		running sync.WaitGroup
		mu      sync.Mutex
		open    = map[net.Conn]bool{}
	)
	one := func(c net.Conn) {
		defer c.Close()
		handle(c)
		mu.Lock()
		defer mu.Unlock()
		delete(open, c)
	}
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			running.Go(func() { one(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
}

// listen opens a TCP port on the host, to be reached through its tunnel.
func (h *host) listen(t testing.TB, port uint16) net.Listener {
	t.Helper()
	l, err := gonet.ListenTCP(h.domain.Stack(), tcpip.FullAddress{Addr: tcpip.AddrFrom4(h.addr.As4()), Port: port}, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// underlay opens a TCP port on an address of this machine that is not loopback.
func underlay(t testing.TB) (net.Listener, netip.AddrPort) {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || !p.Addr().Is4() || p.Addr().IsLoopback() || p.Addr().IsLinkLocalUnicast() {
			continue
		}
		l, err := net.Listen("tcp4", net.JoinHostPort(p.Addr().String(), "0"))
		if err != nil {
			t.Fatal(err)
		}
		return l, l.Addr().(*net.TCPAddr).AddrPort()
	}
	t.Skip("this machine has only loopback addresses")
	return nil, netip.AddrPort{}
}

// isTimeout tells silence from a refusal.
func isTimeout(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || err != nil && strings.Contains(err.Error(), "timed out")
}
