package link

import "sync/atomic"

// Counters is a snapshot of what passed a [Port] or a [Link]. A packet counts as it was on the tunnel: one per IP packet,
// before coalescing inbound and after cutting outbound; bytes include the IP header.
//
// When no packet is in flight, InPackets = DeliveredPackets + sum of InDrops, and the packets that the stack sent =
// OutPackets + sum of OutDrops + those still queued.
type Counters struct {
	// InPackets and InBytes were handed over by WireGuard devices.
	InPackets, InBytes uint64
	// DeliveredPackets and DeliveredBytes were passed on to the stack.
	DeliveredPackets, DeliveredBytes uint64
	// OutPackets and OutBytes were handed to WireGuard devices.
	OutPackets, OutBytes uint64
	// Resets were sent by the link itself for a [Reset] verdict.
	Resets uint64
	// Waits counts how often the stack waited for room in a queue.
	Waits uint64
	// InDrops and OutDrops count dropped packets, indexed by [Reason].
	InDrops, OutDrops [NumReasons]uint64
}

func (c *Counters) add(o Counters) {
	c.InPackets += o.InPackets
	c.InBytes += o.InBytes
	c.DeliveredPackets += o.DeliveredPackets
	c.DeliveredBytes += o.DeliveredBytes
	c.OutPackets += o.OutPackets
	c.OutBytes += o.OutBytes
	c.Resets += o.Resets
	c.Waits += o.Waits
	for i := range c.InDrops {
		c.InDrops[i] += o.InDrops[i]
		c.OutDrops[i] += o.OutDrops[i]
	}
}

// inCounters are written by the device's receive goroutines, outCounters by its reader and the stack; the padding keeps
// the two directions off each other's cache lines.
type portCounters struct {
	in  inCounters
	_   [64]byte
	out outCounters
	_   [64]byte
}

type inCounters struct {
	packets, bytes, delivered, deliveredBytes, resets atomic.Uint64
	drops                                             [NumReasons]atomic.Uint64
}

type outCounters struct {
	packets, bytes, waits atomic.Uint64
	drops                 [NumReasons]atomic.Uint64
}

func (c *portCounters) snapshot() Counters {
	s := Counters{
		InPackets: c.in.packets.Load(), InBytes: c.in.bytes.Load(),
		DeliveredPackets: c.in.delivered.Load(), DeliveredBytes: c.in.deliveredBytes.Load(),
		OutPackets: c.out.packets.Load(), OutBytes: c.out.bytes.Load(),
		Resets: c.in.resets.Load(), Waits: c.out.waits.Load(),
	}
	for i := range s.InDrops {
		s.InDrops[i] = c.in.drops[i].Load()
		s.OutDrops[i] = c.out.drops[i].Load()
	}
	return s
}
