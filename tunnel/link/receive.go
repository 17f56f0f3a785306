package link

import (
	"os"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// inbound is the state of one tun.Write. It is never shared between two, which would mix up their runs (tailscale#13138).
type inbound struct {
	port   *Port
	stack  stack.NetworkDispatcher // nil: detached
	routes *routeTable
	source uint32 // of the last packet, whose route was told
	filter *filtering

	judged  flow // what the filter was asked about last
	verdict Verdict
	runs    coalescer

	packets, bytes, delivered, deliveredBytes uint64
}

var inboundPool = sync.Pool{New: func() any { return new(inbound) }}

// receive takes a batch of decrypted packets from the device. It never blocks: every peer of the device would wait
// for it. The buffers are the caller's again when it returns.
func (p *Port) receive(bufs [][]byte, offset int) (int, error) {
	p.life.RLock()
	defer p.life.RUnlock()
	if p.closed {
		return 0, os.ErrClosed
	}
	in := inboundPool.Get().(*inbound)
	in.port, in.routes, in.filter = p, p.link.routes.Load(), p.link.filter.Load()
	if a := p.link.stack.Load(); a != nil {
		in.stack = a.NetworkDispatcher
	}
	for _, buf := range bufs {
		in.packet(buf[offset:])
	}
	in.runs.flush(in.stack)

	c := &p.counters.in
	c.packets.Add(in.packets)
	c.bytes.Add(in.bytes)
	c.delivered.Add(in.delivered)
	c.deliveredBytes.Add(in.deliveredBytes)
	in.port, in.stack, in.routes, in.source = nil, nil, nil, 0
	in.filter, in.judged = nil, flow{}
	in.packets, in.bytes, in.delivered, in.deliveredBytes = 0, 0, 0, 0
	inboundPool.Put(in)
	return len(bufs), nil
}

// packet checks one packet and either delivers it, if need be later, or counts why not.
func (in *inbound) packet(data []byte) {
	in.packets++
	in.bytes += uint64(len(data))
	p, why, ok := parseIP(data)
	if !ok {
		in.drop(why)
		if why == ReasonOversized {
			in.port.tooBig(&p)
		}
		return
	}
	in.sentBy(p.source())
	if why, ok := p.parseTransport(); !ok {
		in.drop(why)
		return
	}
	if p.starts() {
		if !in.admitted(&p) {
			return
		}
	} else if in.filter != nil && !in.passes(&p) {
		return
	}
	if in.stack == nil {
		in.drop(ReasonDetached)
		return
	}
	in.delivered++
	in.deliveredBytes += uint64(len(data))
	in.runs.add(&p, in.stack)
}

func (in *inbound) drop(why Reason) { in.port.counters.in.drops[why].Add(1) }

// sentBy tells the source's route that it is heard on this port.
func (in *inbound) sentBy(source uint32) {
	if source == in.source {
		return
	}
	in.source = source
	if r := in.routes.lookup(source); r != nil {
		r.sentBy(in.port)
	}
}

// passes asks the filter about a TCP segment that starts nothing. Segments of one flow that follow each other share a
// verdict: what the filter looks at is the same.
func (in *inbound) passes(p *parsed) bool {
	if f := flowOf(p); f != in.judged {
		in.judged, in.verdict = f, in.filter.Inbound(p.describe(in.port))
	}
	if in.verdict.Accepted() {
		return true
	}
	in.drop(in.verdict.Reason())
	return false
}

// admitted asks for the verdict and carries it out. This is the one place that decides about UDP as well as TCP.
func (in *inbound) admitted(p *parsed) bool {
	admit := in.port.link.cfg.Admit
	if admit == nil {
		in.drop(ReasonRefused)
		return false
	}
	v := admit(p.describe(in.port))
	if v.Accepted() {
		return true
	}
	in.drop(v.Reason())
	if v.Resets() && p.protocol == ProtocolTCP {
		in.port.reset(p)
	}
	return false
}
