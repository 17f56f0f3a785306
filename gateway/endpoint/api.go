package endpoint

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/waiter"

	"causeway/gateway/shape"
)

// FlowKey identifies a consumer's connection when a target is chosen.
type FlowKey struct {
	Consumer netip.AddrPort
	Exposure netip.AddrPort
}

// Target is a destination picked for a flow.
type Target struct {
	Addr netip.AddrPort
}

// Targets chooses the target of a flow and learns how the dial went.
// Implementations are safe for concurrent use and do not block.
type Targets interface {
	// Pick returns a target for f that is not in tried, or an error when
	// none is left.
	Pick(f FlowKey, tried []netip.AddrPort) (Target, error)
	// Report tells the outcome of a dial; err is nil when it succeeded.
	Report(t Target, err error)
}

// Guard has the last word on an address, at the moment it is dialled.
type Guard func(netip.Addr) error

// Leg is the target's side of a flow: a connection under way. Make one with
// KernelLeg or StackLeg.
type Leg struct{}

// KernelLeg wraps a non-blocking TCP socket on which connect was called. The
// engine owns fd from then on.
func KernelLeg(fd int) Leg { return Leg{} }

// StackLeg wraps a TCP endpoint on which Connect was called. The engine owns
// ep from then on. wq is the queue ep was made with.
func StackLeg(ep tcpip.Endpoint, wq *waiter.Queue) Leg { return Leg{} }

// Dialer starts connections. Start never blocks: it returns a connection that
// is established or under way, or an error when it could not even be started.
type Dialer interface {
	Start(to netip.AddrPort) (Leg, error)
}

// KernelDialer dials from the gateway host's own network.
type KernelDialer struct {
	// Source is the local address; the zero value lets the kernel choose.
	Source netip.Addr
}

// Start implements Dialer.
func (d KernelDialer) Start(to netip.AddrPort) (Leg, error) { return Leg{}, nil }

// StackDialer dials from a domain's stack.
type StackDialer struct {
	Stack *stack.Stack
	// Source is the local address; it must be assigned to NIC 1.
	Source netip.Addr
}

// Start implements Dialer.
func (d StackDialer) Start(to netip.AddrPort) (Leg, error) { return Leg{}, nil }

// DomainLimits bounds what a domain's consumers may hold. Zero values mean
// defaults; negative values mean no limit.
type DomainLimits struct {
	// Dials in flight for the whole domain. Default 1024.
	Dials int
	// DialsPerClient in flight for one consumer address. Default 2/3 of Dials.
	DialsPerClient int
	// Flows live at once. Default: no limit.
	Flows int
}

// Domain counts what the listeners of one routing domain have in flight.
type Domain struct{}

// NewDomain returns a domain to be shared by its listeners.
func NewDomain(name string, l DomainLimits) *Domain { return &Domain{} }

// ListenerConfig describes one exposure's port.
type ListenerConfig struct {
	// Endpoint is a TCP endpoint in the listening state and Queue the queue
	// it was made with. The listener owns them.
	Endpoint tcpip.Endpoint
	Queue    *waiter.Queue

	// Exposure is the address and port consumers connect to.
	Exposure netip.AddrPort
	// NetworkInterface is the uid of the network interface exposed.
	NetworkInterface string
	// EndpointName is the resource name of the endpoint.
	EndpointName string
	// Via is the uid of the peering or association the exposure came over;
	// empty in the endpoint's own VPC.
	Via string

	// Peer names the peer that owns a consumer's address; false refuses the
	// flow. Nil leaves the name empty. It must not block.
	Peer func(netip.Addr) (string, bool)
	// Admit may refuse a flow before a target is picked. Nil admits all. It
	// must not block.
	Admit func(FlowKey) error

	Domain  *Domain
	Targets Targets
	Dialer  Dialer
	Guard   Guard
	// Budget of the endpoint in the zone; nil is unlimited.
	Budget *shape.Budget
	// IdleTimeout after which a flow on which nothing moves is reset.
	// Default 350 s (NLB: 60-6000 s).
	IdleTimeout time.Duration
}

// Listener accepts the flows of one exposure's port.
type Listener struct{}

// Close stops accepting. When it returns, every flow that the listener
// accepted is known to CloseWhere. Live flows go on. Close is idempotent.
func (l *Listener) Close() error { return nil }

