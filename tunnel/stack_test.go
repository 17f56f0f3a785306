package tunnel_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"causeway/tunnel"
	"causeway/tunnel/link"
)

// site is a netstack behind a link with one or more tunnel devices, as a gateway's domain is.
type site struct {
	addr    netip.Addr
	link    *link.Link
	stack   *stack.Stack
	ports   []*link.Port
	devices []*tunnel.Device
}

func newSite(t testing.TB, addr string, devices int) *site {
	t.Helper()
	l, err := link.New(link.Config{Admit: func(link.Packet) link.Verdict { return link.Accept() }})
	if err != nil {
		t.Fatal(err)
	}
	s := &site{addr: netip.MustParseAddr(addr), link: l}
	s.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
	})
	if err := s.stack.CreateNIC(1, l.Endpoint()); err != nil {
		t.Fatal(err)
	}
	if err := s.stack.AddProtocolAddress(1, tcpip.ProtocolAddress{
		Protocol:          ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddrFrom4(s.addr.As4()).WithPrefix(),
	}, stack.AddressProperties{}); err != nil {
		t.Fatal(err)
	}
	s.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: 1}})
	var running sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	for range devices {
		port := l.NewPort("wg")
		d, err := tunnel.New(tunnel.Config{
			Name: "wg", PrivateKey: tunnel.NewPrivateKey(), TUN: port.Device(),
			Listen: netip.MustParseAddrPort("127.0.0.1:0"), Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Start(); err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			if err := d.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		s.ports, s.devices = append(s.ports, port), append(s.devices, d)
	}
	t.Cleanup(func() {
		stop()
		running.Wait()
		s.stack.Destroy()
		l.Close()
	})
	return s
}

// connect makes device i of a and device j of b peers that hold each other's addresses; a calls b.
func connect(t testing.TB, a, b *site, i, j int) {
	t.Helper()
	at := func(d *tunnel.Device) netip.AddrPort {
		s, err := d.Status()
		if err != nil {
			t.Fatal(err)
		}
		return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), s.Port)
	}
	for _, side := range []struct {
		from, to     *site
		fromDev, dev *tunnel.Device
		endpoint     netip.AddrPort
	}{
		{b, a, b.devices[j], a.devices[i], netip.AddrPort{}},
		{a, b, a.devices[i], b.devices[j], at(b.devices[j])},
	} {
		if err := side.fromDev.SetPeers([]tunnel.Peer{{
			Name: "peer", PublicKey: side.dev.PublicKey(), Endpoint: side.endpoint,
			AllowedIPs: []netip.Prefix{netip.PrefixFrom(side.to.addr, 32)},
		}}); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *site) route(to *site, ports ...*link.Port) {
	s.link.SetRoutes([]link.Route{{Prefix: netip.PrefixFrom(to.addr, 32), Ports: ports}})
}

const echoPort = 7

// serveEcho answers every connection with what it sends.
func (s *site) serveEcho(t testing.TB) {
	t.Helper()
	listener, err := gonet.ListenTCP(s.stack, tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFrom4(s.addr.As4()), Port: echoPort}, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				io.Copy(conn, conn)
				conn.(*gonet.TCPConn).CloseWrite()
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		conns.Wait()
	})
}

func (s *site) dial(t testing.TB, to *site) *gonet.TCPConn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, err := gonet.DialContextTCP(ctx, s.stack, tcpip.FullAddress{Addr: tcpip.AddrFrom4(to.addr.As4()), Port: echoPort}, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

// exchange sends data and reads it back.
func exchange(t testing.TB, conn *gonet.TCPConn, data []byte) {
	t.Helper()
	var sent sync.WaitGroup
	defer sent.Wait()
	sent.Go(func() { conn.Write(data) })
	back := make([]byte, len(data))
	if _, err := io.ReadFull(conn, back); err != nil {
		t.Error(err)
	} else if !bytes.Equal(back, data) {
		t.Error("data came back changed")
	}
}

// Two netstacks through links, devices, encryption and UDP on loopback, with several flows at once.
func TestEndToEnd(t *testing.T) {
	a, b := newSite(t, "10.0.0.1", 1), newSite(t, "10.0.0.2", 1)
	connect(t, a, b, 0, 0)
	a.route(b, a.ports...)
	b.route(a, b.ports...)
	b.serveEcho(t)
	var flows sync.WaitGroup
	for i := range 4 {
		flows.Go(func() {
			conn := a.dial(t, b)
			defer conn.Close()
			exchange(t, conn, bytes.Repeat([]byte{byte(i), 1, 2}, 1<<20))
		})
	}
	flows.Wait()
	for _, s := range []*site{a, b} {
		checkBalance(t, s.link)
	}
}

// checkBalance checks that packets in = delivered + dropped, once the last acknowledgments have come in.
func checkBalance(t testing.TB, l *link.Link) {
	t.Helper()
	var in, out uint64
	deadline := time.Now().Add(10 * time.Second)
	for in == 0 || in != out {
		if time.Now().After(deadline) {
			t.Fatalf("%d packets in, %d delivered or dropped", in, out)
		}
		c := l.Counters()
		in, out = c.InPackets, c.DeliveredPackets
		for _, n := range c.InDrops {
			out += n
		}
	}
}

// A site with two tunnels, on two devices of the gateway: one connection goes on when the site changes tunnels.
func TestSiteChangesTunnels(t *testing.T) {
	gateway, onPrem := newSite(t, "10.0.0.1", 2), newSite(t, "192.168.0.1", 2)
	for i := range 2 {
		connect(t, onPrem, gateway, i, i)
	}
	gateway.route(onPrem, gateway.ports...)
	gateway.serveEcho(t)
	onPrem.route(gateway, onPrem.ports[0])
	conn := onPrem.dial(t, gateway)
	defer conn.Close()
	exchange(t, conn, []byte("by the first"))
	if got := gateway.link.ActivePort(onPrem.addr); got != gateway.ports[0] {
		t.Fatal("the first tunnel is not active")
	}
	second := gateway.ports[1].Counters().OutPackets
	onPrem.route(gateway, onPrem.ports[1])
	// A last acknowledgment may still be on its way through the first tunnel, so one exchange may not settle it.
	deadline := time.Now().Add(10 * time.Second)
	for gateway.link.ActivePort(onPrem.addr) != gateway.ports[1] && time.Now().Before(deadline) {
		exchange(t, conn, []byte("by the second"))
	}
	exchange(t, conn, []byte("and by the second again"))
	if got := gateway.link.ActivePort(onPrem.addr); got != gateway.ports[1] {
		t.Error("the second tunnel is not active")
	}
	if gateway.ports[1].Counters().OutPackets == second {
		t.Error("nothing left by the second tunnel")
	}
}
