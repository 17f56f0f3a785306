package link

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// portFilter denies what comes from or goes to a port, and notes what it was asked.
type portFilter struct {
	denied  uint16
	in, out []Packet
}

func (f *portFilter) Inbound(p Packet) Verdict {
	f.in = append(f.in, p)
	return f.verdict(p.Source.Port())
}

func (f *portFilter) Outbound(p Packet) Verdict {
	f.out = append(f.out, p)
	return f.verdict(p.Destination.Port())
}

func (f *portFilter) verdict(port uint16) Verdict {
	if port == f.denied {
		return Reset(ReasonNetworkACL)
	}
	return Accept()
}

func from(port uint16, s segment) []byte {
	s.src = netip.AddrPortFrom(client.Addr(), port)
	return s.bytes()
}

func TestFilterInbound(t *testing.T) {
	var got recorder
	l, p := newTestLink(t, Config{Admit: acceptAll}, &got)
	f := &portFilter{denied: 7}
	batch := [][]byte{
		from(7, segment{flags: flagSYN}), // admitted: not the filter's
		from(7, segment{flags: flagACK}),
		from(7, segment{flags: flagACK, seq: 1, payload: fill(10, 1)}), // judged with the one before
		from(8, segment{flags: flagACK}),
		from(7, segment{flags: flagACK | flagFIN}),
		from(7, segment{flags: flagRST}),
		udpPacket(netip.AddrPortFrom(client.Addr(), 7), service, nil), // admitted
	}
	write(t, p, batch...)
	if n := len(got.take()); n != len(batch) {
		t.Fatalf("%d of %d packets delivered without a filter", n, len(batch))
	}
	l.SetFilter(f)
	write(t, p, batch...)
	if n := len(got.take()); n != 3 {
		t.Errorf("%d packets delivered, want 3", n)
	}
	c := l.Counters()
	if n := c.InDrops[ReasonNetworkACL]; n != 4 || c.Resets != 0 {
		t.Errorf("%d dropped by the filter, %d resets, want 4 and none", n, c.Resets)
	}
	checkBalance(t, c)
	packet := func(port uint16) Packet {
		return Packet{Protocol: ProtocolTCP, Source: netip.AddrPortFrom(client.Addr(), port), Destination: service, Port: p}
	}
	if diff := cmp.Diff([]Packet{packet(7), packet(8), packet(7)}, f.in, comparePackets); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	f.denied = 0
	write(t, p, batch...)
	if n := len(got.take()); n != len(batch) {
		t.Errorf("the verdict of an earlier batch still holds: %d delivered", n)
	}
	l.SetFilter(nil)
	f.in = nil
	write(t, p, batch...)
	if len(f.in) != 0 || len(got.take()) != len(batch) {
		t.Error("a filter that is gone is asked")
	}
}

var comparePackets = cmp.Comparer(func(a, b Packet) bool { return a == b })

func TestFilterOutbound(t *testing.T) {
	l, p := newTestLink(t, Config{}, new(recorder))
	f := &portFilter{denied: 7}
	l.SetFilter(f)
	to := func(port uint16, payload int) []byte {
		return segment{src: service, dst: netip.AddrPortFrom(client.Addr(), port), flags: flagACK, payload: fill(payload, 1)}.bytes()
	}
	short := outbound(ipPacket(service.Addr(), client.Addr(), ProtocolUDP, 64, fill(8, 0)), 0) // its ports are not in a header
	sendOut(t, l, outbound(to(8, 250), 100), outbound(to(7, 250), 100), short)
	if n := len(newReader(8, 2000).read(t, p)); n != 3 {
		t.Errorf("%d segments sent, want 3", n)
	}
	c := l.Counters()
	if c.OutDrops[ReasonNetworkACL] != 3 || c.OutDrops[ReasonTransportHeader] != 1 {
		t.Errorf("%v dropped by the filter, want 3, and 1 without ports", c.OutDrops)
	}
	packet := func(port uint16) Packet {
		return Packet{Protocol: ProtocolTCP, Source: service, Destination: netip.AddrPortFrom(client.Addr(), port), Port: p}
	}
	if diff := cmp.Diff([]Packet{packet(8), packet(7)}, f.out, comparePackets); diff != "" {
		t.Errorf("a super-packet is judged as one (-want +got):\n%s", diff)
	}
}

