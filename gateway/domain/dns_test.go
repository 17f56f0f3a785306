package domain

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"causeway/tunnel/link"
)

// dnsPair is a VPC with a resolver at 10.0.0.2 that a name server at 10.0.0.5 is connected to.
func dnsPair(t *testing.T) (vpc, server *Domain, port *link.Port) {
	t.Helper()
	vpc = newDomain(t, Config{Name: "vpc"})
	server, uplink := client(t, "10.0.0.5")
	server.Publish(Table{
		Peers:     []Peer{{Name: "gateway", Port: uplink, Prefixes: prefixes("0.0.0.0/0")}},
		Resolvers: []Resolver{{Address: addr("10.0.0.5"), Tunnels: true}},
	})
	port = vpc.NewPort("device")
	wire(t, port, uplink)
	if err := vpc.AddAddress(addr("10.0.0.2")); err != nil {
		t.Fatal(err)
	}
	vpc.Publish(Table{
		Peers:     []Peer{{Name: "app", Port: port, Prefixes: prefixes("10.0.0.5/32")}},
		Resolvers: []Resolver{{Address: addr("10.0.0.2")}},
	})
	return vpc, server, port
}

// echo answers each datagram with itself.
func echo(t *testing.T, d *Domain, at string) {
	t.Helper()
	c, err := d.ListenPacket(addrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var b [2000]byte
		for {
			n, from, err := c.ReadFrom(b[:])
			if err != nil {
				return
			}
			if _, err := c.WriteTo(b[:n], from); err != nil {
				t.Errorf("answer: %v", err)
			}
		}
	}()
	t.Cleanup(func() {
		c.Close()
		<-done
	})
}

func isTimeout(err error) bool {
	var network net.Error
	return errors.As(err, &network) && network.Timeout()
}

func exchange(c net.Conn, text string, patience time.Duration) error {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := c.Write([]byte(text)); err != nil {
		return err
	}
	var b [2000]byte
	n, err := c.Read(b[:])
	if err == nil && string(b[:n]) != text {
		err = errors.New("another answer")
	}
	return err
}

func TestDatagramsBothWays(t *testing.T) {
	vpc, server, port := dnsPair(t)
	echo(t, vpc, "10.0.0.2:53")
	echo(t, server, "10.0.0.5:53")
	for _, tt := range []struct {
		from     *Domain
		source   string
		to       string
		answered bool
	}{
		{server, "10.0.0.5", "10.0.0.2:53", true},
		{vpc, "10.0.0.2", "10.0.0.5:53", true},
		{server, "10.0.0.5", "10.0.0.2:54", false},
		{server, "10.0.0.5", "10.0.0.3:53", false},
	} {
		c, err := tt.from.DialPacket(addr(tt.source), addrPort(tt.to))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		patience := 5 * time.Second
		if !tt.answered {
			patience = 200 * time.Millisecond
		}
		if err := exchange(c, "question", patience); (err == nil) != tt.answered || !tt.answered && !isTimeout(err) {
			t.Errorf("%s to %s: %v, want it answered: %v", tt.source, tt.to, err, tt.answered)
		}
	}
	c, err := vpc.DialPacket(addr("10.0.0.2"), addrPort("10.0.0.5:53"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	local := c.LocalAddr().(*net.UDPAddr).AddrPort()
	answer := link.Packet{Protocol: link.ProtocolUDP, Source: addrPort("10.0.0.5:53"), Destination: local, Port: port}
	if v := vpc.admit(answer); !v.Accepted() {
		t.Errorf("an answer is not admitted: %s", show(v))
	}
	for name, change := range map[string]func(*link.Packet){
		"source port": func(p *link.Packet) { p.Source = addrPort("10.0.0.5:54") },
		"port":        func(p *link.Packet) { p.Destination = netip.AddrPortFrom(local.Addr(), local.Port()^1) },
		"protocol":    func(p *link.Packet) { p.Protocol = link.ProtocolTCP },
	} {
		p := answer
		change(&p)
		if v := vpc.admit(p); v.Accepted() {
			t.Errorf("another %s is admitted", name)
		}
	}
	if n := testing.AllocsPerRun(100, func() { vpc.admit(answer) }); n != 0 {
		t.Errorf("admission allocates %v times", n)
	}
	c.Close()
	if v := vpc.admit(answer); v.Accepted() {
		t.Error("an answer to nobody is admitted")
	}
	if _, err := vpc.DialPacket(addr("10.0.0.2"), addrPort("10.9.9.9:53")); !errors.Is(err, ErrNoPeer) {
		t.Errorf("a name server that nobody holds: %v", err)
	}
}

func TestStreamsOfTheResolver(t *testing.T) {
	vpc, server, _ := dnsPair(t)
	l, err := vpc.ListenStream(addrPort("10.0.0.2:53"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			defer c.Close()
			var b [8]byte
			if _, err = c.Read(b[:]); err == nil {
				_, err = c.Write(b[:])
			}
		}
		done <- err
	}()
	c, err := server.DialStream(t.Context(), addr("10.0.0.5"), addrPort("10.0.0.2:53"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := exchange(c, "question", 5*time.Second); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	go func() {
		_, err := l.Accept()
		done <- err
	}()
	l.Close()
	if err := <-done; err == nil {
		t.Error("a closed listener accepts")
	}
}
