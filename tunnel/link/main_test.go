package link

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/refs"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

func TestMain(m *testing.M) {
	refs.SetLeakMode(refs.LeaksPanic)
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			println(err.Error())
			code = 1
		}
		refs.DoLeakCheck() // panics
	}
	os.Exit(code)
}

var (
	client  = netip.MustParseAddrPort("10.0.1.10:40000")
	service = netip.MustParseAddrPort("10.0.1.20:443")
)

// segment describes a TCP packet for tests.
type segment struct {
	src, dst netip.AddrPort
	seq, ack uint32
	flags    uint8
	window   uint16
	options  []byte
	ttl      uint8
	payload  []byte
}

func (s segment) bytes() []byte {
	if !s.src.IsValid() {
		s.src = client
	}
	if !s.dst.IsValid() {
		s.dst = service
	}
	if s.ttl == 0 {
		s.ttl = 64
	}
	tcp := make([]byte, tcpHeaderLen, tcpHeaderLen+len(s.options)+len(s.payload))
	binary.BigEndian.PutUint16(tcp[0:], s.src.Port())
	binary.BigEndian.PutUint16(tcp[2:], s.dst.Port())
	binary.BigEndian.PutUint32(tcp[4:], s.seq)
	binary.BigEndian.PutUint32(tcp[8:], s.ack)
	tcp[12] = uint8(tcpHeaderLen+len(s.options)) / 4 << 4
	tcp[13] = s.flags
	binary.BigEndian.PutUint16(tcp[14:], s.window)
	tcp = append(append(tcp, s.options...), s.payload...)
	return ipPacket(s.src.Addr(), s.dst.Addr(), ProtocolTCP, s.ttl, tcp)
}

func udpPacket(src, dst netip.AddrPort, payload []byte) []byte {
	udp := make([]byte, udpHeaderLen, udpHeaderLen+len(payload))
	binary.BigEndian.PutUint16(udp[0:], src.Port())
	binary.BigEndian.PutUint16(udp[2:], dst.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(udpHeaderLen+len(payload)))
	return ipPacket(src.Addr(), dst.Addr(), ProtocolUDP, 64, append(udp, payload...))
}

func ipPacket(src, dst netip.Addr, protocol, ttl uint8, content []byte) []byte {
	p := make([]byte, ipv4HeaderLen, ipv4HeaderLen+len(content))
	p[0] = 0x45
	binary.BigEndian.PutUint16(p[2:], uint16(ipv4HeaderLen+len(content)))
	p[6] = 0x40
	p[8], p[9] = ttl, protocol
	copy(p[12:], src.AsSlice())
	copy(p[16:], dst.AsSlice())
	p = append(p, content...)
	fixChecksums(p)
	return p
}

// fixChecksums makes the checksums of a packet right, as far as it has fields for them.
func fixChecksums(p []byte) {
	putChecksum(p[10:], p[:int(p[0]&15)*4], 0)
	seg := p[int(p[0]&15)*4:]
	switch {
	case p[9] == ProtocolTCP && len(seg) >= tcpHeaderLen:
		putChecksum(seg[16:], seg, pseudoChecksum(p, ProtocolTCP, len(seg)))
	case p[9] == ProtocolUDP && len(seg) >= udpHeaderLen:
		putChecksum(seg[6:], seg, pseudoChecksum(p, ProtocolUDP, len(seg)))
	}
}

// recorder is a stack.NetworkDispatcher that keeps what is delivered.
type recorder struct {
	mu      sync.Mutex
	packets [][]byte
}

func (r *recorder) DeliverNetworkPacket(_ tcpip.NetworkProtocolNumber, pkt *stack.PacketBuffer) {
	view := pkt.ToView()
	defer view.Release()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.packets = append(r.packets, bytes.Clone(view.AsSlice()))
}

func (*recorder) DeliverLinkPacket(tcpip.NetworkProtocolNumber, *stack.PacketBuffer) {}

func (r *recorder) take() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.packets
	r.packets = nil
	return taken
}

// discard is a stack.NetworkDispatcher for benchmarks.
type discard struct{}

