package domain

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/tun"

	"causeway/tunnel/link"
)

// wire carries packets between two ports as a pair of WireGuard devices would, until the test ends.
func wire(t testing.TB, a, b *link.Port) {
	t.Helper()
	var pumps sync.WaitGroup
	pump := func(from, to tun.Device) {
		n := from.BatchSize()
		bufs, sizes := make([][]byte, n), make([]int, n)
		for i := range bufs {
			bufs[i] = make([]byte, 65536)
		}
		for {
			got, err := from.Read(bufs, sizes, 0)
			if err != nil {
				return
			}
			var out [][]byte
			for i := range got {
				out = append(out, bufs[i][:sizes[i]])
			}
			if _, err := to.Write(out, 0); err != nil {
				return
			}
		}
	}
	pumps.Go(func() { pump(a.Device(), b.Device()) })
	pumps.Go(func() { pump(b.Device(), a.Device()) })
	t.Cleanup(func() {
		a.Device().Close()
		b.Device().Close()
		pumps.Wait()
	})
}

// client is a domain that plays a consumer: its node address is where connections come from.
func client(t testing.TB, address string) (*Domain, *link.Port) {
	t.Helper()
	c := newDomain(t, Config{Name: "client"})
	port := c.NewPort("uplink")
	if err := c.AddAddress(addr(address)); err != nil {
		t.Fatal(err)
	}
	c.Publish(Table{Peers: []Peer{{Name: "gateway", Port: port, Prefixes: prefixes("0.0.0.0/0")}}})
	return c, port
}

// serve exposes address:443 in d to one peer at 10.0.0.5 and listens on it.
func serve(t *testing.T, d *Domain, port *link.Port, at string) {
	t.Helper()
	to := addrPort(at)
	if err := d.AddAddress(to.Addr()); err != nil {
		t.Fatal(err)
	}
	ep, _, err := d.Listen(to, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ep.Close)
	d.Publish(Table{
		Peers:     []Peer{{Name: "app", Port: port, Prefixes: prefixes("10.0.0.5/32")}},
		Exposures: []Exposure{{Address: to.Addr(), Services: []Service{{to.Port(), always(true)}, {to.Port() + 1, always(false)}}}},
	})
}

func probe(t testing.TB, d *Domain, from, to string, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return d.Probe(ctx, addr(from), addrPort(to), nil)
}

func TestConnectionsThroughADomain(t *testing.T) {
	d := newDomain(t, Config{Name: "vpc"})
	c, uplink := client(t, "10.0.0.5")
	port := d.NewPort("device")
	wire(t, port, uplink)
	serve(t, d, port, "10.0.1.5:443")
	if err := d.AddAddress(addr("10.0.1.9")); err != nil {
		t.Fatal(err)
	}
	if err := probe(t, c, "10.0.0.5", "10.0.1.5:443", 5*time.Second); err != nil {
		t.Errorf("exposure: %v", err)
	}
	for to, refused := range map[string]bool{"10.0.1.5:80": true, "10.0.1.5:444": true, "10.0.1.9:443": false, "10.0.1.77:443": false} {
		err := probe(t, c, "10.0.0.5", to, 300*time.Millisecond)
		if err == nil || refused == errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want it reset: %v", to, err, refused)
		}
	}
	k := d.Counters()
	var drops uint64
	for _, n := range k.InDrops {
		drops += n
	}
	if k.InPackets != k.DeliveredPackets+drops {
		t.Errorf("%d packets in, but %d delivered and %d dropped", k.InPackets, k.DeliveredPackets, drops)
	}
}

// TestNothingIsForwarded sends from one peer to another, and from a target to the address that the gateway dials from.
func TestNothingIsForwarded(t *testing.T) {
	d := newDomain(t, Config{Name: "vpc"})
	a, uplinkA := client(t, "10.0.0.5")
	b, uplinkB := client(t, "10.0.0.6")
	portA, portB := d.NewPort("a"), d.NewPort("b")
	wire(t, portA, uplinkA)
	wire(t, portB, uplinkB)
	if err := d.AddAddress(addr("10.0.1.9")); err != nil {
		t.Fatal(err)
	}
	ep, _, err := b.Listen(addrPort("10.0.0.6:22"), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ep.Close)
	b.Publish(Table{
		Peers:     []Peer{{Name: "gateway", Port: uplinkB, Prefixes: prefixes("0.0.0.0/0")}},
		Exposures: []Exposure{{Address: addr("10.0.0.6"), Services: []Service{{22, always(true)}}}},
	})
	d.Publish(Table{Peers: []Peer{
		{Name: "a", Port: portA, Prefixes: prefixes("10.0.0.5/32")}, {Name: "b", Port: portB, Prefixes: prefixes("10.0.0.6/32")},
	}})
	if err := probe(t, d, "10.0.1.9", "10.0.0.6:22", 5*time.Second); err != nil {
		t.Errorf("the domain itself cannot reach its peer: %v", err)
	}
	if err := probe(t, a, "10.0.0.5", "10.0.0.6:22", 300*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("from peer to peer: %v, want silence", err)
	}
	if err := probe(t, b, "10.0.0.6", "10.0.1.9:22", 300*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("from target to node: %v, want silence", err)
	}
}