// Config makes an Engine. Zero values mean defaults.
type Config struct {
	Logger *slog.Logger
	// Workers that move bytes. Default GOMAXPROCS.
	Workers int
	// DialTimeout for a target when no other is left. Default 5 s.
	DialTimeout time.Duration
	// DialTimeoutRetry for a target while others remain. Default 2 s.
	DialTimeoutRetry time.Duration
	// Keepalive on both legs. Default 60 s idle, 15 s interval, 9 probes.
	KeepaliveIdle     time.Duration
	KeepaliveInterval time.Duration
	KeepaliveCount    int
	// SweepInterval between looks at each flow for idleness and keepalive,
	// and so the precision of IdleTimeout. Default 5 s.
	SweepInterval time.Duration
	// OnEnd, if not nil, is called once for every flow that ended and for
	// every flow refused, from a worker. It must not block.
	OnEnd func(Record)
}

// Engine relays flows. All methods are safe for concurrent use.
type Engine struct{}

// NewEngine returns an engine that does nothing until Run.
func NewEngine(cfg Config) (*Engine, error) { return &Engine{}, nil }

// Run relays until ctx is cancelled, then closes listeners, resets all flows
// and returns nil when they are gone.
func (e *Engine) Run(ctx context.Context) error { return nil }

// Listen starts accepting on a listening endpoint.
func (e *Engine) Listen(cfg ListenerConfig) (*Listener, error) { return &Listener{}, nil }

// CloseWhere resets both sides of every live flow that match selects, and
// returns how many those were. When it returns none of them relays any more.
func (e *Engine) CloseWhere(match func(*Flow) bool, why Reason) int { return 0 }

// Flows returns a record of every live flow.
func (e *Engine) Flows() []Record { return nil }

// Stats returns the engine's counters.
func (e *Engine) Stats() Stats { return Stats{} }

// Flow is a live flow, as shown to CloseWhere. Its methods are safe for
// concurrent use.
type Flow struct{}

// Record returns the flow's record as it stands.
func (f *Flow) Record() Record { return Record{} }

// Consumer returns the consumer's address and port.
func (f *Flow) Consumer() netip.AddrPort { return netip.AddrPort{} }

// Exposure returns the address and port the consumer connected to.
func (f *Flow) Exposure() netip.AddrPort { return netip.AddrPort{} }

// Target returns the target's address and port; zero while none is picked.
func (f *Flow) Target() netip.AddrPort { return netip.AddrPort{} }

// Peer returns the name of the peer that owns the consumer's address.
func (f *Flow) Peer() string { return "" }

// NetworkInterface returns the uid of the network interface.
func (f *Flow) NetworkInterface() string { return "" }

// EndpointName returns the resource name of the endpoint.
func (f *Flow) EndpointName() string { return "" }

// Via returns the uid of the peering the flow came over, or "".
func (f *Flow) Via() string { return "" }

// Listener returns the listener that accepted the flow.
func (f *Flow) Listener() *Listener { return nil }

// Domain returns the consumer's domain.
func (f *Flow) Domain() *Domain { return nil }

// Record is what is known of a flow: the content of a flow log line.
type Record struct {
	ID               uint64
	Domain           string
	Consumer         netip.AddrPort
	Exposure         netip.AddrPort
	Peer             string
	NetworkInterface string
	EndpointName     string
	Via              string
	// Target is zero when none was connected.
	Target netip.AddrPort
	// IngressBytes went from consumer to target, EgressBytes back.
	IngressBytes uint64
	EgressBytes  uint64
	Start        time.Time
	// End is zero and Reason is ReasonNone while the flow lives.
	End    time.Time
	Reason Reason
}

// Stats are an engine's counters since it was made.
type Stats struct {
	Active       int64
	Dialling     int64
	Opened       uint64
	Ended        [ReasonCount]uint64
	IngressBytes uint64
	EgressBytes  uint64
	DialsFailed  uint64
	// Interfaces holds the counters of each network interface that has a
	// listener or a flow, by uid.
	Interfaces map[string]InterfaceStats
}

// InterfaceStats are the counters of one network interface.
type InterfaceStats struct {
	Active       int64
	Opened       uint64
	Refused      uint64
	IngressBytes uint64
	EgressBytes  uint64
}
