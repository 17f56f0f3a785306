package link

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReceiveDrops(t *testing.T) {
	syn := segment{seq: 7, flags: flagSYN}.bytes()
	data := segment{seq: 7, flags: flagACK, payload: []byte("hello")}.bytes()
	udp := udpPacket(client, service, []byte("query"))
	change := func(p []byte, f func([]byte)) []byte {
		p = slices.Clone(p)
		f(p)
		return p
	}
	refix := func(p []byte, f func([]byte)) []byte {
		p = change(p, f)
		fixChecksums(p)
		return p
	}
	to := func(src, dst string) []byte {
		return segment{flags: flagSYN, src: netip.AddrPortFrom(netip.MustParseAddr(src), 1), dst: netip.AddrPortFrom(netip.MustParseAddr(dst), 2)}.bytes()
	}
	options := func() []byte {
		p := append(slices.Clone(syn[:20]), append([]byte{1, 1, 1, 0}, syn[20:]...)...)
		p[0] = 0x46
		binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
		fixChecksums(p)
		return p
	}()
	tests := []struct {
		name   string
		packet []byte
		want   Reason
	}{
		{"bad: empty", nil, ReasonNotIPv4},
		{"bad: IPv6", change(syn, func(p []byte) { p[0] = 0x65 }), ReasonNotIPv4},
		{"bad: truncated header", syn[:19], ReasonIPHeader},
		{"bad: header length", change(syn, func(p []byte) { p[0] = 0x44 }), ReasonIPHeader},
		{"bad: total length beyond the packet", change(syn, func(p []byte) { p[3]++ }), ReasonIPHeader},
		{"bad: total length below the header", change(syn, func(p []byte) { p[3] = 19 }), ReasonIPHeader},
		{"bad: IP checksum", change(syn, func(p []byte) { p[10]++ }), ReasonIPChecksum},
		{"bad: from loopback", to("127.0.0.1", "10.0.0.1"), ReasonMartian},
		{"bad: to loopback", to("10.0.0.1", "127.1.2.3"), ReasonMartian},
		{"bad: from unspecified", to("0.0.0.0", "10.0.0.1"), ReasonMartian},
		{"bad: to unspecified", to("10.0.0.1", "0.0.0.0"), ReasonMartian},
		{"bad: from multicast", to("224.0.0.1", "10.0.0.1"), ReasonMartian},
		{"bad: to multicast", to("10.0.0.1", "239.255.255.255"), ReasonMartian},
		{"bad: from broadcast", to("255.255.255.255", "10.0.0.1"), ReasonMartian},
		{"bad: to broadcast", to("10.0.0.1", "255.255.255.255"), ReasonMartian},
		{"bad: to link-local", to("10.0.0.1", "169.254.0.1"), ReasonMartian},
		{"bad: to metadata", to("10.0.0.1", "169.254.169.254"), ReasonMartian},
		{"bad: from class E", to("240.0.0.1", "10.0.0.1"), ReasonMartian},
		{"bad: to class E", to("10.0.0.1", "250.0.0.1"), ReasonMartian},
		{"bad: first fragment", refix(syn, func(p []byte) { p[6] = 0x20 }), ReasonFragment},
		{"bad: last fragment", refix(syn, func(p []byte) { p[6], p[7] = 0, 1 }), ReasonFragment},
		{"bad: fragment with options", refix(options, func(p []byte) { p[6] = 0x20 }), ReasonFragment},
		{"bad: IP options", options, ReasonIPOptions},
		{"bad: 8,501 bytes", segment{flags: flagACK, payload: fill(MaxMTU+1-40, 1)}.bytes(), ReasonOversized},
		{"bad: ICMP", ipPacket(client.Addr(), service.Addr(), 1, 64, []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0}), ReasonProtocol},
		{"bad: SCTP", ipPacket(client.Addr(), service.Addr(), 132, 64, fill(20, 0)), ReasonProtocol},
		{"bad: IPv4 in IPv4", ipPacket(client.Addr(), service.Addr(), 4, 64, syn), ReasonProtocol},
		{"bad: short TCP", ipPacket(client.Addr(), service.Addr(), ProtocolTCP, 64, fill(19, 0)), ReasonTransportHeader},
		{"bad: TCP offset below header", refix(syn, func(p []byte) { p[32] = 0x40 }), ReasonTransportHeader},
		{"bad: TCP offset beyond packet", refix(syn, func(p []byte) { p[32] = 0x60 }), ReasonTransportHeader},
		{"bad: SYN+FIN", segment{flags: flagSYN | flagFIN}.bytes(), ReasonTransportHeader},
		{"bad: SYN+RST", segment{flags: flagSYN | flagRST}.bytes(), ReasonTransportHeader},
		{"bad: TCP checksum", change(data, func(p []byte) { p[44]++ }), ReasonTransportChecksum},
		{"bad: short UDP", ipPacket(client.Addr(), service.Addr(), ProtocolUDP, 64, fill(7, 0)), ReasonTransportHeader},
		{"bad: UDP length beyond packet", refix(udp, func(p []byte) { p[25]++ }), ReasonTransportHeader},
		{"bad: UDP length below header", refix(udp, func(p []byte) { p[25] = 7 }), ReasonTransportHeader},
		{"bad: UDP checksum", change(udp, func(p []byte) { p[28]++ }), ReasonTransportChecksum},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got recorder
			l, p := newTestLink(t, Config{Admit: acceptAll}, &got)
			write(t, p, tt.packet)
			if d := got.take(); len(d) != 0 {
				t.Errorf("delivered %d packets", len(d))
			}
			if diff := cmp.Diff([]string{tt.want.String()}, drops(l.Counters().InDrops)); diff != "" {
				t.Errorf("drops (-want +got):\n%s", diff)
			}
			checkBalance(t, l.Counters())
		})
	}
}

