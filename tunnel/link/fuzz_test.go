package link

import (
	"bytes"
	"testing"
)

// oddPorts denies what comes from or goes to an odd port.
type oddPorts struct{}

func (oddPorts) Inbound(p Packet) Verdict  { return evenOnly(p.Source.Port()) }
func (oddPorts) Outbound(p Packet) Verdict { return evenOnly(p.Destination.Port()) }

func evenOnly(port uint16) Verdict {
	if port%2 == 1 {
		return Drop(ReasonNetworkACL)
	}
	return Accept()
}

// FuzzInbound writes arbitrary batches: packets of fuzzed bytes, with and without checksums that fit, so that both the parsers
// and what lies behind them are reached. Nothing may panic, leak or get lost from the counts, and what is delivered must be
// valid.
func FuzzInbound(f *testing.F) {
	add := func(packets ...[]byte) {
		var batch []byte
		for _, p := range packets {
			batch = append(append(batch, byte(len(p)>>8), byte(len(p))), p...)
		}
		f.Add(batch, true)
		f.Add(batch, false)
	}
	data := func(seq uint32, n int) []byte {
		return segment{seq: seq, flags: flagACK, payload: fill(n, 1)}.bytes()
	}
	add(segment{flags: flagSYN}.bytes())
	add(data(0, 100), data(100, 100), data(200, 50), segment{seq: 250, flags: flagACK | flagFIN}.bytes())
	add(from(7, segment{flags: flagACK}), from(8, segment{flags: flagACK}), from(7, segment{flags: flagSYN}))
	add(udpPacket(client, service, []byte("x")), nil, []byte{0x45})
	f.Fuzz(func(t *testing.T, batch []byte, fix bool) {
		var packets [][]byte
		for len(batch) >= 2 && len(packets) < 2*batchSize {
			n := min(int(batch[0])<<8|int(batch[1]), len(batch)-2)
			p := bytes.Clone(batch[2 : 2+n])
			batch = batch[2+n:]
			if fix && n >= ipv4HeaderLen && int(p[0]&15)*4 <= n && p[0]&15 >= 5 {
				p[2], p[3] = byte(n>>8), byte(n)
				fixChecksums(p)
			}
			packets = append(packets, p)
		}
		verdicts := []Verdict{Accept(), Drop(ReasonNetworkACL), Reset(ReasonNoListener)}
		asked := 0
		var got recorder
		l, p := newTestLink(t, Config{Admit: func(Packet) Verdict {
			asked++
			return verdicts[asked%len(verdicts)]
		}}, &got)
		l.SetFilter(oddPorts{})
		write(t, p, packets...)
		c := l.Counters()
		checkBalance(t, c)
		if c.InPackets != uint64(len(packets)) {
			t.Fatalf("%d of %d packets counted", c.InPackets, len(packets))
		}
		for _, d := range got.take() {
			q, why, ok := parseIP(d)
			if !ok || len(q.data) != len(d) {
				t.Fatalf("delivered a bad packet (%v): %x", why, d)
			}
		}
		if c.Resets > 0 {
			for _, reset := range newReader(2*batchSize, 2000).read(t, p) {
				q, why, ok := parseIP(reset)
				if ok && q.protocol == ProtocolICMP {
					continue // to an oversized packet
				}
				if ok {
					why, ok = q.parseTransport()
				}
				if !ok {
					t.Fatalf("sent a bad reset (%v): %x", why, reset)
				}
			}
		}
	})
}

// FuzzCut checks that what is cut and then coalesced is what was sent.
func FuzzCut(f *testing.F) {
	f.Add([]byte("hello"), uint16(2), false, uint8(0))
	f.Add(fill(5000, 7), uint16(1380), true, uint8(3))
	f.Fuzz(func(t *testing.T, payload []byte, mss uint16, push bool, options uint8) {
		if len(payload) == 0 || mss == 0 || len(payload) > 65535-100 || len(payload)/int(mss) > 1000 {
			return
		}
		flags := uint8(flagACK)
		if push {
			flags |= flagPSH
		}
		checkRoundTrip(t, payload, int(mss), flags, fill(int(options%11)*4, 1))
	})
}
