package endpoint

import (
	"net/netip"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/waiter"

	"causeway/gateway/shape"
)

// phase is where a flow is in its life.
type phase uint8

const (
	judging phase = iota
	dialling
	relaying
	ended
)

// Flow is a live flow, as shown to CloseWhere. Its exported methods are safe
// for concurrent use.
type Flow struct {
	task
	engine   *Engine
	listener *Listener
	id       uint64
	peer     Peer
	consumer netip.AddrPort
	start    time.Time
	target   atomic.Pointer[Target] // set once connected
	judged   atomic.Pointer[judged] // nil until the policy was asked

	// Bytes moved: consumer to target, and back.
	ingressBytes, egressBytes atomic.Uint64
	// ending holds the Reason given by CloseWhere.
	ending atomic.Uint32

	// What follows belongs to the worker that runs the flow.
	phase   phase
	ingress direction
	egress  direction
	dial    *dialState // until it is connected
	unread  *unread    // while the policy waits for the consumer's first bytes

	ep    tcpip.Endpoint // the consumer's side
	wq    *waiter.Queue
	entry waiter.Entry

	leg       Leg // the target's side
	slot      uint32
	legEntry  *waiter.Entry // when the leg is a gVisor endpoint
	targetHup bool          // the socket said that no more will come
	// terminator is there when the listener ends TLS. It has the target's
	// connection then, and the leg leads to it.
	terminator *terminator

	idle    idleState // belongs to the sweeper
	index   int32     // in the registry, guarded by its lock
	dialPos int32     // among the dials, guarded by the lock of those
	dialDue atomic.Int64
}

// direction is one way of a flow's bytes.
type direction struct {
	share   shape.Share
	done    bool // the end of the stream has been passed on
	blocked bool // the receiving side takes no more at the moment
	waited  bool // the budget made the flow wait since the last chunk
}

// NotifyEvent implements waiter.EventListener for the consumer's side; gVisor
// calls it with locks held.
func (f *Flow) NotifyEvent(mask waiter.EventMask) {
	var events uint32
	if mask&waiter.ReadableEvents != 0 {
		events |= evConsumerReadable
	}
	if mask&waiter.WritableEvents != 0 {
		events |= evConsumerWritable
	}
	if mask&(waiter.EventHUp|waiter.EventErr) != 0 {
		events |= evConsumerHup
	}
	f.kick(&f.engine.queue, events)
}

// stackTarget is the listener of a target's side that is a gVisor endpoint.
type stackTarget Flow

// NotifyEvent implements waiter.EventListener.
func (t *stackTarget) NotifyEvent(mask waiter.EventMask) {
	var events uint32
	if mask&waiter.ReadableEvents != 0 {
		events |= evTargetReadable
	}
	if mask&waiter.WritableEvents != 0 {
		events |= evTargetWritable
	}
	if mask&(waiter.EventHUp|waiter.EventErr) != 0 {
		events |= evTargetError
	}
	(*Flow)(t).kick(&t.engine.queue, events)
}

// Ready implements shape.Waker.
func (f *Flow) Ready(d shape.Direction) {
	if d == shape.Ingress {
		f.kick(&f.engine.queue, evBudgetIngress)
		return
	}
	f.kick(&f.engine.queue, evBudgetEgress)
}

// run implements runnable.
func (f *Flow) run(events uint32, w *worker) (again uint32) {
	if f.phase == ended {
		return 0
	}
	if events&evEnd != 0 {
		f.end(Reason(f.ending.Load()))
		return 0
	}
	if f.phase < relaying {
		if !f.dialStep(events, w) {
			return 0
		}
		// Connected: the consumer may have sent, and closed, meanwhile. So may
		// a target in a stack; a socket that has raises an edge.
		events |= evConsumerReadable
		if f.leg.ep != nil {
			events |= evTargetReadable
		}
	}
	if events&evProbe != 0 {
		f.probe()
	}
	if events&evLasts != 0 {
		if f.unread != nil {
			f.unread.late = true
			events |= evConsumerReadable
		}
		if err := f.probeTarget(); err != nil {
			f.end(f.targetReason())
			return 0
		}
	}
	return f.relay(events, w)
}

