package link

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// shape is what a coalesced packet is recognised by.
type shape struct {
	Seq     byte
	Flags   uint8
	Payload int
}

func shapes(packets [][]byte) (s []shape) {
	for _, p := range packets {
		hdrLen := ipv4HeaderLen + int(p[32]>>4)*4
		s = append(s, shape{p[27], p[33], len(p) - hdrLen})
	}
	return s
}

func TestCoalesce(t *testing.T) {
	seg := func(seq uint32, n int, change ...func(*segment)) segment {
		s := segment{seq: seq, ack: 9, flags: flagACK, window: 500, payload: fill(n, byte(seq))}
		for _, f := range change {
			f(&s)
		}
		return s
	}
	flags := func(f uint8) func(*segment) { return func(s *segment) { s.flags = f } }
	other := func(s *segment) { s.src = service; s.dst = client }
	const a, pa = uint8(flagACK), uint8(flagACK | flagPSH)
	tests := []struct {
		name string
		in   []segment
		want []shape
	}{
		{"three in a row", []segment{seg(0, 10), seg(10, 10), seg(20, 10)}, []shape{{0, a, 30}}},
		{"a short one ends the run", []segment{seg(0, 10), seg(10, 5), seg(15, 5)}, []shape{{0, a, 15}, {15, a, 5}}},
		{"a longer one begins anew", []segment{seg(0, 10), seg(10, 11)}, []shape{{0, a, 10}, {10, a, 11}}},
		{"push ends the run and is kept", []segment{seg(0, 10), seg(10, 10, flags(pa)), seg(20, 10)}, []shape{{0, pa, 20}, {20, a, 10}}},
		{"a gap", []segment{seg(0, 10), seg(20, 10)}, []shape{{0, a, 10}, {20, a, 10}}},
		{"a duplicate", []segment{seg(0, 10), seg(0, 10)}, []shape{{0, a, 10}, {0, a, 10}}},
		{"other acknowledgment", []segment{seg(0, 10), seg(10, 10, func(s *segment) { s.ack++ })}, []shape{{0, a, 10}, {10, a, 10}}},
		{"other window", []segment{seg(0, 10), seg(10, 10, func(s *segment) { s.window++ })}, []shape{{0, a, 10}, {10, a, 10}}},
		{"other TTL", []segment{seg(0, 10), seg(10, 10, func(s *segment) { s.ttl = 63 })}, []shape{{0, a, 10}, {10, a, 10}}},
		{"other options", []segment{seg(0, 10), seg(10, 10, func(s *segment) { s.options = []byte{1, 1, 1, 1} })}, []shape{{0, a, 10}, {10, a, 10}}},
		{"fin flushes first", []segment{seg(0, 10), seg(10, 10, flags(a|flagFIN)), seg(20, 10)}, []shape{{0, a, 10}, {10, a | flagFIN, 10}, {20, a, 10}}},
		{"pure acknowledgments stay apart", []segment{seg(0, 0), seg(0, 0), seg(0, 0)}, []shape{{0, a, 0}, {0, a, 0}, {0, a, 0}}},
		{"an acknowledgment keeps its place", []segment{seg(0, 10), seg(10, 0), seg(10, 10)}, []shape{{0, a, 10}, {10, a, 0}, {10, a, 10}}},
		{"flows interleaved", []segment{seg(0, 10), seg(100, 10, other), seg(10, 10), seg(110, 10, other)}, []shape{{0, a, 20}, {100, a, 20}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got recorder
			l, p := newTestLink(t, Config{}, &got)
			packets := make([][]byte, len(tt.in))
			for i, s := range tt.in {
				packets[i] = s.bytes()
			}
			write(t, p, packets...)
			delivered := got.take()
			if diff := cmp.Diff(tt.want, shapes(delivered)); diff != "" {
				t.Errorf("delivered (-want +got):\n%s", diff)
			}
			for _, d := range delivered {
				if _, why, ok := parseIP(d); !ok {
					t.Errorf("delivered packet is bad: %v", why)
				}
			}
			if c := l.Counters(); c.DeliveredPackets != uint64(len(packets)) {
				t.Errorf("%d packets counted as delivered, want %d", c.DeliveredPackets, len(packets))
			}
			checkBalance(t, l.Counters())
		})
	}
}

// A run must not exceed the largest IPv4 packet.
func TestCoalesceLimit(t *testing.T) {
	var got recorder
	_, p := newTestLink(t, Config{}, &got)
	var packets [][]byte
	var want []byte
	for i := range 100 {
		payload := fill(1380, byte(i))
		packets = append(packets, segment{seq: uint32(i * 1380), flags: flagACK, payload: payload}.bytes())
		want = append(want, payload...)
	}
	write(t, p, packets...)
	delivered := got.take()
	if len(delivered) != 3 { // 47 segments of 1380 bytes fit
		t.Errorf("%d packets delivered, want 3", len(delivered))
	}
	var stream []byte
	for _, d := range delivered {
		stream = append(stream, d[40:]...)
	}
	if !bytes.Equal(stream, want) {
		t.Error("the stream has changed")
	}
}

// More flows than runs: all arrives, each flow in order.
func TestCoalesceManyFlows(t *testing.T) {
	const flows, rounds = 3*maxRuns + 1, 4
	var got recorder
	_, p := newTestLink(t, Config{}, &got)
	var packets [][]byte
	for round := range rounds {
		for f := range flows {
			s := segment{seq: uint32(round * 10), flags: flagACK, payload: fill(10, byte(f))}
			s.src = netipPort(client, uint16(f+1))
			packets = append(packets, s.bytes())
		}
	}
	write(t, p, packets...)
	next := make(map[byte]int)
	for _, d := range got.take() {
		f := d[40]
		if int(d[27]) != next[f] {
			t.Fatalf("flow %d: sequence %d after %d", f, d[27], next[f])
		}
		next[f] += len(d) - 40
	}
	for f := range flows {
		if next[byte(f)] != rounds*10 {
			t.Errorf("flow %d: %d bytes", f, next[byte(f)])
		}
	}
}