func TestReceiveDelivers(t *testing.T) {
	udpWithoutChecksum := udpPacket(client, service, []byte("query"))
	udpWithoutChecksum[26], udpWithoutChecksum[27] = 0, 0
	fromInside := segment{flags: flagSYN, src: netip.MustParseAddrPort("169.254.6.2:1"), dst: service}.bytes()
	padded := append(segment{flags: flagACK, payload: []byte("x")}.bytes(), 0, 0, 0)
	tests := []struct {
		name         string
		packet, want []byte
	}{
		{"OK: SYN", segment{flags: flagSYN}.bytes(), nil},
		{"OK: SYN+ACK", segment{flags: flagSYN | flagACK}.bytes(), nil},
		{"OK: from a tunnel's inside address", fromInside, nil},
		{"OK: data", segment{flags: flagACK, payload: fill(1380, 1)}.bytes(), nil},
		{"OK: 8,500 bytes", segment{flags: flagACK, payload: fill(MaxMTU-40, 1)}.bytes(), nil},
		{"OK: FIN", segment{flags: flagACK | flagFIN}.bytes(), nil},
		{"OK: RST", segment{flags: flagRST}.bytes(), nil},
		{"OK: UDP", udpPacket(client, service, []byte("query")), nil},
		{"OK: UDP without checksum", udpWithoutChecksum, nil},
		{"OK: trailing bytes are cut", padded, padded[:len(padded)-3]},
		{"OK: benchmark network", segment{flags: flagSYN, src: netip.MustParseAddrPort("198.18.0.1:1")}.bytes(), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.want == nil {
				tt.want = tt.packet
			}
			var got recorder
			l, p := newTestLink(t, Config{Admit: acceptAll}, &got)
			write(t, p, tt.packet)
			if diff := cmp.Diff([][]byte{tt.want}, got.take()); diff != "" {
				t.Errorf("delivered (-want +got):\n%s", diff)
			}
			checkBalance(t, l.Counters())
		})
	}
}

