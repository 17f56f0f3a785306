package gateway

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"strings"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// forger makes random packets. Those of VPC n bear n in the high byte of TCP's sequence and acknowledgement
// numbers, of IP's identification, and of a question's.
type forger struct {
	random *rand.Rand
	bufs   [32][]byte // reused
}

func newForger(seed uint64) *forger { return &forger{random: rand.New(rand.NewPCG(seed, 2))} }

// forge makes one packet of VPC n, in b if it has room.
func (f *forger) forge(n int, b []byte) []byte {
	switch p := f.random.IntN(100); {
	case p < 15: // a connection of its own
		return f.segment(b, n, f.holder(n), f.endpoint(n), 443, header.TCPFlagSyn)
	case p < 25: // to another's endpoint
		return f.segment(b, n, f.holder(n), stormEndpoint(f.other(n)), 443, header.TCPFlagSyn)
	case p < 40: // to anything
		return f.segment(b, n, f.holder(n), f.anywhere(), uint16(f.random.Uint32()), header.TCPFlagSyn)
	case p < 55: // from another's address
		return f.segment(b, n, stormOwn(f.other(n)), f.endpoint(n), 443, header.TCPFlagSyn)
	case p < 60: // from anything
		return f.segment(b, n, f.anywhere(), f.endpoint(n), 443, header.TCPFlagSyn)
	case p < 75: // into flows that are another's, or nobody's
		return f.intoFlow(b, n)
	case p < 85:
		return f.icmp(b, n)
	case p < 95:
		return f.question(b, n)
	default:
		return f.noise(b, n)
	}
}

// other is a VPC that is not n.
func (f *forger) other(n int) int { return (n + 1 + f.random.IntN(stormVPCs-1)) % stormVPCs }

// stamped is a random number of 32 bits that bears n.
func (f *forger) stamped(n int) uint32 { return uint32(n)<<24 | f.random.Uint32N(1<<23) }

// holder is an address that the workload of VPC n holds.
func (f *forger) holder(n int) netip.Addr {
	if k := f.random.IntN(10); k < 8 {
		return netip.AddrFrom4([4]byte{10, 0, 1, byte(8 + k)})
	} else if k == 8 {
		return stormOwn(n)
	}
	return stormWorkload
}

func (f *forger) endpoint(n int) netip.Addr {
	if f.random.IntN(2) == 0 {
		return stormEndpoint(n)
	}
	return addr(endpointIP)
}

// anywhere is an address that some VPC has, or a random one.
func (f *forger) anywhere() netip.Addr {
	switch f.random.IntN(4) {
	case 0:
		return addr(nodeIP)
	case 1:
		return netip.AddrFrom4([4]byte{10, 0, byte(f.random.IntN(4)), byte(f.random.Uint32())})
	case 2:
		return stormBackend
	}
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], f.random.Uint32())
	return netip.AddrFrom4(a)
}

// port is one of few, so that flows of different VPCs have the same.
func (f *forger) port() uint16 { return 40_000 + uint16(f.random.IntN(64)) }

func (f *forger) segment(b []byte, n int, from, to netip.Addr, port uint16, flags header.TCPFlags) []byte {
	return forgeTCP(b, from, to, n, header.TCPFields{
		SrcPort: f.port(), DstPort: port, Flags: flags, WindowSize: 65535, SeqNum: f.stamped(n), AckNum: f.stamped(n),
	}, "")
}

// intoFlow makes a segment of no connection of VPC n: of another's that lives, or of one that anybody may have.
func (f *forger) intoFlow(b []byte, n int) []byte {
	flags := []header.TCPFlags{
		header.TCPFlagRst, header.TCPFlagRst | header.TCPFlagAck, header.TCPFlagAck, header.TCPFlagFin | header.TCPFlagAck,
		header.TCPFlagSyn | header.TCPFlagAck, header.TCPFlagAck | header.TCPFlagPsh, header.TCPFlagSyn,
	}[f.random.IntN(7)]
	fields := header.TCPFields{SrcPort: f.port(), DstPort: 443, Flags: flags, WindowSize: 65535, SeqNum: f.stamped(n), AckNum: f.stamped(n)}
	from, payload := f.holder(n), ""
	if f.random.IntN(2) == 0 {
		from, fields.SrcPort = stormBackend, stormLivePort(f.other(n))
		fields.AckNum = f.random.Uint32() // what comes of it goes to the backend, where nobody looks for a stamp
	}
	if flags.Contains(header.TCPFlagPsh) {
		payload = stamp(n)
	}
	return forgeTCP(b, from, addr(endpointIP), n, fields, payload)
}