func (discard) DeliverNetworkPacket(tcpip.NetworkProtocolNumber, *stack.PacketBuffer) {}
func (discard) DeliverLinkPacket(tcpip.NetworkProtocolNumber, *stack.PacketBuffer)    {}

func acceptAll(Packet) Verdict { return Accept() }

// newTestLink returns a link with one port, attached to d, with a default route to the port.
func newTestLink(t testing.TB, cfg Config, d stack.NetworkDispatcher) (*Link, *Port) {
	t.Helper()
	l, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	l.Endpoint().Attach(d)
	p := l.NewPort("wg0")
	l.SetRoutes([]Route{{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Ports: []*Port{p}}})
	return l, p
}

const testOffset = 16

// write hands packets to the port as WireGuard does: behind an offset, in one batch.
func write(t testing.TB, p *Port, packets ...[]byte) {
	t.Helper()
	bufs := make([][]byte, len(packets))
	for i, packet := range packets {
		bufs[i] = append(make([]byte, testOffset), packet...)
	}
	n, err := p.Device().Write(bufs, testOffset)
	if err != nil || n != len(packets) {
		t.Fatalf("Write = %d, %v", n, err)
	}
}

// reader reads from a port as WireGuard does.
type reader struct {
	bufs  [][]byte
	sizes []int
}

func newReader(batch, size int) *reader {
	r := &reader{bufs: make([][]byte, batch), sizes: make([]int, batch)}
	for i := range r.bufs {
		r.bufs[i] = make([]byte, size)
	}
	return r
}

func (r *reader) read(t testing.TB, p *Port) [][]byte {
	t.Helper()
	n, err := p.Device().Read(r.bufs, r.sizes, testOffset)
	if err != nil {
		t.Fatal(err)
	}
	packets := make([][]byte, n)
	for i := range packets {
		packets[i] = bytes.Clone(r.bufs[i][testOffset:][:r.sizes[i]])
	}
	return packets
}

// outbound makes a packet as the stack sends it: headers pushed, payload behind, the TCP checksum partial if mss is set.
func outbound(packet []byte, mss int) *stack.PacketBuffer {
	ipLen := int(packet[0]&15) * 4
	hdrLen := ipLen
	if packet[9] == ProtocolTCP {
		hdrLen += int(packet[ipLen+12]>>4) * 4
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: hdrLen,
		Payload:            buffer.MakeWithData(packet[hdrLen:]),
	})
	if packet[9] == ProtocolTCP {
		copy(pkt.TransportHeader().Push(hdrLen-ipLen), packet[ipLen:])
		pkt.TransportProtocolNumber = header.TCPProtocolNumber
	}
	copy(pkt.NetworkHeader().Push(ipLen), packet)
	pkt.NetworkProtocolNumber = header.IPv4ProtocolNumber
	if mss > 0 {
		pkt.GSOOptions = stack.GSO{Type: stack.GSOTCPv4, NeedsCsum: true, MSS: uint16(mss)}
	}
	return pkt
}

// sendOut sends packets through the link's endpoint and gives up its references, as the stack does.
func sendOut(t testing.TB, l *Link, pkts ...*stack.PacketBuffer) {
	t.Helper()
	var list stack.PacketBufferList
	for _, pkt := range pkts {
		list.PushBack(pkt)
	}
	defer list.Reset()
	if n, err := l.Endpoint().WritePackets(list); n != len(pkts) || err != nil {
		t.Fatalf("WritePackets = %d, %v", n, err)
	}
}

// checkBalance checks the invariant that every packet that came in was delivered or is counted as dropped.
func checkBalance(t testing.TB, c Counters) {
	t.Helper()
	sum := c.DeliveredPackets
	for _, n := range c.InDrops {
		sum += n
	}
	if c.InPackets != sum {
		t.Fatalf("%d packets in, %d delivered or dropped", c.InPackets, sum)
	}
}

// drops returns the reasons that were counted inbound, each as often as it was.
func drops(counts [NumReasons]uint64) (names []string) {
	for i, n := range counts {
		names = append(names, slices.Repeat([]string{Reason(i).String()}, int(n))...)
	}
	return names
}

func fill(n int, b byte) []byte { return bytes.Repeat([]byte{b}, n) }
