package link

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func netipPort(a netip.AddrPort, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr(), port)
}

// partial makes a packet's TCP checksum what the stack leaves in it for us to complete. The cutter does not read it.
func partial(p []byte) []byte {
	binary.BigEndian.PutUint16(p[36:], 0xdead)
	return p
}

func TestCut(t *testing.T) {
	const mss = 1000
	payload := fill(2500, 0)
	for i := range payload {
		payload[i] = byte(i / 7)
	}
	big := segment{seq: 5, ack: 6, window: 7, flags: flagACK | flagPSH | flagFIN | flagCWR, payload: payload}
	l, p := newTestLink(t, Config{}, new(recorder))
	sendOut(t, l, outbound(partial(big.bytes()), mss))
	got := newReader(8, 2000).read(t, p)

	part := func(i int, from, to int, flags uint8) []byte {
		s := big
		s.seq, s.flags, s.payload = big.seq+uint32(from), flags, payload[from:to]
		b := s.bytes()
		binary.BigEndian.PutUint16(b[4:], uint16(i))
		fixChecksums(b)
		return b
	}
	want := [][]byte{
		part(0, 0, 1000, flagACK|flagCWR),
		part(1, 1000, 2000, flagACK),
		part(2, 2000, 2500, flagACK|flagPSH|flagFIN),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("segments (-want +got):\n%s", diff)
	}
	if c := l.Counters(); c.OutPackets != 3 || c.OutBytes != 2500+3*40 {
		t.Errorf("counters: %+v", c)
	}
}

// A packet whose checksums the stack has completed, such as a SYN+ACK, must pass unchanged.
func TestCutLeavesCompletePackets(t *testing.T) {
	packets := [][]byte{
		segment{flags: flagSYN | flagACK, options: []byte{2, 4, 5, 0x64}}.bytes(),
		segment{flags: flagACK, payload: fill(1000, 3)}.bytes(),
		udpPacket(service, client, []byte("answer")),
	}
	l, p := newTestLink(t, Config{}, new(recorder))
	for _, packet := range packets {
		sendOut(t, l, outbound(packet, 0))
	}
	if diff := cmp.Diff(packets, newReader(8, 2000).read(t, p)); diff != "" {
		t.Errorf("packets (-want +got):\n%s", diff)
	}
}

// A packet that does not fit into one batch goes on in the next, before what was queued after it.
func TestCutAcrossReads(t *testing.T) {
	l, p := newTestLink(t, Config{}, new(recorder))
	sendOut(t, l, outbound(partial(segment{flags: flagACK, payload: fill(1000, 1)}.bytes()), 100))
	sendOut(t, l, outbound(segment{flags: flagACK, payload: []byte{2}}.bytes(), 0))
	r := newReader(3, 2000)
	var sizes []int
	var last byte
	for range 4 {
		for _, packet := range r.read(t, p) {
			sizes = append(sizes, len(packet)-40)
			last = packet[40]
		}
	}
	if diff := cmp.Diff([]int{100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 1}, sizes); diff != "" || last != 2 {
		t.Errorf("payloads (-want +got):\n%s", diff)
	}
}

// Closing a port in the middle of a packet must release it; the leak check of TestMain would tell.
func TestCloseWhileCutting(t *testing.T) {
	l, p := newTestLink(t, Config{}, new(recorder))
	for range 3 {
		sendOut(t, l, outbound(partial(segment{flags: flagACK, payload: fill(1000, 1)}.bytes()), 100))
	}
	newReader(3, 2000).read(t, p)
	sendOut(t, l, outbound(partial(segment{flags: flagACK, payload: fill(1000, 1)}.bytes()), 100))
	p.Device().Close()
	sendOut(t, l, outbound(partial(segment{flags: flagACK, payload: fill(1000, 1)}.bytes()), 100))
	if got := l.Counters().OutDrops[ReasonDetached]; got != 10 {
		t.Errorf("%d segments dropped as detached, want 10", got)
	}
}

func TestOversized(t *testing.T) {
	l, p := newTestLink(t, Config{}, new(recorder))
	sendOut(t, l, outbound(partial(segment{flags: flagACK, payload: fill(5000, 1)}.bytes()), 2000))
	sendOut(t, l, outbound(segment{flags: flagACK, payload: []byte("fits")}.bytes(), 0))
	got := newReader(8, 1000).read(t, p)
	if len(got) != 1 || !bytes.HasSuffix(got[0], []byte("fits")) {
		t.Errorf("read %d packets", len(got))
	}
	if diff := cmp.Diff([]string{"oversized", "oversized", "oversized"}, drops(l.Counters().OutDrops)); diff != "" {
		t.Errorf("drops (-want +got):\n%s", diff)
	}
}

// What is cut and then coalesced must be what was sent.
func TestRoundTrip(t *testing.T) {
	for _, size := range []int{1, 999, 1000, 1001, 20_000, 65535 - 40} {
		checkRoundTrip(t, fill(size, 'x'), 1000, flagACK|flagPSH, nil)
	}
}

// checkRoundTrip sends one large segment out of a link, and what is read of it back in.
func checkRoundTrip(t *testing.T, payload []byte, mss int, flags uint8, options []byte) {
	t.Helper()
	var got recorder
	l, p := newTestLink(t, Config{}, &got)
	want := segment{seq: 1 << 31, ack: 2, window: 3, flags: flags, options: options, payload: payload}.bytes()
	sendOut(t, l, outbound(partial(bytes.Clone(want)), mss))
	segments := (len(payload) + mss - 1) / mss
	r := newReader(segments+1, mss+200)
	packets := r.read(t, p)
	if len(packets) != segments {
		t.Fatalf("%d bytes at %d became %d segments", len(payload), mss, len(packets))
	}
	write(t, p, packets...)
	back := got.take()
	if len(back) != 1 {
		t.Fatalf("%d segments became %d packets", segments, len(back))
	}
	// The checksum of a coalesced packet is not completed again, since nobody reads it.
	copy(back[0][36:38], want[36:38])
	if !bytes.Equal(back[0], want) {
		t.Fatalf("%d bytes at %d came back changed:\n%x\n%x", len(payload), mss, want[:60], back[0][:60])
	}
}