// icmp quotes another VPC's flow in an error, or asks for an echo.
func (f *forger) icmp(b []byte, n int) []byte {
	other := f.other(n)
	quoted := forgeTCP(nil, addr(endpointIP), stormBackend, other, header.TCPFields{
		SrcPort: 443, DstPort: stormLivePort(other), SeqNum: f.random.Uint32(), Flags: header.TCPFlagAck,
	}, "")
	kind := []header.ICMPv4Type{
		header.ICMPv4DstUnreachable, header.ICMPv4SrcQuench, header.ICMPv4Redirect, header.ICMPv4Echo,
		header.ICMPv4TimeExceeded, header.ICMPv4ParamProblem,
	}[f.random.IntN(6)]
	b = forgeIP(b, f.holder(n), addr(endpointIP), n, header.ICMPv4ProtocolNumber, header.ICMPv4MinimumSize+len(quoted))
	message := header.ICMPv4(header.IPv4(b).Payload())
	clear(message)
	message.SetType(kind)
	message.SetCode(header.ICMPv4Code(f.random.IntN(16)))
	copy(message[header.ICMPv4MinimumSize:], quoted)
	message.SetChecksum(^checksum.Checksum(message, 0))
	return b
}

// question asks the resolver for a name of some VPC, its own among them. The low byte of the identification tells whose.
func (f *forger) question(b []byte, n int) []byte {
	asked := f.random.IntN(stormVPCs)
	message := []byte{byte(n), byte(asked), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for label := range strings.SplitSeq(stormName(asked), ".") {
		message = append(append(message, byte(len(label))), label...)
	}
	message = append(message, 0, 0, 1, 0, 1) // A, IN
	from, to := f.holder(n), stormResolver
	b = forgeIP(b, from, to, n, header.UDPProtocolNumber, header.UDPMinimumSize+len(message))
	udp := header.UDP(header.IPv4(b).Payload())
	udp.Encode(&header.UDPFields{SrcPort: f.port(), DstPort: 53, Length: uint16(len(udp))})
	copy(udp.Payload(), message)
	sum := header.PseudoHeaderChecksum(header.UDPProtocolNumber, gvisorAddress(from), gvisorAddress(to), uint16(len(udp)))
	udp.SetChecksum(^udp.CalculateChecksum(checksum.Checksum(message, sum)))
	return b
}

// noise is a segment of which random bytes are not as they should be.
func (f *forger) noise(b []byte, n int) []byte {
	b = f.segment(b, n, f.holder(n), f.endpoint(n), 443, header.TCPFlagSyn)
	for range 1 + f.random.IntN(4) {
		b[f.random.IntN(header.IPv4MinimumSize)] = byte(f.random.Uint32()) // what is left of TCP keeps its stamp
	}
	return b[:1+f.random.IntN(len(b))]
}

// forgeTCP makes a segment, in b if it has room.
func forgeTCP(b []byte, from, to netip.Addr, n int, fields header.TCPFields, payload string) []byte {
	b = forgeIP(b, from, to, n, header.TCPProtocolNumber, header.TCPMinimumSize+len(payload))
	seg := header.TCP(header.IPv4(b).Payload())
	fields.DataOffset = header.TCPMinimumSize
	seg.Encode(&fields)
	copy(seg.Payload(), payload)
	sum := header.PseudoHeaderChecksum(header.TCPProtocolNumber, gvisorAddress(from), gvisorAddress(to), uint16(len(seg)))
	seg.SetChecksum(^seg.CalculateChecksum(checksum.Checksum(seg.Payload(), sum)))
	return b
}

func forgeIP(b []byte, from, to netip.Addr, n int, protocol tcpip.TransportProtocolNumber, size int) []byte {
	size += header.IPv4MinimumSize
	if cap(b) < size {
		b = make([]byte, max(size, 128))
	}
	b = b[:size]
	ip := header.IPv4(b)
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(size), ID: uint16(n) << 8, TTL: 64, Protocol: uint8(protocol),
		SrcAddr: gvisorAddress(from), DstAddr: gvisorAddress(to),
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	return b
}

func gvisorAddress(a netip.Addr) tcpip.Address { return tcpip.AddrFrom4(a.As4()) }
