package link

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// endpoint is the stack.LinkEndpoint of a Link.
type endpoint struct{ link *Link }

var (
	_ stack.LinkEndpoint = (*endpoint)(nil)
	_ stack.GSOEndpoint  = (*endpoint)(nil)
)

// gsoMaxSize is the largest IPv4 packet; the stack hands over segments of up to this size and the link cuts them.
const gsoMaxSize = 65535

func (e *endpoint) MTU() uint32                           { return e.link.mtu.Load() }
func (e *endpoint) SetMTU(mtu uint32)                     { e.link.mtu.Store(mtu) }
func (*endpoint) MaxHeaderLength() uint16                 { return 0 }
func (*endpoint) LinkAddress() tcpip.LinkAddress          { return "" }
func (*endpoint) SetLinkAddress(tcpip.LinkAddress)        {}
func (*endpoint) Wait()                                   {}
func (*endpoint) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }
func (*endpoint) AddHeader(*stack.PacketBuffer)           {}
func (*endpoint) ParseHeader(*stack.PacketBuffer) bool    { return true }
func (*endpoint) SetOnCloseAction(func())                 {}
func (*endpoint) SupportedGSO() stack.SupportedGSO        { return stack.HostGSOSupported }
func (*endpoint) GSOMaxSize() uint32                      { return gsoMaxSize }
func (e *endpoint) IsAttached() bool                      { return e.link.stack.Load() != nil }

// Capabilities tells the stack not to verify checksums again: receive has done so for every packet.
func (*endpoint) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityRXChecksumOffload
}

func (e *endpoint) Attach(d stack.NetworkDispatcher) {
	if d == nil {
		e.link.stack.Store(nil)
		return
	}
	e.link.stack.Store(&attachment{d})
}

// Close is called when the stack removes the interface. The ports belong to the WireGuard devices and stay, without a
// stack, until those close them.
func (e *endpoint) Close() { e.link.stack.Store(nil) }

// WritePackets queues each packet on the port that holds its destination. A packet that is dropped counts as
// written, as on a wire: TCP recovers from the loss, and an error would only make the stack try in vain.
func (e *endpoint) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	routes := e.link.routes.Load()
	for _, pkt := range pkts.AsSlice() {
		e.link.send(routes, pkt)
	}
	return pkts.Len(), nil
}

func (l *Link) send(routes *routeTable, pkt *stack.PacketBuffer) {
	hdr := pkt.NetworkHeader().Slice()
	if len(hdr) < header.IPv4MinimumSize || pkt.NetworkProtocolNumber != header.IPv4ProtocolNumber {
		l.unrouted.drops[ReasonNotIPv4].Add(1)
		return
	}
	r := routes.lookup(binary.BigEndian.Uint32(hdr[16:20]))
	if r == nil {
		l.unrouted.drops[ReasonNoRoute].Add(segments(pkt))
		return
	}
	port := r.active()
	if f := l.filter.Load(); f != nil {
		if v := f.outbound(hdr, pkt.TransportHeader().Slice(), port); !v.Accepted() {
			l.unrouted.drops[v.Reason()].Add(segments(pkt))
			return
		}
	}
	port.enqueue(pkt)
}
