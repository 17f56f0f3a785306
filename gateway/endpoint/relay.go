package endpoint

import (
	"errors"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"

	"causeway/gateway/shape"
)

// outcome is why a pump stopped.
type outcome uint8

const (
	moreLeft     outcome = iota // the visit is over, the source may hold more
	sourceEmpty                 // nothing to read; the source will say
	sinkFull                    // nothing can be written; the sink will say
	budgetSpent                 // the budget will say
	streamEnded                 // the source closed its direction
	sourceFailed                // the source's connection is broken
	sinkFailed                  // the sink's connection is broken
	lostBytes                   // the gateway broke its own rules
)

// relay moves what events say can be moved.
func (f *Flow) relay(events uint32, w *worker) (again uint32) {
	if events&evConsumerHup != 0 && stackDead(f.ep, f.egress.done) {
		f.end(f.consumerReason())
		return 0
	}
	if events&evTargetError != 0 {
		if why := f.targetError(); why != ReasonNone {
			f.end(why)
			return 0
		}
	}
	if events&evTargetHup != 0 {
		f.targetHup = true
	}
	const wakesIngress = evConsumerReadable | evConsumerHup | evBudgetIngress
	if events&wakesIngress != 0 || events&evTargetWritable != 0 && f.ingress.blocked {
		if !f.ingress.done && f.settle(shape.Ingress, f.pumpIngress(w)) {
			again |= evConsumerReadable
		}
	}
	const wakesEgress = evTargetReadable | evTargetHup | evTargetError | evBudgetEgress
	if f.phase != ended && (events&wakesEgress != 0 || events&evConsumerWritable != 0 && f.egress.blocked) {
		if !f.egress.done && f.settle(shape.Egress, f.pumpEgress(w)) {
			again |= evTargetReadable
		}
	}
	if f.phase == ended {
		return 0
	}
	if f.ingress.done && f.egress.done {
		f.end(ReasonCompleted)
		return 0
	}
	return again
}

// settle acts on a pump's outcome and reports whether to visit again.
func (f *Flow) settle(way shape.Direction, o outcome) (again bool) {
	d := &f.ingress
	if way == shape.Egress {
		d = &f.egress
	}
	d.blocked = o == sinkFull
	if o == budgetSpent {
		d.waited = true
	}
	switch o {
	case moreLeft:
		return true
	case streamEnded:
		d.done = true
		if !f.ingress.done || !f.egress.done {
			f.passFIN(way) // else the flow is over, and closing does it
		}
	case sourceFailed, sinkFailed:
		if (way == shape.Ingress) == (o == sourceFailed) {
			f.end(f.consumerReason())
		} else {
			f.end(f.targetReason())
		}
	case lostBytes:
		f.engine.log.Error("relay lost bytes", "flow", f.id, "endpoint", f.EndpointName(), "direction", way.String())
		f.end(ReasonInternal)
	}
	return false
}

// passFIN closes the direction on its far side; the other one lives on.
func (f *Flow) passFIN(way shape.Direction) {
	switch {
	case way == shape.Egress:
		// An endpoint that is gone has told so by an event of its own.
		_ = f.ep.Shutdown(tcpip.ShutdownWrite)
	case f.leg.ep != nil:
		_ = f.leg.ep.Shutdown(tcpip.ShutdownWrite)
	default:
		if err := shutdownWrite(f.leg.fd); err != nil {
			f.end(ReasonTargetReset)
		}
	}
}

func (f *Flow) pumpIngress(w *worker) outcome {
	if f.unread != nil && !f.observe(w) {
		return sourceEmpty
	}
	o, n := f.pumpStack(w, shape.Ingress, f.ep, f.leg)
	if n > 0 {
		f.ingressBytes.Add(uint64(n))
		f.engine.moved(f.listener.iface, shape.Ingress, n)
	}
	return o
}

func (f *Flow) pumpEgress(w *worker) (o outcome) {
	n := 0
	if f.leg.ep != nil {
		o, n = f.pumpStack(w, shape.Egress, f.leg.ep, StackLeg(f.ep, nil))
	} else {
		o, n = f.pumpKernel(w)
	}
	if n > 0 {
		f.egressBytes.Add(uint64(n))
		f.engine.moved(f.listener.iface, shape.Egress, n)
	}
	return o
}

// pumpStack moves bytes out of a gVisor endpoint's receive queue.
func (f *Flow) pumpStack(w *worker, way shape.Direction, from tcpip.Endpoint, to Leg) (o outcome, moved int) {
	g := &w.gather
	defer g.release()
	d := &f.ingress
	finSent := f.egress.done
	if way == shape.Egress {
		d, finSent = &f.egress, f.ingress.done
	}
	for range chunksPerVisit {
		if err := g.peek(from, chunk); err != nil {
			return peekOutcome(from, err, finSent), moved
		}
		size := g.size
		granted := d.share.Take(size)
		if granted == 0 {
			return budgetSpent, moved
		}
		g.truncate(granted)
		n, o := w.writeTo(to)
		d.share.Refund(granted - n)
		if n > 0 {
			if !w.consume(from, n) {
				return lostBytes, moved
			}
			moved += n
			f.moderate(from, d, n)
		}
		switch {
		case o != moreLeft:
			return o, moved
		case n < granted:
			return sinkFull, moved
		}
	}
	return moreLeft, moved
}

