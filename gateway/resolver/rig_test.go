package resolver

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/time/rate"
)

var (
	app       = netip.MustParseAddr("10.0.1.4")
	host1     = netip.MustParseAddrPort("192.0.2.1:53")
	host2     = netip.MustParseAddrPort("192.0.2.2:53")
	onPremise = netip.MustParseAddrPort("192.168.1.53:53")
)

// server is a name server in a fake network: it returns the messages that a question is answered with, and none for silence.
type server func(q *dns.Msg, stream bool) []*dns.Msg

// fakeNetwork connects to servers through pipes, of which each write is a datagram.
type fakeNetwork struct {
	mu      sync.Mutex
	servers map[netip.AddrPort]server
	asked   []netip.AddrPort
	serving sync.WaitGroup
}

var errNowhere = errors.New("connection refused")

func (n *fakeNetwork) dial(to netip.AddrPort, stream bool) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, to)
	s := n.servers[to]
	if s == nil {
		return nil, errNowhere
	}
	near, far := net.Pipe()
	n.serving.Go(func() {
		defer far.Close()
		buf := make([]byte, 4096)
		for {
			b, err := readMessage(far, buf, stream)
			q := new(dns.Msg)
			if err != nil || q.Unpack(b) != nil {
				return
			}
			for _, m := range s(q, stream) {
				out, err := m.Pack()
				if err != nil {
					panic(err)
				}
				if stream {
					out = frame(out)
				}
				if _, err := far.Write(out); err != nil {
					return
				}
			}
		}
	})
	return near, nil
}

func readMessage(from net.Conn, buf []byte, stream bool) ([]byte, error) {
	if stream {
		return readFrame(from, len(buf))
	}
	n, err := from.Read(buf)
	return buf[:n], err
}

func (n *fakeNetwork) DialPacket(to netip.AddrPort) (net.Conn, error) { return n.dial(to, false) }
func (n *fakeNetwork) DialStream(_ context.Context, to netip.AddrPort) (net.Conn, error) {
	return n.dial(to, true)
}

func (n *fakeNetwork) set(to netip.AddrPort, s server) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.servers[to] = s
}

// questions is which servers were asked since the last call.
func (n *fakeNetwork) questions() []netip.AddrPort {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := n.asked
	n.asked = nil
	return list
}

// rig is a resolver between fake networks.
type rig struct {
	*Resolver
	host, rules *fakeNetwork
}

func newRig(t testing.TB, table Table) *rig {
	t.Helper()
	g := &rig{host: &fakeNetwork{servers: map[netip.AddrPort]server{}}, rules: &fakeNetwork{servers: map[netip.AddrPort]server{}}}
	var err error
	g.Resolver, err = New(Config{
		Zone: "vpce.causeway.internal", Host: g.host, Rules: g.rules,
		Forwarders: func() []netip.AddrPort { return []netip.AddrPort{host1, host2} },
	})
	if err != nil {
		t.Fatal(err)
	}
	g.Publish(table)
	return g
}

// unlimited lets app ask as much as it can.
func (g *rig) unlimited() {
	g.limits.all.SetLimit(rate.Inf)
	g.limits.mu.Lock()
	defer g.limits.mu.Unlock()
	g.limits.client(app, time.Now()).rate.SetLimit(rate.Inf)
}

// ask sends a request and waits for its answer; nil is none.
func (g *rig) ask(t testing.TB, m *dns.Msg) *dns.Msg { return g.askFrom(t, app, m) }

func (g *rig) askFrom(t testing.TB, from netip.Addr, m *dns.Msg) *dns.Msg {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	reply, q := g.handle(from, b, false)
	if q != nil {
		var waiting sync.WaitGroup
		g.wait(t.Context(), &waiting, from, q, func(b []byte) { reply = b })
		waiting.Wait()
	}
	if reply == nil {
		return nil
	}
	out := new(dns.Msg)
	if err := out.Unpack(reply); err != nil {
		t.Fatalf("answer to %s is malformed: %v", m.Question[0].Name, err)
	}
	if out.Id != m.Id || !out.Response {
		t.Errorf("answer to %s has id %d, want %d", m.Question[0].Name, out.Id, m.Id)
	}
	return out
}

// query asks for one type of a name.
func (g *rig) lookup(t testing.TB, name string, kind uint16) *dns.Msg {
	t.Helper()
	return g.ask(t, new(dns.Msg).SetQuestion(name, kind))
}

func addresses(m *dns.Msg) (list []string) {
	if m == nil {
		return nil
	}
	for _, rr := range m.Answer {
		if a, ok := rr.(*dns.A); ok {
			list = append(list, a.A.String())
		}
	}
	slices.Sort(list)
	return list
}

func always() bool { return true }
func never() bool  { return false }

func name(s string, addrs ...string) Name {
	n := Name{Name: s}
	for _, a := range addrs {
		n.Interfaces = append(n.Interfaces, Interface{netip.MustParseAddr(a), always})
	}
	return n
}

func rr(t testing.TB, text string) dns.RR {
	t.Helper()
	x, err := dns.NewRR(text)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// answering is a server that has records for every question; those of section "ns:" are authority.
func answering(t testing.TB, code int, records ...string) server {
	t.Helper()
	var fixed dns.Msg
	for _, text := range records {
		if authority, ok := strings.CutPrefix(text, "ns:"); ok {
			fixed.Ns = append(fixed.Ns, rr(t, authority))
		} else {
			fixed.Answer = append(fixed.Answer, rr(t, text))
		}
	}
	return func(q *dns.Msg, _ bool) []*dns.Msg {
		m := fixed.Copy().SetReply(q)
		m.Rcode, m.RecursionAvailable = code, true
		return []*dns.Msg{m}
	}
}

func silent(*dns.Msg, bool) []*dns.Msg { return nil }

// packets is a UDP socket of which both ends are channels.
type packets struct {
	in, out chan datagram
	closed  chan struct{}
	once    sync.Once
}

type datagram struct {
	peer net.Addr
	data []byte
}

func newPackets() *packets {
	return &packets{in: make(chan datagram), out: make(chan datagram, 100), closed: make(chan struct{})}
}

func (p *packets) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case d := <-p.in:
		return copy(b, d.data), d.peer, nil
	case <-p.closed:
		return 0, nil, net.ErrClosed
	}
}

func (p *packets) WriteTo(b []byte, to net.Addr) (int, error) {
	p.out <- datagram{to, slices.Clone(b)}
	return len(b), nil
}

func (p *packets) Close() error                   { p.once.Do(func() { close(p.closed) }); return nil }
func (*packets) LocalAddr() net.Addr              { return &net.UDPAddr{} }
func (*packets) SetDeadline(time.Time) error      { return nil }
func (*packets) SetReadDeadline(time.Time) error  { return nil }
func (*packets) SetWriteDeadline(time.Time) error { return nil }

// listener hands out one end of pipes.
type listener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newListener() *listener {
	return &listener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *listener) Close() error { l.once.Do(func() { close(l.closed) }); return nil }
func (*listener) Addr() net.Addr { return &net.TCPAddr{} }

type from struct {
	net.Conn
	addr netip.Addr
}

func (f from) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(netip.AddrPortFrom(f.addr, 4000)) }

// connect opens a connection of a client.
func (l *listener) connect(a netip.Addr) net.Conn {
	near, far := net.Pipe()
	l.conns <- from{far, a}
	return near
}

// ended tells whether the other side closed a connection.
func ended(c net.Conn) bool {
	var b [1]byte
	_, err := c.Read(b[:])
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe)
}