func TestFilterJudgesResets(t *testing.T) {
	l, p := newTestLink(t, Config{Admit: func(Packet) Verdict { return Reset(ReasonNoListener) }}, new(recorder))
	f := &portFilter{denied: 7}
	l.SetFilter(f)
	write(t, p, from(7, segment{flags: flagSYN}), from(8, segment{flags: flagSYN}))
	c := l.Counters()
	if c.Resets != 1 || c.InDrops[ReasonNoListener] != 2 || c.OutDrops[ReasonNetworkACL] != 1 {
		t.Errorf("%d resets, %v in, %v out", c.Resets, c.InDrops, c.OutDrops)
	}
	if sent := newReader(8, 2000).read(t, p); len(sent) != 1 || binary.BigEndian.Uint16(sent[0][22:]) != 8 {
		t.Errorf("sent %x", sent)
	}
}

// TestTooBig: a packet of more than 8,500 bytes that must not be fragmented is answered as RFC 1191 section 4 says.
func TestTooBig(t *testing.T) {
	l, p := newTestLink(t, Config{}, new(recorder))
	packet := segment{flags: flagACK, payload: fill(MaxMTU+1-40, 1)}.bytes()
	write(t, p, packet)
	sent := newReader(8, 2000).read(t, p)
	if len(sent) != 1 {
		t.Fatalf("%d answers", len(sent))
	}
	ip := header.IPv4(sent[0])
	icmp := header.ICMPv4(ip.Payload())
	if !ip.IsValid(len(sent[0])) || !ip.IsChecksumValid() || ip.Protocol() != ProtocolICMP || checksum.Checksum(icmp, 0) != 0xffff {
		t.Errorf("answer is no valid ICMP: %x", sent[0])
	}
	if ip.SourceAddress().String() != service.Addr().String() || ip.DestinationAddress().String() != client.Addr().String() {
		t.Errorf("from %v to %v", ip.SourceAddress(), ip.DestinationAddress())
	}
	if icmp.Type() != header.ICMPv4DstUnreachable || icmp.Code() != header.ICMPv4FragmentationNeeded || icmp.MTU() != MaxMTU {
		t.Errorf("type %v, code %v, mtu %d", icmp.Type(), icmp.Code(), icmp.MTU())
	}
	if diff := cmp.Diff(packet[:28], icmp.Payload()); diff != "" {
		t.Errorf("quoted (-want +got):\n%s", diff)
	}
	if n := l.Counters().InDrops[ReasonOversized]; n != 1 {
		t.Errorf("%d counted", n)
	}
}

func TestTooBigIsAnsweredSparingly(t *testing.T) {
	big := segment{flags: flagACK, payload: fill(MaxMTU+1-40, 1)}.bytes()
	fragmentable := segment{flags: flagACK, payload: fill(MaxMTU+1-40, 1)}.bytes()
	fragmentable[6] = 0
	fixChecksums(fragmentable)
	icmp := ipPacket(client.Addr(), service.Addr(), ProtocolICMP, 64, fill(MaxMTU, 0))
	synctest.Test(t, func(t *testing.T) { // the clock stands still
		l, p := newTestLink(t, Config{}, new(recorder))
		write(t, p, fragmentable, icmp)
		write(t, p, big)
		if n := len(newReader(8, 2000).read(t, p)); n != 1 {
			t.Fatalf("%d answers, want one, to the packet that must not be fragmented", n)
		}
		for range 2 * tooBigPerSecond {
			write(t, p, big)
		}
		if n := len(newReader(4*tooBigPerSecond, 2000).read(t, p)); n != tooBigPerSecond-1 {
			t.Errorf("%d answers in one moment, want %d", n, tooBigPerSecond-1)
		}
		l.SetFilter(&portFilter{denied: 0}) // ICMP has no port
		time.Sleep(time.Second)
		write(t, p, big)
		if n := l.Counters().OutDrops[ReasonNetworkACL]; n != 1 {
			t.Errorf("the filter stopped %d answers, want 1", n)
		}
	})
}

func TestFilteringAllocatesNothing(t *testing.T) {
	defer withoutLeakChecks()()
	l, p := newTestLink(t, Config{}, discard{})
	l.SetFilter(denyAll{})
	in := [][]byte{append(make([]byte, testOffset), from(7, segment{flags: flagACK})...)}
	out := outbound(segment{flags: flagACK, payload: fill(250, 1)}.bytes(), 100)
	defer out.DecRef()
	dev, routes := p.Device(), l.routes.Load()
	if n := testing.AllocsPerRun(100, func() {
		dev.Write(in, testOffset)
		l.send(routes, out)
	}); n != 0 && !raceEnabled { // the race detector makes pools forget
		t.Errorf("%v allocations", n)
	}
}

type denyAll struct{}

func (denyAll) Inbound(Packet) Verdict  { return Drop(ReasonNetworkACL) }
func (denyAll) Outbound(Packet) Verdict { return Drop(ReasonNetworkACL) }
