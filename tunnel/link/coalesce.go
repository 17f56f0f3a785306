package link

import (
	"bytes"
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// maxRuns is how many flows are coalesced at a time; beyond it the oldest run is delivered. A linear search over this
// many is cheaper than a map.
const maxRuns = 16

// coalescer joins TCP segments that continue each other into one large one, per flow, and so spares the stack most of its
// work (generic receive offload). The order within a flow is kept; between flows there is none to keep.
type coalescer struct {
	runs   [maxRuns]run
	n      int // runs in use
	oldest int // of the runs, when all are in use
}

// run is a series of segments of one flow.
type run struct {
	flow    flow
	nextSeq uint32
	segment int      // payload of its first segment, which no later one exceeds
	size    int      // of the packet they will make
	ended   bool     // by PSH or a short segment
	hdrLen  int      // the same for all
	parts   [][]byte // packets, headers included
}

// flow is a TCP 4-tuple as it stands in the headers.
type flow struct {
	addrs uint64
	ports uint32
}

func flowOf(p *parsed) flow {
	return flow{binary.BigEndian.Uint64(p.data[12:]), binary.BigEndian.Uint32(p.data[20:])}
}

// add takes a valid packet, and delivers it at once or with a run.
func (c *coalescer) add(p *parsed, to stack.NetworkDispatcher) {
	if p.protocol != ProtocolTCP {
		deliver(to, [][]byte{p.data}, p.hdrLen, len(p.data))
		return
	}
	f := flowOf(p)
	r := c.find(f)
	if r != nil && r.extend(p) {
		return
	}
	if r != nil {
		r.deliver(to)
	}
	// Only plain data can begin a run; everything else ends the flow's run and goes alone.
	if p.flags&^flagPSH != flagACK || p.payload() == 0 {
		deliver(to, [][]byte{p.data}, p.hdrLen, len(p.data))
		return
	}
	if r == nil {
		r = c.slot(to)
	}
	r.begin(f, p)
}

func (c *coalescer) find(f flow) *run {
	for i := range c.runs[:c.n] {
		if c.runs[i].flow == f {
			return &c.runs[i]
		}
	}
	return nil
}

// slot returns an empty run, delivering the oldest if need be.
func (c *coalescer) slot(to stack.NetworkDispatcher) *run {
	if c.n < maxRuns {
		c.n++
		return &c.runs[c.n-1]
	}
	r := &c.runs[c.oldest]
	c.oldest = (c.oldest + 1) % maxRuns
	r.deliver(to)
	return r
}

// flush delivers what is left and makes the coalescer empty.
func (c *coalescer) flush(to stack.NetworkDispatcher) {
	for i := range c.runs[:c.n] {
		c.runs[i].deliver(to)
		c.runs[i].flow = flow{}
	}
	c.n, c.oldest = 0, 0
}

func (r *run) begin(f flow, p *parsed) {
	r.flow, r.hdrLen, r.segment, r.size = f, p.hdrLen, p.payload(), len(p.data)
	r.nextSeq = binary.BigEndian.Uint32(p.data[24:]) + uint32(p.payload())
	r.ended = p.flags&flagPSH != 0
	r.parts = append(r.parts[:0], p.data)
}

// extend appends p if it continues the run, that is if the packet they make says the same as the two did.
func (r *run) extend(p *parsed) bool {
	if len(r.parts) == 0 || r.ended || p.flags&^flagPSH != flagACK || p.hdrLen != r.hdrLen {
		return false
	}
	size := p.payload()
	if size == 0 || size > r.segment || r.size+size > gsoMaxSize || binary.BigEndian.Uint32(p.data[24:]) != r.nextSeq {
		return false
	}
	a, b := r.parts[0], p.data
	sameIP := a[1] == b[1] && a[6] == b[6] && a[8] == b[8]                        // TOS, DF, TTL
	sameTCP := bytes.Equal(a[28:32], b[28:32]) && bytes.Equal(a[34:36], b[34:36]) // acknowledgment, window
	if !sameIP || !sameTCP || !bytes.Equal(a[40:r.hdrLen], b[40:r.hdrLen]) {      // options
		return false
	}
	r.parts = append(r.parts, p.data)
	r.nextSeq += uint32(size)
	r.size += size
	r.ended = size < r.segment || p.flags&flagPSH != 0
	return true
}

// deliver delivers the run, if there is one, and leaves the slot to the flow.
func (r *run) deliver(to stack.NetworkDispatcher) {
	if len(r.parts) > 0 {
		deliver(to, r.parts, r.hdrLen, r.size)
	}
	clear(r.parts)
	r.parts = r.parts[:0]
}

// deliver copies parts into one packet and hands it to the stack.
func deliver(to stack.NetworkDispatcher, parts [][]byte, hdrLen, size int) {
	var packet buffer.Buffer
	if len(parts) == 1 {
		packet = buffer.MakeWithView(buffer.NewViewWithData(parts[0]))
	} else {
		packet = join(parts, hdrLen, size)
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: packet})
	to.DeliverNetworkPacket(header.IPv4ProtocolNumber, pkt)
	pkt.DecRef()
}

// join makes one packet of size bytes of several that continue each other: a view of the headers and one of exactly the
// payload. In one view with the headers the stack would copy the payload again: it reads headers after it has cloned
// the packet, and gVisor unshares the whole view that is read from.
func join(parts [][]byte, hdrLen, size int) buffer.Buffer {
	headers := buffer.NewViewWithData(parts[0][:hdrLen])
	b := headers.AsSlice()
	binary.BigEndian.PutUint16(b[2:], uint16(size))
	putChecksum(b[10:], b[:ipv4HeaderLen], 0)
	// The TCP checksum stays that of the first segment: all have been verified, and the stack does not look again.
	b[33] |= parts[len(parts)-1][33] & flagPSH

	payload := buffer.NewView(size - hdrLen)
	for _, part := range parts {
		payload.Write(part[hdrLen:])
	}
	packet := buffer.MakeWithView(payload)
	_ = packet.Prepend(headers) // fails only where it copies into a shared view
	return packet
}
