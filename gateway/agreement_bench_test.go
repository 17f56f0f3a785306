package gateway

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"causeway/gateway/spec"
	"causeway/tunnel/link"
)

// bench is a gateway whose tunnel endpoints are links without WireGuard devices: a test writes what comes out of the tunnels
// and reads what goes in.
type bench struct {
	gatewayUnderTest
	t       testing.TB
	ports   map[string]*benchPort // by uid of the tunnel endpoint
	records chan *spec.FlowRecord
	source  uint16
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{t: t, ports: map[string]*benchPort{}, records: make(chan *spec.FlowRecord, 64), source: 1023}
	cfg := config(t, t.TempDir())
	cfg.UnderlayAllow = nil
	cfg.dialTimeout = 100 * time.Millisecond
	cfg.OnRecord = func(r *spec.FlowRecord) { b.records <- r }
	b.gatewayUnderTest = run(t, cfg)
	s := randomTopology(rand.New(rand.NewPCG(0, 0)), 0)
	if err := b.acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer b.release()
	for i := range s.Domains {
		d := &s.Domains[i]
		b.openDomain(d)
		v := b.served.domains[d.Name]
		for _, te := range d.TunnelEndpoints {
			p := &benchPort{port: v.domain.NewPort(te.UID), received: make(chan segment, 64)}
			v.tunnels[te.UID] = &tunnelEndpoint{port: te.Port, link: p.port}
			b.ports[te.UID] = p
			done := make(chan struct{})
			go func() {
				defer close(done)
				p.read()
			}()
			t.Cleanup(func() {
				p.port.Device().Close()
				<-done
			})
		}
	}
	return b
}

// apply puts a topology in force, without a copy on disk.
func (b *bench) apply(s *spec.Gateway) {
	b.t.Helper()
	if err := check(s); err != nil {
		b.t.Fatalf("random topology: %v", err)
	}
	if err := b.acquire(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	defer b.release()
	b.reconcile(s)
}

// nextPort is a source port that was not used for long.
func (b *bench) nextPort() uint16 {
	if b.source++; b.source < 1024 {
		b.source = 1024
	}
	return b.source
}

func (b *bench) counters(vpc string) link.Counters {
	return b.view.Load().paths.domains[vpc].domain.Counters()
}

// dropped tells why a packet was dropped in a VPC since a moment, or "".
func (b *bench) dropped(vpc string, before link.Counters) string {
	now := b.counters(vpc)
	for i := range link.NumReasons { // first, for the reset that answers a packet may be dropped in its turn
		if now.InDrops[i] != before.InDrops[i] {
			return link.Reason(i).String()
		}
	}
	for i := range link.NumReasons {
		if now.OutDrops[i] != before.OutDrops[i] {
			return link.Reason(i).String()
		}
	}
	return ""
}

// portOf is where the question's consumer sends; for one that nobody is, any port of its VPC.
func (b *bench) portOf(q spec.Question) *benchPort {
	d := b.view.Load().paths.domains[q.Domain].domain
	if p, ok := d.PeerOf(q.Source.Addr()); ok {
		for _, port := range b.ports {
			if port.port == p.Port {
				return port
			}
		}
	}
	return b.ports[b.view.Load().paths.index.tunnels[q.Domain][0].UID]
}

// benchPort is the end of a tunnel endpoint.
type benchPort struct {
	port     *link.Port
	received chan segment
}

// segment is a TCP segment without data.
type segment struct {
	from, to netip.AddrPort
	flags    header.TCPFlags
	seq, ack uint32
}

const (
	flagSYN = header.TCPFlagSyn
	flagACK = header.TCPFlagAck
	flagRST = header.TCPFlagRst
)

func (p *benchPort) send(t testing.TB, s segment) {
	t.Helper()
	if _, err := p.port.Device().Write([][]byte{s.bytes()}, 0); err != nil {
		t.Fatal(err)
	}
}

// read hands on what goes into the tunnels; what nobody waits for is lost.
func (p *benchPort) read() {
	const batch, size = 8, 2048
	bufs, sizes := make([][]byte, batch), make([]int, batch)
	for i := range bufs {
		bufs[i] = make([]byte, size)
	}
	for {
		n, err := p.port.Device().Read(bufs, sizes, 0)
		if err != nil {
			return
		}
		for i := range n {
			ip := header.IPv4(bufs[i][:sizes[i]])
			tcp := header.TCP(ip.Payload())
			s := segment{
				from:  netip.AddrPortFrom(netip.AddrFrom4(ip.SourceAddress().As4()), tcp.SourcePort()),
				to:    netip.AddrPortFrom(netip.AddrFrom4(ip.DestinationAddress().As4()), tcp.DestinationPort()),
				flags: tcp.Flags(), seq: tcp.SequenceNumber(), ack: tcp.AckNumber(),
			}
			select {
			case p.received <- s:
			default:
			}
		}
	}
}

func (s segment) bytes() []byte {
	const length = header.IPv4MinimumSize + header.TCPMinimumSize
	b := make([]byte, length)
	ip, from, to := header.IPv4(b), tcpip.AddrFrom4(s.from.Addr().As4()), tcpip.AddrFrom4(s.to.Addr().As4())
	ip.Encode(&header.IPv4Fields{TotalLength: length, TTL: 64, Protocol: uint8(header.TCPProtocolNumber), SrcAddr: from, DstAddr: to})
	ip.SetChecksum(^ip.CalculateChecksum())
	tcp := header.TCP(ip.Payload())
	tcp.Encode(&header.TCPFields{
		SrcPort: s.from.Port(), DstPort: s.to.Port(), SeqNum: s.seq, AckNum: s.ack,
		DataOffset: header.TCPMinimumSize, Flags: s.flags, WindowSize: 65535,
	})
	sum := header.PseudoHeaderChecksum(header.TCPProtocolNumber, from, to, header.TCPMinimumSize)
	tcp.SetChecksum(^checksum.Checksum(tcp, sum))
	return b
}