func TestProbeWithoutPeerFailsAtOnce(t *testing.T) {
	d := newDomain(t, Config{Name: "vpc"})
	if err := d.AddAddress(addr("10.0.1.9")); err != nil {
		t.Fatal(err)
	}
	if err := d.Probe(t.Context(), addr("10.0.1.9"), addrPort("10.0.0.6:22"), nil); !errors.Is(err, ErrNoPeer) {
		t.Errorf("got %v, want %v", err, ErrNoPeer)
	}
}

func TestPeerOf(t *testing.T) {
	d := newDomain(t, Config{Name: "vpc"})
	one, two := d.NewPort("one"), d.NewPort("two")
	d.Publish(Table{
		Peers: []Peer{
			{Name: "tunnel1", Tunnel: true, Port: one, Prefixes: prefixes("192.168.0.0/16")},
			{Name: "tunnel2", Tunnel: true, Port: two, Prefixes: prefixes("192.168.0.0/16")},
			{Name: "app", Port: two, Prefixes: prefixes("192.168.0.9/32")},
		},
		Exposures: []Exposure{{Address: addr("10.0.1.5")}, {Address: addr("10.0.1.6"), Tunnels: true}},
	})
	for a, want := range map[string]string{"192.168.0.9": "app", "192.168.1.1": "tunnel1", "172.16.0.1": ""} {
		p, ok := d.PeerOf(addr(a))
		if p.Name != want || ok != (want != "") || d.Holds(addr(a)) != ok {
			t.Errorf("%s: %q, want %q", a, p.Name, want)
		}
	}
	for _, tt := range []struct {
		consumer, exposure string
		ok                 bool
	}{
		{"192.168.0.9", "10.0.1.5", true}, {"192.168.1.1", "10.0.1.5", false}, {"192.168.1.1", "10.0.1.6", true},
		{"192.168.0.9", "10.0.1.7", false}, {"172.16.0.1", "10.0.1.6", false},
	} {
		if _, ok := d.MayUse(addr(tt.consumer), addr(tt.exposure)); ok != tt.ok {
			t.Errorf("MayUse(%s, %s) = %v, want %v", tt.consumer, tt.exposure, ok, tt.ok)
		}
	}
}

func TestChangedHands(t *testing.T) {
	d := newDomain(t, Config{Name: "vpc"})
	one, two := d.NewPort("one"), d.NewPort("two")
	peer := func(name string, port *link.Port, list ...string) Peer {
		return Peer{Name: name, Port: port, Prefixes: prefixes(list...)}
	}
	for _, tt := range []struct {
		name   string
		before []Peer
		after  []Peer
		want   bool
	}{
		{"OK same", []Peer{peer("a", one, "10.0.0.5/32")}, []Peer{peer("a", one, "10.0.0.5/32")}, false},
		{"OK on another port", []Peer{peer("a", one, "10.0.0.5/32")}, []Peer{peer("a", two, "10.0.0.5/32")}, false},
		{"OK one of two left", []Peer{peer("a", one, "10.0.0.0/8"), peer("b", two, "10.0.0.0/8")}, []Peer{peer("b", two, "10.0.0.0/8")}, false},
		{"bad gone", []Peer{peer("a", one, "10.0.0.5/32")}, nil, true},
		{"bad another", []Peer{peer("a", one, "10.0.0.5/32")}, []Peer{peer("b", one, "10.0.0.5/32")}, true},
		{"bad falls to a wider prefix", []Peer{peer("a", one, "10.0.0.5/32"), peer("b", two, "10.0.0.0/8")}, []Peer{peer("b", two, "10.0.0.0/8")}, true},
		{"OK never held", nil, []Peer{peer("a", one, "10.0.0.5/32")}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d.Publish(Table{Peers: tt.before})
			if got := d.Publish(Table{Peers: tt.after})(addr("10.0.0.5")); got != tt.want {
				t.Errorf("changed hands %v, want %v", got, tt.want)
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	d := newDomain(t, Config{Name: "vpc"})
	a := addr("10.0.1.5")
	for range 2 {
		if err := d.AddAddress(a); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.AddAddress(addr("fd00::1")); err == nil {
		t.Error("an IPv6 address was added")
	}
	ep, _, err := d.Listen(netip.AddrPortFrom(a, 443), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Listen(netip.AddrPortFrom(a, 443), 0); err == nil {
		t.Error("listening twice on one port succeeded")
	}
	ep.Close()
	if ep, _, err = d.Listen(netip.AddrPortFrom(a, 443), 0); err != nil {
		t.Errorf("listening again after close: %v", err)
	} else {
		ep.Close()
	}
	for range 2 {
		if err := d.RemoveAddress(a); err != nil {
			t.Error(err)
		}
	}
	if ep, _, err := d.Listen(netip.AddrPortFrom(a, 443), 0); err == nil {
		ep.Close()
		t.Error("listening on an address that is gone succeeded")
	}
	d.Close()
	d.Close()
	if err := d.AddAddress(a); !errors.Is(err, ErrClosed) {
		t.Errorf("add address after close: %v", err)
	}
	if _, _, err := d.Listen(netip.AddrPortFrom(a, 443), 0); !errors.Is(err, ErrClosed) {
		t.Errorf("listen after close: %v", err)
	}
}
