package link

import (
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// queue holds what the stack has sent until the port's device reads it.
//
// When it is full, a TCP segment with payload waits for the reader, because dropping here costs throughput for seconds
// (coder#13108); the wait is bounded, because waiting without end stops the whole stack when the reader is itself stuck
// behind the waiting goroutine (urnetwork/connect#209). Whether a packet waits is read off the packet and not off the
// goroutine: what the stack answers from inside an inbound delivery (resets, ICMP errors) never carries TCP payload, since
// the delivery of a TCP segment only queues it for the stack's own goroutines (gVisor tcp/dispatcher.go). So tun.Write
// never waits here, whoever calls it. A queue whose reader let one wait run out makes nobody wait again until the
// reader has come back: a dead port costs one wait and not one per segment.
type queue struct {
	maxBytes, maxPackets int
	wait                 time.Duration

	mu      sync.Mutex
	ready   sync.Cond // the reader waits here for packets
	packets []*stack.PacketBuffer
	bytes   int
	space   chan struct{} // closed by the reader when it takes; nil while nobody waits
	stalled bool          // a wait ran out and the reader has not been here since
	closed  bool
}

// class says how a packet is treated when the queue is full.
type class uint8

const (
	// classReply is the link's own reset: dropped at the bound, so that a SYN flood cannot displace data.
	classReply class = iota
	// classControl does not wait, but may use twice the bound: losing an ACK hurts more than holding 40 bytes.
	classControl
	// classData waits for room.
	classData
)

func classOf(pkt *stack.PacketBuffer) class {
	if pkt.TransportProtocolNumber == header.TCPProtocolNumber && pkt.Data().Size() > 0 {
		return classData
	}
	return classControl
}

func (q *queue) init(cfg Config) {
	q.maxBytes, q.maxPackets, q.wait = cfg.QueueBytes, cfg.QueuePackets, cfg.QueueWait
	q.ready.L = &q.mu
}

// pushed is the outcome of a push.
type pushed uint8

const (
	pushOK pushed = iota
	pushFull
	pushClosed
)

// push takes over the caller's reference to pkt only if it returns pushOK. It reports whether it had to wait.
func (q *queue) push(pkt *stack.PacketBuffer, c class) (result pushed, waited bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if c == classData && !q.closed && !q.stalled && q.full(c) {
		waited = true
		q.waitForSpace()
	}
	switch {
	case q.closed:
		return pushClosed, waited
	case q.full(c):
		return pushFull, waited
	}
	q.packets = append(q.packets, pkt)
	q.bytes += pkt.Size()
	q.ready.Signal()
	return pushOK, waited
}

// full reports whether c must not be queued. The bound is tested before a packet is added, so one of any size fits into
// an empty queue.
func (q *queue) full(c class) bool {
	factor := 1
	if c == classControl {
		factor = 2
	}
	return len(q.packets) >= factor*q.maxPackets || q.bytes >= factor*q.maxBytes
}

// waitForSpace is called, and returns, with mu held.
func (q *queue) waitForSpace() {
	timer := time.NewTimer(q.wait)
	defer timer.Stop()
	for !q.closed && q.full(classData) {
		if q.space == nil {
			q.space = make(chan struct{})
		}
		space := q.space
		q.mu.Unlock()
		expired := false
		select {
		case <-space:
		case <-timer.C:
			expired = true
		}
		q.mu.Lock()
		if expired {
			q.stalled = q.full(classData)
			return
		}
	}
}

// take returns all queued packets and keeps spare, emptied, as the next buffer. If there are none it blocks or, if
// block is false, returns none. It returns false when the queue is closed.
func (q *queue) take(spare []*stack.PacketBuffer, block bool) ([]*stack.PacketBuffer, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for block && len(q.packets) == 0 && !q.closed {
		q.ready.Wait()
	}
	if q.closed {
		return spare[:0], false
	}
	taken := q.packets
	q.packets, q.bytes, q.stalled = spare[:0], 0, false
	q.wake()
	return taken, true
}

// close releases what is queued and wakes everybody. It is idempotent.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, pkt := range q.packets {
		pkt.DecRef()
	}
	q.packets, q.bytes = nil, 0
	q.wake()
	q.ready.Broadcast()
}

func (q *queue) wake() {
	if q.space != nil {
		close(q.space)
		q.space = nil
	}
}
