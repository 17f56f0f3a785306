package domain

import (
	"encoding/binary"
	"fmt"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"causeway/tunnel/link"
)

// TestAnnouncedMSS: what the stack announces fits into the MTU, of which 8,500 is the largest.
func TestAnnouncedMSS(t *testing.T) {
	for mtu, want := range map[int]uint16{0: 1380, 1280: 1240, link.MaxMTU: 8460} {
		t.Run(fmt.Sprint(mtu), func(t *testing.T) {
			d := newDomain(t, Config{Name: "d", MTU: mtu})
			port := d.NewPort("device")
			serve(t, d, port, "10.0.1.5:443")
			if _, err := port.Device().Write([][]byte{syn("10.0.0.5:1000", "10.0.1.5:443")}, 0); err != nil {
				t.Fatal(err)
			}
			answer, sizes := make([]byte, 2000), make([]int, 1)
			if _, err := port.Device().Read([][]byte{answer}, sizes, 0); err != nil {
				t.Fatal(err)
			}
			tcp := header.TCP(header.IPv4(answer[:sizes[0]]).Payload())
			if got := header.ParseSynOptions(tcp.Options(), true).MSS; got != want || !tcp.Flags().Contains(header.TCPFlagSyn|header.TCPFlagAck) {
				t.Errorf("MSS %d in %v, want %d", got, tcp.Flags(), want)
			}
		})
	}
	if _, err := New(Config{Name: "d", MTU: link.MaxMTU + 1}); err == nil {
		t.Error("an MTU of 8,501 bytes is accepted")
	}
}

// syn is a SYN that allows segments of any size.
func syn(from, to string) []byte {
	src, dst := addrPort(from), addrPort(to)
	b := make([]byte, header.IPv4MinimumSize+header.TCPMinimumSize+4)
	header.IPv4(b).Encode(&header.IPv4Fields{
		TotalLength: uint16(len(b)), TTL: 64, Protocol: link.ProtocolTCP,
		SrcAddr: tcpip.AddrFrom4(src.Addr().As4()), DstAddr: tcpip.AddrFrom4(dst.Addr().As4()),
	})
	header.IPv4(b).SetChecksum(^header.IPv4(b).CalculateChecksum())
	tcp := header.TCP(b[header.IPv4MinimumSize:])
	tcp.Encode(&header.TCPFields{
		SrcPort: src.Port(), DstPort: dst.Port(), DataOffset: header.TCPMinimumSize + 4, Flags: header.TCPFlagSyn, WindowSize: 65535,
	})
	copy(tcp[header.TCPMinimumSize:], []byte{header.TCPOptionMSS, 4, 0, 0})
	binary.BigEndian.PutUint16(tcp[header.TCPMinimumSize+2:], 65495)
	sum := header.PseudoHeaderChecksum(link.ProtocolTCP, tcpip.AddrFrom4(src.Addr().As4()), tcpip.AddrFrom4(dst.Addr().As4()), uint16(len(tcp)))
	tcp.SetChecksum(^checksum.Checksum(tcp, sum))
	return b
}
