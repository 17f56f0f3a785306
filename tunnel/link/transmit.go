package link

import (
	"os"

	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// enqueue queues a packet that the stack has sent, without taking over the caller's reference.
func (p *Port) enqueue(pkt *stack.PacketBuffer) {
	result, waited := p.queue.push(pkt.IncRef(), classOf(pkt))
	if waited {
		p.counters.out.waits.Add(1)
	}
	switch result {
	case pushFull:
		p.counters.out.drops[ReasonQueueFull].Add(segments(pkt))
		pkt.DecRef()
	case pushClosed: // the port's own counters are closed too
		p.link.unrouted.drops[ReasonDetached].Add(segments(pkt))
		pkt.DecRef()
	}
}

// segments returns how many packets pkt will be on the tunnel.
func segments(pkt *stack.PacketBuffer) uint64 {
	size, mss := pkt.Data().Size(), int(pkt.GSOOptions.MSS)
	if pkt.GSOOptions.Type != stack.GSOTCPv4 || mss == 0 || size <= mss {
		return 1
	}
	return uint64((size + mss - 1) / mss)
}

// read fills bufs with segments: it blocks for the first and then takes what is there.
func (p *Port) read(bufs [][]byte, sizes []int, offset int) (int, error) {
	p.readMu.Lock()
	defer p.readMu.Unlock()
	n, bytes := 0, 0
	for n < len(bufs) {
		if !p.cutter.more() {
			taken, open := p.queue.take(p.cutter.spare(), n == 0)
			if !open && n == 0 {
				return 0, os.ErrClosed
			}
			p.cutter.hold(taken)
			if len(taken) == 0 {
				break
			}
		}
		size, lost := p.cutter.cut(bufs[n][offset:])
		if lost > 0 {
			p.counters.out.drops[ReasonOversized].Add(lost)
			continue
		}
		sizes[n] = size
		bytes += size
		n++
	}
	p.counters.out.packets.Add(uint64(n))
	p.counters.out.bytes.Add(uint64(bytes))
	return n, nil
}