func TestAdmit(t *testing.T) {
	syn := segment{seq: 41, flags: flagSYN, payload: []byte("fast")}.bytes()
	udp := udpPacket(client, service, []byte("query"))
	tests := []struct {
		name      string
		packet    []byte
		admit     func(Packet) Verdict
		asked     bool
		delivered bool
		reset     bool
		drops     []string
	}{
		{"OK: accepted SYN", syn, acceptAll, true, true, false, nil},
		{"OK: accepted UDP", udp, acceptAll, true, true, false, nil},
		{"OK: data is not asked about", segment{flags: flagACK, payload: []byte("x")}.bytes(), acceptAll, false, true, false, nil},
		{"OK: SYN+ACK is not asked about", segment{flags: flagSYN | flagACK}.bytes(), acceptAll, false, true, false, nil},
		{"bad: no Admit", syn, nil, false, false, false, []string{"refused"}},
		{"bad: zero verdict", syn, func(Packet) Verdict { return Verdict{} }, true, false, false, []string{"refused"}},
		{"bad: dropped", syn, func(Packet) Verdict { return Drop(ReasonSecurityGroup) }, true, false, false, []string{"security_group"}},
		{"bad: no such reason", syn, func(Packet) Verdict { return Drop(200) }, true, false, false, []string{"refused"}},
		{"bad: reset", syn, func(Packet) Verdict { return Reset(ReasonNoListener) }, true, false, true, []string{"no_listener"}},
		{"bad: UDP is never reset", udp, func(Packet) Verdict { return Reset(ReasonNoListener) }, true, false, false, []string{"no_listener"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var asked []Packet
			cfg := Config{}
			if tt.admit != nil {
				cfg.Admit = func(p Packet) Verdict {
					asked = append(asked, p)
					return tt.admit(p)
				}
			}
			var got recorder
			l, p := newTestLink(t, cfg, &got)
			write(t, p, tt.packet)
			if want := (Packet{Protocol: tt.packet[9], Source: client, Destination: service, Port: p}); tt.asked && (len(asked) != 1 || asked[0] != want) {
				t.Errorf("asked %v, want %v", asked, want)
			}
			if !tt.asked && len(asked) != 0 {
				t.Errorf("asked %v", asked)
			}
			if n := len(got.take()); (n == 1) != tt.delivered {
				t.Errorf("delivered %d", n)
			}
			c := l.Counters()
			if diff := cmp.Diff(tt.drops, drops(c.InDrops)); diff != "" {
				t.Errorf("drops (-want +got):\n%s", diff)
			}
			if (c.Resets == 1) != tt.reset {
				t.Errorf("%d resets", c.Resets)
			}
			checkBalance(t, c)
		})
	}
}

func TestReset(t *testing.T) {
	var got recorder
	l, p := newTestLink(t, Config{Admit: func(Packet) Verdict { return Reset(ReasonNoListener) }}, &got)
	write(t, p, segment{seq: 41, window: 1000, flags: flagSYN, options: []byte{2, 4, 5, 0x64}, payload: []byte("fast")}.bytes())
	want := segment{src: service, dst: client, ack: 46, flags: flagRST | flagACK}.bytes()
	if diff := cmp.Diff([][]byte{want}, newReader(8, 2000).read(t, p)); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if c := l.Counters(); c.Resets != 1 || c.OutPackets != 1 || c.OutBytes != 40 {
		t.Errorf("counters: %+v", c)
	}
}

func TestDetached(t *testing.T) {
	l, p := newTestLink(t, Config{Admit: acceptAll}, new(recorder))
	syn := segment{flags: flagSYN}.bytes()
	l.Endpoint().Attach(nil)
	if l.Endpoint().IsAttached() {
		t.Error("attached after Attach(nil)")
	}
	write(t, p, syn)
	if diff := cmp.Diff([]string{"detached"}, drops(l.Counters().InDrops)); diff != "" {
		t.Errorf("drops (-want +got):\n%s", diff)
	}
	var got recorder
	l.Endpoint().Attach(&got)
	p.Device().Close()
	if _, err := p.Device().Write([][]byte{syn}, 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Write to a closed port: %v", err)
	}
	if n := len(got.take()); n != 0 {
		t.Errorf("closed port delivered %d packets", n)
	}
}

// Counters of a link must not go back when a port goes.
func TestCountersOutliveThePort(t *testing.T) {
	l, p := newTestLink(t, Config{Admit: acceptAll}, new(recorder))
	write(t, p, segment{flags: flagSYN}.bytes(), nil)
	before := l.Counters()
	p.Device().Close()
	if diff := cmp.Diff(before, l.Counters()); diff != "" {
		t.Errorf("counters (-before +after):\n%s", diff)
	}
	if before.InPackets != 2 || before.DeliveredPackets != 1 || before.DeliveredBytes != 40 {
		t.Errorf("counters: %+v", before)
	}
}

func TestReasonNames(t *testing.T) {
	seen := make(map[string]bool)
	for r := range Reason(NumReasons) {
		name := r.String()
		if name == "" || seen[name] {
			t.Errorf("reason %d has the name %q", r, name)
		}
		seen[name] = true
	}
	if got := Reason(255).String(); got != "refused" {
		t.Errorf("unknown reason is %q", got)
	}
}