func peekOutcome(ep tcpip.Endpoint, err tcpip.Error, finSent bool) outcome {
	switch err.(type) {
	case *tcpip.ErrWouldBlock:
		return sourceEmpty
	case *tcpip.ErrClosedForReceive:
		if !stackDead(ep, finSent) {
			return streamEnded
		}
	}
	return sourceFailed
}

// writeTo writes what was gathered; moreLeft means that it went well.
func (w *worker) writeTo(to Leg) (int, outcome) {
	if to.ep == nil {
		n, err := w.gather.writeParts(to.fd)
		if err != nil {
			return 0, sinkFailed
		}
		return n, moreLeft
	}
	w.parts = partsPayload{g: &w.gather, left: w.gather.size}
	n, err := to.ep.Write(&w.parts, tcpip.WriteOptions{})
	if err != nil {
		if _, full := err.(*tcpip.ErrWouldBlock); full {
			return 0, sinkFull
		}
		return 0, sinkFailed
	}
	return int(n), moreLeft
}

// moderate lets a receive buffer grow with the flow. A flow that its budget
// holds back gains nothing from a larger buffer: it would only be full.
func (f *Flow) moderate(ep tcpip.Endpoint, d *direction, n int) {
	if d.waited {
		d.waited = false
		return
	}
	if b := f.listener.cfg.Budget; b != nil && ep.SocketOptions().GetReceiveBufferSize() >= ReceiveBuffer(b.LimitBitsPerSecond(shape.Ingress)) {
		return
	}
	ep.ModerateRecvBuf(n)
}

// minReceiveBuffer keeps slow classes usable over long paths.
const minReceiveBuffer = 256 << 10

// ReceiveBuffer returns the size in bytes beyond which the receive buffer of a
// flow under a limit in bits per second is of no use: half of it is advertised,
// a window of 100 ms at the limit. A listener that was made with a larger one
// must not have it cut after the handshake: what the consumer sends by its
// leave would be dropped.
func ReceiveBuffer(bitsPerSecond int64) int64 {
	return max(bitsPerSecond/8/10*2, minReceiveBuffer)
}

// pumpKernel moves bytes out of the target's socket, each read straight into
// the view that gVisor sends from.
func (f *Flow) pumpKernel(w *worker) (o outcome, moved int) {
	d, fd := &f.egress, f.leg.fd
	held := 0
	for range chunksPerVisit {
		if held == 0 && f.targetHup {
			// Likely there is nothing but the end of the stream.
			if o := endOf(fd); o != moreLeft {
				return o, moved
			}
		}
		if held == 0 {
			var err error
			if held, err = readable(fd); err != nil {
				return sourceFailed, moved
			}
			if held == 0 {
				return sourceEmpty, moved
			}
		}
		granted := d.share.Take(min(held, chunk))
		if granted == 0 {
			return budgetSpent, moved
		}
		w.fill = fdPayload{fd: fd, left: granted}
		written, err := f.ep.Write(&w.fill, tcpip.WriteOptions{})
		n := int(written)
		d.share.Refund(granted - n)
		if err != nil {
			if w.fill.err != nil {
				return sourceFailed, moved
			}
			if _, full := err.(*tcpip.ErrWouldBlock); full && w.fill.read == 0 {
				return sinkFull, moved
			}
			return sinkFailed, moved
		}
		if n != w.fill.read {
			return lostBytes, moved
		}
		moved += n
		held -= n
		if held == 0 && !f.targetHup {
			// What arrives from now on raises a new edge.
			return sourceEmpty, moved
		}
	}
	return moreLeft, moved
}

// targetError looks at the target's side after an error event.
func (f *Flow) targetError() Reason {
	if f.leg.ep != nil {
		if stackDead(f.leg.ep, f.ingress.done) {
			return f.targetReason()
		}
		return ReasonNone
	}
	switch err := socketError(f.leg.fd); {
	case err == nil:
		return ReasonNone
	case errors.Is(err, unix.ETIMEDOUT), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH):
		return ReasonTargetTimeout
	default:
		return ReasonTargetReset
	}
}

func (f *Flow) consumerReason() Reason {
	if timedOut(f.ep.LastError()) {
		return ReasonConsumerTimeout
	}
	return ReasonConsumerReset
}

func (f *Flow) targetReason() Reason {
	if f.leg.ep != nil && timedOut(f.leg.ep.LastError()) {
		return ReasonTargetTimeout
	}
	return ReasonTargetReset
}
