package endpoint

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// TestSourcePortsGrow uses up the ports of one address after the other towards a target, and no more.
func TestSourcePortsGrow(t *testing.T) {
	p := newProvider(t)
	second := netip.MustParseAddr("10.0.1.5")
	if err := p.domain.AddProtocolAddress(dialNIC, tcpip.ProtocolAddress{
		Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddrFromSlice(second.AsSlice()).WithPrefix(),
	}, stack.AddressProperties{}); err != nil {
		t.Fatal(err)
	}
	const ports = 100
	if err := p.domain.SetPortRange(20_000, 20_000+ports-1); err != nil {
		t.Fatal(err)
	}
	d := StackDialer{Stack: p.domain, Sources: []netip.Addr{exposureAddr, second}, Ports: &SourcePorts{}}
	target, other := netip.AddrPortFrom(consumerAddr, 1000), netip.AddrPortFrom(consumerAddr, 1001)
	var legs []Leg
	defer func() {
		for _, l := range legs {
			l.Abort()
		}
		if n := d.Ports.Used(exposureAddr, target) + d.Ports.Used(second, target) + d.Ports.Used(exposureAddr, other); n != 0 {
			t.Errorf("%d ports are used by nothing", n)
		}
	}()
	for n := range 2 * ports {
		leg, err := d.Start(target)
		if err != nil {
			t.Fatalf("connection %d: %v", n+1, err)
		}
		legs = append(legs, leg)
		if n == ports-1 && (d.Ports.Used(exposureAddr, target) != ports || d.Ports.Used(second, target) != 0) {
			t.Errorf("after %d connections %d are from the first address and %d from the second",
				ports, d.Ports.Used(exposureAddr, target), d.Ports.Used(second, target))
		}
	}
	if _, err := d.Start(target); !errors.Is(err, ErrPortsExhausted) {
		t.Errorf("one too many: %v", err)
	}
	leg, err := d.Start(other)
	if err != nil {
		t.Fatalf("another target: %v", err)
	}
	legs[7].Abort()
	legs[7] = leg
	if leg, err = d.Start(target); err != nil {
		t.Fatalf("a port that is free again: %v", err)
	}
	legs = append(legs, leg)
}

// TestKernelSources passes over an address that the host does not have.
func TestKernelSources(t *testing.T) {
	target := backend(t, hold)
	foreign, local := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("127.0.0.77")
	leg, err := KernelDialer{Sources: []netip.Addr{foreign, local}}.Start(target)
	if err != nil {
		t.Fatal(err)
	}
	defer leg.Abort()
	name, err := unix.Getsockname(leg.fd)
	if err != nil {
		t.Fatal(err)
	}
	if got := netip.AddrFrom4(name.(*unix.SockaddrInet4).Addr); got != local {
		t.Errorf("dialled from %v, want %v", got, local)
	}
	if _, err := (KernelDialer{Sources: []netip.Addr{foreign}}).Start(target); err == nil || errors.Is(err, ErrPortsExhausted) {
		t.Errorf("an address that the host does not have: %v", err)
	}
}

// TestPortsExhaustedIsNamed refuses a consumer for want of ports, and does not blame the target.
func TestPortsExhaustedIsNamed(t *testing.T) {
	p := newProvider(t)
	if err := p.domain.SetPortRange(20_000, 20_000); err != nil {
		t.Fatal(err)
	}
	target := p.serve(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) })
	r := newRig(t, rigOptions{})
	r.listen(&fixedTargets{addrs: []netip.AddrPort{target}}, func(c *ListenerConfig) { c.Dialer = p.dialer() })
	r.dial()
	eventually(t, "the first has the port", func() bool { return r.engine.Stats().Opened == 1 })
	r.dial()
	if why := r.endReason(); why != ReasonRefusedPortsExhausted {
		t.Errorf("ended because %v", why)
	}
}
