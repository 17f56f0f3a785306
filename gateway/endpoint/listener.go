package endpoint

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/waiter"

	"causeway/gateway/shape"
)

// DefaultIdleTimeout is that of AWS Network Load Balancers for TCP, where it
// may be set from 60 to 6000 s ("Connection idle timeout" in the NLB guide).
const DefaultIdleTimeout = 350 * time.Second

// ListenerConfig describes one exposure's port.
type ListenerConfig struct {
	// Endpoint is a TCP endpoint in the listening state and Queue the queue
	// it was made with. The listener owns them from a successful Listen on.
	// Without SO_REUSEADDR set before it was bound, the port cannot be
	// listened on again while flows accepted from it live.
	Endpoint tcpip.Endpoint
	Queue    *waiter.Queue

	// Exposure is the address and port consumers connect to.
	Exposure netip.AddrPort
	// NetworkInterface is the uid of the network interface exposed.
	NetworkInterface string
	// EndpointName is the resource name of the endpoint, EndpointUID its uid
	// and Service the resource name of the endpoint service.
	EndpointName, EndpointUID, Service string
	// Zone is the network interface's; it is only recorded.
	Zone string
	// Via is the uid of the peering or association the exposure came over;
	// empty in the endpoint's own VPC.
	Via string

	// Peer tells the peer that owns a consumer's address; false refuses the
	// flow. Nil leaves it empty. It must not block.
	Peer func(netip.Addr) (Peer, bool)
	// Admit may refuse a flow before a target is picked. Nil admits all. It
	// must not block.
	Admit func(FlowKey) error

	// Policy judges a flow by the endpoint policy: before a target is picked,
	// with the consumer's first bytes if it needs them, and again when Denied is
	// asked. Nil lets all flows be. It must not block.
	Policy func(FlowKey, Peer, Hello) Judgement

	// Domain the exposure is in. Required, as are Targets, Dialer and Guard.
	Domain  *Domain
	Targets Targets
	Dialer  Dialer
	Guard   Guard
	// TLS gives the settings to end a consumer's TLS with: targets get the
	// plain bytes. It is asked for every connection; nil settings refuse it.
	// Nil relays all bytes as they are. It must not block.
	TLS func() *tls.Config
	// Preface appends to b what a target is sent before the consumer's first
	// byte. It is asked once for every connection to a target; an error fails
	// that target. Nil, or nothing appended, sends nothing. It must not block.
	Preface func(b []byte, f FlowKey, p Peer) ([]byte, error)
	// Budget of the endpoint in the zone; nil is unlimited.
	Budget *shape.Budget
	// IdleTimeout after which a flow on which nothing moves is reset. Bytes
	// either way and keepalive segments of the consumer count as movement;
	// keepalive segments of the target do not. The reset comes at most two
	// sweep intervals late. Default 350 s.
	IdleTimeout time.Duration
}

func (c *ListenerConfig) check() error {
	switch {
	case c.Endpoint == nil || c.Queue == nil:
		return errors.New("no listening endpoint")
	case !c.Exposure.IsValid():
		return errors.New("no exposure address")
	case c.Domain == nil:
		return errors.New("no domain")
	case c.Targets == nil:
		return errors.New("no targets")
	case c.Dialer == nil:
		return errors.New("no dialer")
	case c.Guard == nil:
		return errors.New("no guard")
	case c.IdleTimeout < 0:
		return fmt.Errorf("idle timeout of %v", c.IdleTimeout)
	}
	return nil
}

// Listener accepts the flows of one exposure's port. Its methods are safe for
// concurrent use.
type Listener struct {
	task
	engine *Engine
	cfg    ListenerConfig
	iface  *ifaceCounters
	entry  waiter.Entry

	mu     sync.Mutex // held while accepting, so that Close waits for it
	closed bool
}

// Listen starts accepting on a listening endpoint. Nothing is accepted before
// Run. The error is ErrClosed after the engine closed.
func (e *Engine) Listen(cfg ListenerConfig) (*Listener, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("listen on %v: %w", cfg.Exposure, err)
	}
	if cfg.IdleTimeout == 0 {
		cfg.IdleTimeout = DefaultIdleTimeout
	}
	l := &Listener{engine: e, cfg: cfg}
	l.owner = l
	l.entry.Init(l, waiter.ReadableEvents)
	if err := e.addListener(l); err != nil {
		return nil, fmt.Errorf("listen on %v: %w", cfg.Exposure, err)
	}
	cfg.Queue.EventRegister(&l.entry)
	// Connections may be waiting since before.
	l.kick(&e.queue, evConsumerReadable)
	return l, nil
}

// Exposure returns the address and port that the listener accepts on.
func (l *Listener) Exposure() netip.AddrPort { return l.cfg.Exposure }

// Dialer returns what connects the listener's flows to targets, also when it is
// closed.
func (l *Listener) Dialer() Dialer { return l.cfg.Dialer }

// NotifyEvent implements waiter.EventListener; gVisor calls it.
func (l *Listener) NotifyEvent(waiter.EventMask) { l.kick(&l.engine.queue, evConsumerReadable) }

// acceptBatch is how many connections are accepted before other tasks run.
const acceptBatch = 64

// run accepts a batch.
func (l *Listener) run(uint32, *worker) (again uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0
	}
	for range acceptBatch {
		var from tcpip.FullAddress
		ep, wq, err := l.cfg.Endpoint.Accept(&from)
		if err != nil {
			return 0
		}
		l.engine.accepted(l, ep, wq, addrPort(from))
	}
	return evConsumerReadable
}

func addrPort(a tcpip.FullAddress) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(a.Addr.AsSlice())
	return netip.AddrPortFrom(addr.Unmap(), a.Port)
}

// Close stops accepting and resets connections not accepted yet. When it
// returns, every flow that the listener accepted is known to CloseWhere. Live
// flows go on. Close is idempotent. It must not be called from the functions
// of the listener's configuration.
func (l *Listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	l.cfg.Queue.EventUnregister(&l.entry)
	l.cfg.Endpoint.Close()
	l.engine.removeListener(l)
	return nil
}
