package link

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const resetTTL = 64

// reset answers a SYN with RST+ACK on the port where it came in (RFC 9293 section 3.10.7.1), without the stack. It
// does not wait: in a full queue the reset is dropped, and the client's SYN comes again.
func (p *Port) reset(syn *parsed) {
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
		Payload: buffer.MakeWithView(resetFor(syn)),
	})
	pkt.NetworkProtocolNumber = header.IPv4ProtocolNumber
	if result, _ := p.queue.push(pkt, classReply); result != pushOK {
		pkt.DecRef()
		p.counters.out.drops[ReasonQueueFull].Add(1)
		return
	}
	p.counters.in.resets.Add(1)
}

func resetFor(syn *parsed) *buffer.View {
	view := buffer.NewViewSize(ipv4HeaderLen + tcpHeaderLen)
	b, s := view.AsSlice(), syn.data
	b[0] = 4<<4 | ipv4HeaderLen/4
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	b[6] = 0x40 // don't fragment
	b[8], b[9] = resetTTL, ProtocolTCP
	copy(b[12:16], s[16:20])
	copy(b[16:20], s[12:16])
	putChecksum(b[10:], b[:ipv4HeaderLen], 0)

	tcp := b[ipv4HeaderLen:]
	copy(tcp[0:2], s[22:24])
	copy(tcp[2:4], s[20:22])
	// The SYN takes one sequence number, as does each byte that came with it.
	binary.BigEndian.PutUint32(tcp[8:], binary.BigEndian.Uint32(s[24:])+1+uint32(syn.payload()))
	tcp[12] = tcpHeaderLen / 4 << 4
	tcp[13] = flagRST | flagACK
	putChecksum(tcp[16:], tcp, pseudoChecksum(b, ProtocolTCP, len(tcp)))
	return view
}
