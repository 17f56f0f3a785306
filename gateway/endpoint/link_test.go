package endpoint

import (
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// wire joins two stacks. Packets arrive in order after a delay: without one a
// round trip measures as zero, with which gVisor's flow control stalls
// (gvisor#6113).
type wire struct {
	mtu   uint32
	gso   bool
	delay time.Duration
	ends  [2]*wireEnd
}

func newWire(mtu uint32, gso bool, delay time.Duration) *wire {
	w := &wire{mtu: mtu, gso: gso, delay: delay}
	for i := range w.ends {
		w.ends[i] = &wireEnd{wire: w, wake: make(chan struct{}, 1), done: make(chan struct{})}
	}
	w.ends[0].peer, w.ends[1].peer = w.ends[1], w.ends[0]
	for _, e := range w.ends {
		e.running.Go(e.run)
	}
	return w
}

func (w *wire) close() {
	for _, e := range w.ends {
		e.stop.Do(func() { close(e.done) })
		e.running.Wait()
	}
}

type wirePacket struct {
	due      time.Time
	protocol tcpip.NetworkProtocolNumber
	pkt      *stack.PacketBuffer
}

// wireEnd is the stack.LinkEndpoint of one stack.
type wireEnd struct {
	wire    *wire
	peer    *wireEnd
	wake    chan struct{}
	done    chan struct{}
	stop    sync.Once
	running sync.WaitGroup

	mu         sync.Mutex
	queue      []wirePacket // to be delivered to the peer
	dispatcher stack.NetworkDispatcher
	cut        bool
	twice      bool
}

var (
	_ stack.LinkEndpoint = (*wireEnd)(nil)
	_ stack.GSOEndpoint  = (*wireEnd)(nil)
)

func (e *wireEnd) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	due := time.Now().Add(e.wire.delay)
	e.mu.Lock()
	for _, p := range pkts.AsSlice() {
		if e.cut {
			continue
		}
		e.queue = append(e.queue, wirePacket{due, p.NetworkProtocolNumber, p.IncRef()})
		if e.twice {
			e.queue = append(e.queue, wirePacket{due, p.NetworkProtocolNumber, p.IncRef()})
		}
	}
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
	return pkts.Len(), nil
}

// setCut makes packets from this end vanish, as a dead peer's do.
func (e *wireEnd) setCut(cut bool) {
	e.mu.Lock()
	e.cut = cut
	e.mu.Unlock()
}

// setTwice makes packets from this end arrive twice.
func (e *wireEnd) setTwice(twice bool) {
	e.mu.Lock()
	e.twice = twice
	e.mu.Unlock()
}

func (e *wireEnd) run() {
	var batch []wirePacket
	for {
		select {
		case <-e.done:
			for _, p := range e.queue {
				p.pkt.DecRef()
			}
			return
		case <-e.wake:
		}
		for {
			e.mu.Lock()
			batch, e.queue = e.queue, batch[:0]
			e.mu.Unlock()
			if len(batch) == 0 {
				break
			}
			e.peer.mu.Lock()
			dispatcher := e.peer.dispatcher
			e.peer.mu.Unlock()
			for _, p := range batch {
				if d := time.Until(p.due); d > 0 {
					<-time.After(d) // the wire's length, not a wait for something to happen
				}
				in := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: p.pkt.ToBuffer()})
				if dispatcher != nil {
					dispatcher.DeliverNetworkPacket(p.protocol, in)
				}
				in.DecRef()
				p.pkt.DecRef()
			}
		}
	}
}

func (e *wireEnd) Attach(d stack.NetworkDispatcher) {
	e.mu.Lock()
	e.dispatcher = d
	e.mu.Unlock()
}

func (e *wireEnd) IsAttached() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.dispatcher != nil
}

func (e *wireEnd) GSOMaxSize() uint32 { return 65535 }

func (e *wireEnd) SupportedGSO() stack.SupportedGSO {
	if e.wire.gso {
		return stack.HostGSOSupported
	}
	return stack.GSONotSupported
}

func (e *wireEnd) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityTXChecksumOffload | stack.CapabilityRXChecksumOffload
}

func (e *wireEnd) MTU() uint32                             { return e.wire.mtu }
func (e *wireEnd) SetMTU(uint32)                           {}
func (e *wireEnd) MaxHeaderLength() uint16                 { return 0 }
func (e *wireEnd) LinkAddress() tcpip.LinkAddress          { return "" }
func (e *wireEnd) SetLinkAddress(tcpip.LinkAddress)        {}
func (e *wireEnd) Wait()                                   {}
func (e *wireEnd) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }
func (e *wireEnd) AddHeader(*stack.PacketBuffer)           {}
func (e *wireEnd) ParseHeader(*stack.PacketBuffer) bool    { return true }
func (e *wireEnd) Close()                                  {}
func (e *wireEnd) SetOnCloseAction(func())                 {}
