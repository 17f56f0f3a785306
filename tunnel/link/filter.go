package link

// Filter judges what [Config.Admit] is not asked about: inbound, the packets that start nothing, which are TCP segments of
// connections; outbound, every packet, also those of the link itself. A super-packet of the stack is judged as one; nothing
// that is cut out of it differs in what a filter sees.
//
// Its methods are called concurrently, from tun.Write and from the stack, and must neither block nor allocate. A verdict
// that resets drops.
type Filter interface {
	Inbound(Packet) Verdict
	Outbound(Packet) Verdict
}

// filtering lets the filter, an interface, be swapped atomically.
type filtering struct{ Filter }

// SetFilter puts f in force; nil lets everything pass that Admit is not asked about, at no cost. Packets that are
// queued already are not judged again.
func (l *Link) SetFilter(f Filter) {
	if f == nil {
		l.filter.Store(nil)
		return
	}
	l.filter.Store(&filtering{f})
}

// outbound judges a packet by its headers. One that does not show its ports is dropped: no rule could be applied to it.
func (f *filtering) outbound(ip, transport []byte, port *Port) Verdict {
	p, ok := describe(ip, transport, port)
	if !ok {
		return Drop(ReasonTransportHeader)
	}
	return f.Outbound(p)
}
