package link

import (
	"net/netip"
	"testing"

	"gvisor.dev/gvisor/pkg/refs"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// BenchmarkWrite measures a batch of 128 full segments of one and of several flows on the way in: checks, checksums,
// coalescing, and the copy into the stack's buffers.
func BenchmarkWrite(b *testing.B) {
	for name, flows := range map[string]int{"flows=1": 1, "flows=8": 8, "flows=64": 64} {
		b.Run(name, func(b *testing.B) { benchmarkWrite(b, flows, nil) })
	}
}

func benchmarkWrite(b *testing.B, flows int, f Filter) {
	b.Helper()
	defer withoutLeakChecks()()
	l, p := newTestLink(b, Config{}, discard{})
	l.SetFilter(f)
	bufs := make([][]byte, batchSize)
	var bytes int64
	for i := range bufs {
		s := segment{flags: flagACK, payload: fill(1368, 1), options: fill(12, 1)}
		s.src = netipPort(client, uint16(1+i%flows))
		s.seq = uint32(i / flows * 1368)
		packet := s.bytes()
		bytes += int64(len(packet))
		bufs[i] = append(make([]byte, testOffset), packet...)
	}
	dev := p.Device()
	b.SetBytes(bytes)
	b.ReportAllocs()
	for b.Loop() {
		dev.Write(bufs, testOffset)
	}
}

// BenchmarkWriteFiltered is BenchmarkWrite with a filter that costs nothing of its own.
func BenchmarkWriteFiltered(b *testing.B) {
	for name, flows := range map[string]int{"flows=1": 1, "flows=8": 8, "flows=64": 64} {
		b.Run(name, func(b *testing.B) { benchmarkWrite(b, flows, acceptEverything{}) })
	}
}

type acceptEverything struct{}

func (acceptEverything) Inbound(Packet) Verdict  { return Accept() }
func (acceptEverything) Outbound(Packet) Verdict { return Accept() }

// BenchmarkWriteSYN measures admission: a batch of SYNs that are dropped by the verdict.
func BenchmarkWriteSYN(b *testing.B) {
	defer withoutLeakChecks()()
	_, p := newTestLink(b, Config{Admit: func(Packet) Verdict { return Drop(ReasonNoListener) }}, discard{})
	bufs := make([][]byte, batchSize)
	for i := range bufs {
		bufs[i] = append(make([]byte, testOffset), segment{seq: uint32(i), flags: flagSYN}.bytes()...)
	}
	dev := p.Device()
	b.ReportAllocs()
	for b.Loop() {
		dev.Write(bufs, testOffset)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batchSize, "ns/SYN")
}

// BenchmarkRead measures two segments of 64 KB on the way out: queue, cutting and checksums.
func BenchmarkRead(b *testing.B) {
	defer withoutLeakChecks()()
	l, p := newTestLink(b, Config{}, discard{})
	packet := segment{flags: flagACK | flagPSH, payload: fill(64000, 1)}.bytes()
	r := newReader(batchSize, 2000)
	dev := p.Device()
	b.SetBytes(2 * int64(len(packet)))
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		pkts := []*stack.PacketBuffer{outbound(packet, 1368), outbound(packet, 1368)}
		b.StartTimer()
		for _, pkt := range pkts {
			l.send(l.routes.Load(), pkt)
			pkt.DecRef()
		}
		if _, err := dev.Read(r.bufs, r.sizes, testOffset); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRoute measures the choice of a port among 1000 hosts and two sites.
func BenchmarkRoute(b *testing.B) {
	l, p := newTestLink(b, Config{}, discard{})
	routes := []Route{{netip.MustParsePrefix("192.168.0.0/16"), []*Port{p}}, {netip.MustParsePrefix("172.16.0.0/12"), []*Port{p}}}
	for i := range 1000 {
		host := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		routes = append(routes, Route{netip.PrefixFrom(host, 32), []*Port{p}})
	}
	l.SetRoutes(routes)
	table := l.routes.Load()
	b.ReportAllocs()
	for b.Loop() {
		if table.lookup(192<<24|168<<16|1).active() != p {
			b.Fatal("lost")
		}
	}
}

// withoutLeakChecks keeps the recording of references out of the measurement.
func withoutLeakChecks() (restore func()) {
	mode := refs.GetLeakMode()
	refs.SetLeakMode(refs.NoLeakChecking)
	return func() { refs.SetLeakMode(mode) }
}
