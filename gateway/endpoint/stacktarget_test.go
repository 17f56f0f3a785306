package endpoint

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// provider is a second domain with a target behind it. It has the same
// addresses as the consumer's on purpose.
type provider struct {
	wire   *wire
	domain *stack.Stack
	host   *stack.Stack
}

const targetPort = 8080

func newProvider(t testing.TB) *provider {
	p := &provider{wire: newWire(1420, false, time.Millisecond)}
	p.domain = newStack(t, p.wire.ends[0], exposureAddr)
	p.host = newStack(t, p.wire.ends[1], consumerAddr)
	t.Cleanup(func() {
		for _, s := range []*stack.Stack{p.domain, p.host} {
			s.Close()
			s.Wait()
		}
		p.wire.close()
	})
	return p
}

func (p *provider) serve(t testing.TB, handle func(net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := gonet.ListenTCP(p.host, tcpip.FullAddress{NIC: dialNIC, Port: targetPort}, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
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
	return netip.AddrPortFrom(consumerAddr, targetPort)
}

func (p *provider) dialer() StackDialer {
	return StackDialer{Stack: p.domain, Sources: []netip.Addr{exposureAddr}, Ports: &SourcePorts{}}
}

func TestStackTarget(t *testing.T) {
	size := 8 << 20
	if testing.Short() {
		size = 1 << 20
	}
	p := newProvider(t)
	sums := make(chan []byte, 1)
	target := p.serve(t, func(c net.Conn) {
		h := sha256.New()
		io.Copy(io.MultiWriter(h, c), c)
		sums <- h.Sum(nil)
		c.(*gonet.TCPConn).CloseWrite()
	})
	r := newRig(t, rigOptions{})
	r.listen(&fixedTargets{addrs: []netip.AddrPort{target}}, func(c *ListenerConfig) { c.Dialer = p.dialer() })
	c := r.dial()
	var back []byte
	var reading sync.WaitGroup
	reading.Go(func() {
		h := sha256.New()
		if _, err := io.Copy(h, c); err != nil {
			t.Error(err)
		}
		back = h.Sum(nil)
	})
	sent, err := randomStream(c, 3, size)
	if err != nil {
		t.Fatal(err)
	}
	c.CloseWrite()
	reading.Wait()
	if !bytes.Equal(sent, <-sums) || !bytes.Equal(sent, back) {
		t.Error("bytes differ")
	}
	if rec := r.ended(1)[0]; rec.Reason != ReasonCompleted || rec.IngressBytes != uint64(size) || rec.EgressBytes != uint64(size) {
		t.Errorf("record = %+v", rec)
	}
}

func TestStackTargetReset(t *testing.T) {
	p := newProvider(t)
	target := p.serve(t, func(net.Conn) {}) // closes at once
	r := newRig(t, rigOptions{})
	r.listen(&fixedTargets{addrs: []netip.AddrPort{target}}, func(c *ListenerConfig) { c.Dialer = p.dialer() })
	c := r.dial()
	deadline(c)
	if _, err := io.ReadAll(c); err != nil {
		t.Fatalf("read: %v, want the target's FIN", err)
	}
	// The target has closed for reading too: bytes are answered by a reset.
	eventually(t, "the reset comes through", func() bool {
		_, err := c.Write([]byte("anybody there?"))
		return err != nil
	})
	if why := r.endReason(); why != ReasonTargetReset {
		t.Errorf("ended because %v", why)
	}
}

func TestStackTargetRefusesAndVanishes(t *testing.T) {
	timeouts := Config{DialTimeout: 300 * time.Millisecond}
	p := newProvider(t)
	nobody := netip.AddrPortFrom(consumerAddr, targetPort)
	t.Run("refuses", func(t *testing.T) {
		r := newRig(t, rigOptions{engine: timeouts})
		r.listen(&fixedTargets{addrs: []netip.AddrPort{nobody}}, func(c *ListenerConfig) { c.Dialer = p.dialer() })
		r.dial()
		if why := r.endReason(); why != ReasonRefusedTargetsFailed {
			t.Errorf("ended because %v", why)
		}
	})
	t.Run("vanishes", func(t *testing.T) {
		p.wire.ends[0].setCut(true)
		defer p.wire.ends[0].setCut(false)
		r := newRig(t, rigOptions{engine: timeouts})
		r.listen(&fixedTargets{addrs: []netip.AddrPort{nobody}}, func(c *ListenerConfig) { c.Dialer = p.dialer() })
		r.dial()
		if why := r.endReason(); why != ReasonRefusedTargetsFailed {
			t.Errorf("ended because %v", why)
		}
	})
	t.Run("source not assigned", func(t *testing.T) {
		d := StackDialer{Stack: p.domain, Sources: []netip.Addr{netip.MustParseAddr("10.9.9.9")}, Ports: &SourcePorts{}}
		if _, err := d.Start(nobody); err == nil {
			t.Error("dialled from an address the domain does not have")
		}
	})
}

// TestStackDialerSharesPorts opens more connections than fit if each took a
// local port for itself... the ports of a source are shared by all targets.
func TestStackDialerSharesPorts(t *testing.T) {
	p := newProvider(t)
	if err := p.domain.SetPortRange(20_000, 20_003); err != nil {
		t.Fatal(err)
	}
	var legs []Leg
	defer func() {
		for _, l := range legs {
			l.Abort()
		}
	}()
	for port := uint16(1000); port < 1008; port++ {
		leg, err := p.dialer().Start(netip.AddrPortFrom(consumerAddr, port))
		if err != nil {
			t.Fatalf("connection %d with four ports: %v", len(legs)+1, err)
		}
		legs = append(legs, leg)
	}
}
