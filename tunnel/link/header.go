package link

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
)

// Lengths and flags of RFC 791, RFC 9293, RFC 768 and RFC 3168.
const (
	ipv4HeaderLen = 20
	tcpHeaderLen  = 20
	udpHeaderLen  = 8

	flagFIN = 1 << 0
	flagSYN = 1 << 1
	flagRST = 1 << 2
	flagPSH = 1 << 3
	flagACK = 1 << 4
	flagCWR = 1 << 7
)

// parsed is an inbound packet that has been found valid. It refers to the device's buffer.
type parsed struct {
	data     []byte // the whole packet, cut to its total length
	protocol uint8
	flags    uint8 // TCP
	hdrLen   int   // of both headers
}

func (p *parsed) source() uint32      { return binary.BigEndian.Uint32(p.data[12:]) }
func (p *parsed) destination() uint32 { return binary.BigEndian.Uint32(p.data[16:]) }
func (p *parsed) payload() int        { return len(p.data) - p.hdrLen }
func (p *parsed) mayFragment() bool   { return p.data[6]&0x40 == 0 }

// starts reports whether the packet could start something, so that it needs to be admitted.
func (p *parsed) starts() bool {
	return p.protocol == ProtocolUDP || p.flags&(flagSYN|flagACK) == flagSYN
}

func (p *parsed) describe(port *Port) Packet {
	described, _ := describe(p.data, p.data[ipv4HeaderLen:], port)
	return described
}

// describe tells what rules look at of an IPv4 packet. It is false when the transport header is too short to tell.
func describe(ip, transport []byte, port *Port) (Packet, bool) {
	p := Packet{Protocol: ip[9], Port: port}
	var from, to uint16
	switch p.Protocol {
	case ProtocolTCP, ProtocolUDP:
		if len(transport) < 4 {
			return p, false
		}
		from, to = binary.BigEndian.Uint16(transport), binary.BigEndian.Uint16(transport[2:])
	case ProtocolICMP:
		if len(transport) < 2 {
			return p, false
		}
		p.ICMPType, p.ICMPCode = transport[0], transport[1]
	}
	p.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[12:16])), from)
	p.Destination = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[16:20])), to)
	return p, true
}

// parseIP checks everything up to the transport header. The order of checks is part of the package's contract.
func parseIP(data []byte) (p parsed, why Reason, ok bool) {
	if len(data) == 0 || data[0]>>4 != 4 {
		return p, ReasonNotIPv4, false
	}
	if len(data) < ipv4HeaderLen {
		return p, ReasonIPHeader, false
	}
	hdrLen := int(data[0]&15) * 4
	total := int(binary.BigEndian.Uint16(data[2:]))
	if hdrLen < ipv4HeaderLen || total < hdrLen || total > len(data) {
		return p, ReasonIPHeader, false
	}
	p = parsed{data: data[:total], protocol: data[9], hdrLen: hdrLen}
	switch {
	case checksum.Checksum(data[:hdrLen], 0) != 0xffff:
		return p, ReasonIPChecksum, false
	case martian(p.source()) || martian(p.destination()) || linkLocal(p.destination()):
		return p, ReasonMartian, false
	case binary.BigEndian.Uint16(data[6:])&0x3fff != 0: // more fragments, or an offset
		return p, ReasonFragment, false
	case hdrLen > ipv4HeaderLen:
		return p, ReasonIPOptions, false
	case total > MaxMTU:
		return p, ReasonOversized, false
	}
	return p, 0, true
}

// martian reports whether an address must not appear in a packet between hosts: "this network", loopback, multicast,
// 240/4 and broadcast (RFC 6890).
func martian(addr uint32) bool {
	top := addr >> 24
	return top == 0 || top == 127 || top >= 224
}

// linkLocal reports whether an address is in 169.254.0.0/16, where metadata services live. As a source it is the inside
// address of a tunnel, which AllowedIPs admit from that tunnel alone; as a destination nothing has it.
func linkLocal(addr uint32) bool { return addr>>16 == 169<<8|254 }

// parseTransport checks the transport header and checksum.
func (p *parsed) parseTransport() (why Reason, ok bool) {
	seg := p.data[p.hdrLen:]
	switch p.protocol {
	case ProtocolTCP:
		if len(seg) < tcpHeaderLen {
			return ReasonTransportHeader, false
		}
		offset := int(seg[12]>>4) * 4
		p.flags = seg[13]
		// A SYN that also ends or resets a connection is no part of any (RFC 9293 section 3.10.7).
		if offset < tcpHeaderLen || offset > len(seg) || p.flags&flagSYN != 0 && p.flags&(flagFIN|flagRST) != 0 {
			return ReasonTransportHeader, false
		}
		p.hdrLen += offset
	case ProtocolUDP:
		if len(seg) < udpHeaderLen {
			return ReasonTransportHeader, false
		}
		size := int(binary.BigEndian.Uint16(seg[4:]))
		if size < udpHeaderLen || size > len(seg) {
			return ReasonTransportHeader, false
		}
		p.hdrLen += udpHeaderLen
		if seg[6] == 0 && seg[7] == 0 { // no checksum was made (RFC 768)
			return 0, true
		}
		seg = seg[:size]
	default:
		return ReasonProtocol, false
	}
	if checksum.Checksum(seg, pseudoChecksum(p.data, p.protocol, len(seg))) != 0xffff {
		return ReasonTransportChecksum, false
	}
	return 0, true
}