// ID returns the flow's number, unique in the engine's life.
func (f *Flow) ID() uint64 { return f.id }

// Consumer returns the consumer's address and port.
func (f *Flow) Consumer() netip.AddrPort { return f.consumer }

// Exposure returns the address and port the consumer connected to.
func (f *Flow) Exposure() netip.AddrPort { return f.listener.cfg.Exposure }

// Target returns the target's address and port; zero until it is connected.
func (f *Flow) Target() netip.AddrPort {
	if t := f.target.Load(); t != nil {
		return t.Addr
	}
	return netip.AddrPort{}
}

// TargetGroup returns the name of the target's group; empty until it is
// connected.
func (f *Flow) TargetGroup() string {
	if t := f.target.Load(); t != nil {
		return t.Group
	}
	return ""
}

// Peer returns the name of the peer that owns the consumer's address.
func (f *Flow) Peer() string { return f.peer.Name }

// NetworkInterface returns the uid of the network interface.
func (f *Flow) NetworkInterface() string { return f.listener.cfg.NetworkInterface }

// EndpointName returns the resource name of the endpoint.
func (f *Flow) EndpointName() string { return f.listener.cfg.EndpointName }

// Via returns the uid of the peering the flow came over, or "".
func (f *Flow) Via() string { return f.listener.cfg.Via }

// Listener returns the listener that accepted the flow.
func (f *Flow) Listener() *Listener { return f.listener }

// Domain returns the consumer's domain.
func (f *Flow) Domain() *Domain { return f.listener.cfg.Domain }

// key identifies the flow's connection.
func (f *Flow) key() FlowKey {
	return FlowKey{Consumer: f.consumer, Exposure: f.Exposure(), ID: f.id}
}

// Record returns the flow's record as it stands.
func (f *Flow) Record() Record {
	j := f.judged.Load()
	if j == nil {
		j = withoutPolicy
	}
	return Record{
		ID:               f.id,
		Domain:           f.listener.cfg.Domain.name,
		Consumer:         f.consumer,
		Exposure:         f.Exposure(),
		Peer:             f.peer.Name,
		NetworkInterface: f.NetworkInterface(),
		EndpointName:     f.EndpointName(),
		EndpointUID:      f.listener.cfg.EndpointUID,
		Service:          f.listener.cfg.Service,
		Zone:             f.listener.cfg.Zone,
		Via:              f.Via(),
		Statement:        j.Statement,
		Denied:           j.Denied,
		DryRun:           j.DryRun,
		ServerName:       j.hello.ServerName,
		Target:           f.Target(),
		TargetGroup:      f.TargetGroup(),
		IngressBytes:     f.ingressBytes.Load(),
		EgressBytes:      f.egressBytes.Load(),
		Start:            f.start,
	}
}

// Record is what is known of a flow: the content of a flow log line.
type Record struct {
	ID               uint64
	Domain           string
	Consumer         netip.AddrPort
	Exposure         netip.AddrPort
	Peer             string
	NetworkInterface string
	EndpointName     string
	EndpointUID      string
	Service          string
	// Zone is the network interface's.
	Zone string
	Via  string
	// Statement is what in the endpoint policy decided: the Sid, or "#" and the
	// statement's number from 1, or "implicit-deny"; empty without a policy.
	Statement string
	// Denied tells that the policy denies the flow, and DryRun that the policy
	// is not enforced.
	Denied, DryRun bool
	// ServerName is that of the consumer's ClientHello, where the policy depends
	// on it.
	ServerName string
	// Target is zero when none was connected, and TargetGroup empty.
	Target      netip.AddrPort
	TargetGroup string
	// IngressBytes went from consumer to target, EgressBytes back.
	IngressBytes uint64
	EgressBytes  uint64
	Start        time.Time
	// End is zero and Reason is ReasonNone while the flow lives.
	End    time.Time
	Reason Reason
}
