package link

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// maxHeaders is the longest IPv4 header followed by the longest TCP header.
const maxHeaders = header.IPv4MaximumHeaderSize + header.TCPHeaderMaximumSize

// cutter copies packets into the buffers of a device, cutting what the stack left for us to segment (TCP segmentation
// offload). A packet that does not fit into one batch is continued in the next. It belongs to the port's reader.
type cutter struct {
	held []*stack.PacketBuffer // taken from the queue, from next on not yet begun
	next int

	pkt     *stack.PacketBuffer // the one being cut, or nil
	headers [maxHeaders]byte
	ipLen   int // length of the IP header
	hdrLen  int // of both headers
	mss     int
	first   bool
	left    int          // payload bytes not yet copied
	view    *buffer.View // where they continue
	offset  int
}

// more reports whether there is anything to copy.
func (c *cutter) more() bool { return c.pkt != nil || c.next < len(c.held) }

// hold gives the cutter packets, with their references, after it has used up the former ones.
func (c *cutter) hold(pkts []*stack.PacketBuffer) { c.held, c.next = pkts, 0 }

// spare returns the used-up slice for reuse.
func (c *cutter) spare() []*stack.PacketBuffer {
	clear(c.held)
	spare := c.held[:0]
	c.held, c.next = nil, 0
	return spare
}

// release gives back every reference.
func (c *cutter) release() {
	c.finish()
	for _, pkt := range c.held[c.next:] {
		pkt.DecRef()
	}
	c.held, c.next = nil, 0
}

// cut copies the next segment to buf and returns its length, or 0 and the number of segments lost if buf is too small.
func (c *cutter) cut(buf []byte) (n int, lost uint64) {
	if c.pkt == nil {
		c.begin()
	}
	payload := c.left
	if c.mss > 0 {
		payload = min(payload, c.mss)
	}
	n = c.hdrLen + payload
	if n > len(buf) {
		lost = 1
		if c.mss > 0 {
			lost = uint64((c.left + c.mss - 1) / c.mss)
		}
		c.finish()
		return 0, lost
	}
	copy(buf, c.headers[:c.hdrLen])
	c.copyPayload(buf[c.hdrLen:n])
	if c.mss > 0 {
		c.finishSegment(buf[:n])
	}
	if c.left == 0 {
		c.finish()
	}
	return n, 0
}

// begin makes the next held packet the one being cut.
func (c *cutter) begin() {
	pkt := c.held[c.next]
	c.held[c.next] = nil
	c.next++
	c.pkt, c.first = pkt, true

	c.ipLen = copy(c.headers[:], pkt.NetworkHeader().Slice())
	c.hdrLen = c.ipLen + copy(c.headers[c.ipLen:], pkt.TransportHeader().Slice())
	c.left = pkt.Data().Size()
	c.mss = 0
	if pkt.GSOOptions.Type == stack.GSOTCPv4 && pkt.GSOOptions.NeedsCsum {
		c.mss = int(pkt.GSOOptions.MSS)
		if c.mss == 0 {
			c.mss = max(c.left, 1)
		}
	}

	views, offset := pkt.AsViewList()
	c.view, c.offset = views.Front(), offset+c.hdrLen
	for c.view != nil && c.offset >= c.view.Size() {
		c.offset -= c.view.Size()
		c.view = c.view.Next()
	}
}

func (c *cutter) finish() {
	if c.pkt != nil {
		c.pkt.DecRef()
		c.pkt, c.view, c.left = nil, nil, 0
	}
}

func (c *cutter) copyPayload(dst []byte) {
	c.left -= len(dst)
	for len(dst) > 0 && c.view != nil {
		n := copy(dst, c.view.AsSlice()[c.offset:])
		dst = dst[n:]
		c.offset += n
		if c.offset == c.view.Size() {
			c.view, c.offset = c.view.Next(), 0
		}
	}
}

// finishSegment completes one segment of a TCP packet whose checksum the stack left partial, and prepares the headers
// of the next: sequence number and identification go on, FIN and PSH belong to the last segment, CWR to the first
// (RFC 3168 section 6.1.2).
func (c *cutter) finishSegment(seg []byte) {
	ip, tcp := seg[:c.ipLen], seg[c.ipLen:]
	binary.BigEndian.PutUint16(ip[2:], uint16(len(seg)))
	if c.left > 0 {
		tcp[13] &^= byte(header.TCPFlagFin | header.TCPFlagPsh)
	}
	if !c.first {
		tcp[13] &^= flagCWR
	}
	c.first = false

	putChecksum(ip[10:], ip, 0)
	pseudo := pseudoChecksum(ip, ProtocolTCP, len(tcp))
	putChecksum(tcp[16:], tcp, pseudo)

	payload := uint32(len(seg) - c.hdrLen)
	seq := c.headers[c.ipLen+4:]
	binary.BigEndian.PutUint32(seq, binary.BigEndian.Uint32(seq)+payload)
	id := c.headers[4:]
	binary.BigEndian.PutUint16(id, binary.BigEndian.Uint16(id)+1)
}
