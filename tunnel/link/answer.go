package link

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	answerTTL = 64
	// tooBigPerSecond bounds the answers to oversized packets of a link: a sender needs one (RFC 1812 section 4.3.2.8).
	tooBigPerSecond = 100
	icmpHeaderLen   = 8
	// quotedLen is how much of the packet an ICMP error repeats at least (RFC 792): enough to find the connection.
	quotedLen = ipv4HeaderLen + 8
)

// answer sends a packet of the link's own on the port, without the stack, if the filter lets it pass. It does not wait: in a
// full queue the packet is dropped, and what it answers comes again.
func (p *Port) answer(view *buffer.View) bool {
	b := view.AsSlice()
	if f := p.link.filter.Load(); f != nil {
		if v := f.outbound(b, b[ipv4HeaderLen:], p); !v.Accepted() {
			view.Release()
			p.counters.out.drops[v.Reason()].Add(1)
			return false
		}
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(view)})
	pkt.NetworkProtocolNumber = header.IPv4ProtocolNumber
	if result, _ := p.queue.push(pkt, classReply); result != pushOK {
		pkt.DecRef()
		p.counters.out.drops[ReasonQueueFull].Add(1)
		return false
	}
	return true
}

// reset answers a SYN with RST+ACK (RFC 9293 section 3.10.7.1).
func (p *Port) reset(syn *parsed) {
	if p.answer(resetFor(syn)) {
		p.counters.in.resets.Add(1)
	}
}

func resetFor(syn *parsed) *buffer.View {
	view, tcp := answerTo(syn, ProtocolTCP, tcpHeaderLen)
	s := syn.data
	copy(tcp[0:2], s[22:24])
	copy(tcp[2:4], s[20:22])
	// The SYN takes one sequence number, as does each byte that came with it.
	binary.BigEndian.PutUint32(tcp[8:], binary.BigEndian.Uint32(s[24:])+1+uint32(syn.payload()))
	tcp[12] = tcpHeaderLen / 4 << 4
	tcp[13] = flagRST | flagACK
	putChecksum(tcp[16:], tcp, pseudoChecksum(view.AsSlice(), ProtocolTCP, len(tcp)))
	return view
}

// tooBig tells the sender of an oversized packet that must not be fragmented how large packets may be: ICMP "fragmentation
// needed" (RFC 1191 section 4). There is no answer to ICMP, and not more than a sender needs.
func (p *Port) tooBig(packet *parsed) {
	if packet.mayFragment() || packet.protocol != ProtocolTCP && packet.protocol != ProtocolUDP || !p.link.tooBig.Allow() {
		return
	}
	p.answer(tooBigFor(packet))
}

func tooBigFor(packet *parsed) *buffer.View {
	view, icmp := answerTo(packet, ProtocolICMP, icmpHeaderLen+quotedLen)
	icmp[0], icmp[1] = byte(header.ICMPv4DstUnreachable), byte(header.ICMPv4FragmentationNeeded)
	binary.BigEndian.PutUint16(icmp[6:], MaxMTU)
	copy(icmp[icmpHeaderLen:], packet.data[:quotedLen])
	putChecksum(icmp[2:], icmp, 0)
	return view
}

// answerTo begins a packet from the destination of another to its source, and returns the room behind its IP header too.
func answerTo(packet *parsed, protocol uint8, size int) (view *buffer.View, content []byte) {
	view = buffer.NewViewSize(ipv4HeaderLen + size)
	b, d := view.AsSlice(), packet.data
	b[0] = 4<<4 | ipv4HeaderLen/4
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	b[6] = 0x40 // don't fragment
	b[8], b[9] = answerTTL, protocol
	copy(b[12:16], d[16:20])
	copy(b[16:20], d[12:16])
	putChecksum(b[10:], b[:ipv4HeaderLen], 0)
	return view, b[ipv4HeaderLen:]
}
