package link

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/tun"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// newStack returns a gVisor stack with one address on the link.
func newStack(t testing.TB, l *Link, addr netip.Addr) *stack.Stack {
	t.Helper()
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
	})
	if err := s.CreateNIC(1, l.Endpoint()); err != nil {
		t.Fatal(err)
	}
	protocol := tcpip.ProtocolAddress{
		Protocol:          ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddrFrom4(addr.As4()).WithPrefix(),
	}
	if err := s.AddProtocolAddress(1, protocol, stack.AddressProperties{}); err != nil {
		t.Fatal(err)
	}
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: 1}})
	t.Cleanup(s.Destroy)
	return s
}

// wire carries packets from one device to another, as two WireGuard devices would, until from is closed. It returns the
// size of the largest.
func wire(from, to tun.Device) (largest int) {
	r := newReader(batchSize, 2000)
	for {
		n, err := from.Read(r.bufs, r.sizes, testOffset)
		if err != nil {
			return largest
		}
		batch := make([][]byte, n)
		for i := range batch {
			batch[i] = r.bufs[i][:testOffset+r.sizes[i]]
			largest = max(largest, r.sizes[i])
		}
		to.Write(batch, testOffset)
	}
}

// pair is two stacks that are joined by a link each and one wire.
type pair struct {
	links  [2]*Link
	stacks [2]*stack.Stack
}

func newPair(t testing.TB, cfg Config) *pair {
	t.Helper()
	cfg.Admit = acceptAll
	var p pair
	var ports [2]*Port
	for i, addr := range []netip.AddrPort{client, service} {
		p.links[i], ports[i] = newTestLink(t, cfg, nil)
		p.stacks[i] = newStack(t, p.links[i], addr.Addr())
	}
	var wires sync.WaitGroup
	var largest [2]int
	wires.Go(func() { largest[0] = wire(ports[0].Device(), ports[1].Device()) })
	wires.Go(func() { largest[1] = wire(ports[1].Device(), ports[0].Device()) })
	t.Cleanup(func() {
		p.links[0].Close()
		p.links[1].Close()
		wires.Wait()
		if mtu := int(p.links[0].mtu.Load()); largest[0] > mtu || largest[1] > mtu {
			t.Errorf("packets of up to %v bytes at MTU %d", largest, mtu)
		}
	})
	return &p
}

func full(addr netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFrom4(addr.Addr().As4()), Port: addr.Port()}
}

// serveEcho answers every connection with what it sends.
func (p *pair) serveEcho(t testing.TB) {
	t.Helper()
	listener, err := gonet.ListenTCP(p.stacks[1], full(service), ipv4.ProtocolNumber)
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

// echo sends data and returns an error unless it comes back whole.
func (p *pair) echo(ctx context.Context, data []byte) error {
	conn, err := gonet.DialContextTCP(ctx, p.stacks[0], full(service), ipv4.ProtocolNumber)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	var sent sync.WaitGroup
	sent.Go(func() {
		conn.Write(data)
		conn.CloseWrite()
	})
	defer sent.Wait()
	back, err := io.ReadAll(conn)
	if err != nil {
		return err
	}
	if !bytes.Equal(back, data) {
		return fmt.Errorf("%d bytes came back changed, %d were sent", len(back), len(data))
	}
	return nil
}

func TestStacksThroughLinks(t *testing.T) {
	for name, cfg := range map[string]Config{
		"default":     {},
		"small MTU":   {MTU: MinMTU},
		"jumbo":       {MTU: 1900},
		"tight queue": {QueuePackets: 4, QueueBytes: 8000},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, cfg)
			p.serveEcho(t)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			var flows sync.WaitGroup
			for i := range 8 {
				flows.Go(func() {
					data := make([]byte, 1<<20+i)
					rand.NewChaCha8([32]byte{byte(i)}).Read(data)
					if err := p.echo(ctx, data); err != nil {
						t.Errorf("flow %d: %v", i, err)
					}
				})
			}
			flows.Wait()
			for i, l := range p.links {
				l.Close() // counters stand still from here on
				c := l.Counters()
				checkBalance(t, c)
				if c.DeliveredPackets == 0 || c.OutPackets == 0 {
					t.Errorf("link %d: nothing passed: %+v", i, c)
				}
			}
		})
	}
}
