package endpoint

import (
	"io"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

const (
	// chunk is moved in one call; a flow moves up to chunksPerVisit each way
	// before others have their turn.
	chunk          = 64 << 10
	chunksPerVisit = 4
	// maxParts segments are gathered in one call: 64 KB of full segments at
	// an MTU of 1420 are 47.
	maxParts = 64
)

// gather collects, without copying, the bytes at the front of an endpoint's
// receive queue. They belong to the endpoint and are valid until consumed by
// its only reader.
type gather struct {
	parts [maxParts][]byte
	n     int // parts in use
	size  int // bytes in them
	limit int // bytes wanted at most
	high  int // parts used since release
	iov   [maxParts]unix.Iovec
}

// peek fills g with up to limit bytes.
func (g *gather) peek(ep tcpip.Endpoint, limit int) tcpip.Error {
	g.n, g.size, g.limit = 0, 0, limit
	_, err := ep.Read(g, tcpip.ReadOptions{Peek: true})
	return err
}

// Write implements io.Writer for Endpoint.Read. A short count must come with
// an error, which Read passes over once there are bytes.
func (g *gather) Write(b []byte) (int, error) {
	if g.n == maxParts || g.size == g.limit {
		return 0, io.ErrShortWrite
	}
	n := min(len(b), g.limit-g.size)
	if n > 0 {
		g.parts[g.n] = b[:n]
		g.n++
		g.high = max(g.high, g.n)
		g.size += n
	}
	if n < len(b) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

// truncate keeps the first size bytes.
func (g *gather) truncate(size int) {
	for g.size > size {
		last := &g.parts[g.n-1]
		if over := g.size - size; over < len(*last) {
			*last = (*last)[:len(*last)-over]
			g.size = size
			return
		}
		g.size -= len(*last)
		g.n--
	}
}

// release forgets the bytes, so that scratch space does not keep packets.
func (g *gather) release() {
	clear(g.parts[:g.high])
	clear(g.iov[:g.high])
	g.n, g.size, g.high = 0, 0, 0
}

// partsPayload hands gathered bytes to Endpoint.Write, which copies them.
type partsPayload struct {
	g    *gather
	part int
	off  int
	left int
}

// Len implements tcpip.Payloader.
func (p *partsPayload) Len() int { return p.left }

// Read implements io.Reader.
func (p *partsPayload) Read(b []byte) (int, error) {
	n := 0
	for n < len(b) && p.part < p.g.n {
		m := copy(b[n:], p.g.parts[p.part][p.off:])
		n += m
		if p.off += m; p.off == len(p.g.parts[p.part]) {
			p.part, p.off = p.part+1, 0
		}
	}
	p.left -= n
	if n == 0 && len(b) > 0 {
		return 0, io.ErrUnexpectedEOF
	}
	return n, nil
}

// discard drops bytes at the front of a receive queue.
type discard struct{ left int }

// Write implements io.Writer for Endpoint.Read.
func (d *discard) Write(b []byte) (int, error) {
	n := min(len(b), d.left)
	d.left -= n
	if n < len(b) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

// consume drops the first n bytes, which were peeked, from ep's receive queue
// and reports whether it held them.
func (w *worker) consume(ep tcpip.Endpoint, n int) bool {
	w.discard.left = n
	res, err := ep.Read(&w.discard, tcpip.ReadOptions{})
	return err == nil && res.Count == n
}

// stackDead reports whether a gVisor connection ended other than in order.
// finSent tells that this side has closed its direction: then the closed
// state is also where an orderly end leads.
func stackDead(ep tcpip.Endpoint, finSent bool) bool {
	switch tcp.EndpointState(ep.State()) {
	case tcp.StateError:
		return true
	case tcp.StateClose:
		return !finSent
	default:
		return false
	}
}

// timedOut reports whether err means that the peer no longer answered.
func timedOut(err tcpip.Error) bool {
	switch err.(type) {
	case *tcpip.ErrTimeout, *tcpip.ErrHostUnreachable, *tcpip.ErrNetworkUnreachable:
		return true
	default:
		return false
	}
}
