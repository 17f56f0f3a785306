package link

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/time/rate"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Link joins the WireGuard devices of one domain to one gVisor network interface. All methods are safe for concurrent use.
type Link struct {
	cfg      Config
	mtu      atomic.Uint32
	endpoint endpoint
	stack    atomic.Pointer[attachment]
	routes   atomic.Pointer[routeTable]
	filter   atomic.Pointer[filtering]
	unrouted outCounters // of packets that reached no port
	tooBig   *rate.Limiter

	mu      sync.Mutex // guards what follows, and SetRoutes against itself
	ports   []*Port
	retired Counters // of ports that are closed
	closed  bool
}

// attachment lets the dispatcher, an interface, be swapped atomically.
type attachment struct{ stack.NetworkDispatcher }

// New returns a Link without ports and routes. It starts no goroutine.
func New(cfg Config) (*Link, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	l := &Link{cfg: cfg, tooBig: rate.NewLimiter(tooBigPerSecond, tooBigPerSecond)}
	l.mtu.Store(uint32(cfg.MTU))
	l.endpoint.link = l
	l.routes.Store(newRouteTable(nil, nil))
	return l, nil
}

// Endpoint returns the link's side towards gVisor, for stack.CreateNIC. It is the same on every call. It also implements
// stack.GSOEndpoint.
func (l *Link) Endpoint() stack.LinkEndpoint { return &l.endpoint }

// NewPort adds a port for one WireGuard device. The name appears in tun.Device.Name and need not be unique. On a closed
// Link the port is closed from the start.
func (l *Link) NewPort(name string) *Port {
	p := newPort(l, name)
	l.mu.Lock()
	if !l.closed {
		l.ports = append(l.ports, p)
		l.mu.Unlock()
		return p
	}
	l.mu.Unlock()
	p.shut()
	return p
}

// Route says which ports hold a prefix.
type Route struct {
	// Prefix is an IPv4 destination prefix; host bits are ignored.
	Prefix netip.Prefix
	// Ports hold the prefix. With more than one, traffic leaves by the port from which the prefix last sent authenticated
	// traffic, and by the first until it has.
	Ports []*Port
}

// SetRoutes replaces all outbound routes in one step: a packet sees either the old or the new ones. The active port of a
// prefix survives if it is among the prefix's ports in routes too. If a prefix is named twice, the ports are joined.
// Routes without ports and prefixes that are not IPv4 are ignored.
func (l *Link) SetRoutes(routes []Route) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.routes.Store(newRouteTable(routes, l.routes.Load()))
}

// ActivePort returns the port that traffic to addr leaves by at this moment, or nil if no route holds it.
func (l *Link) ActivePort(addr netip.Addr) *Port {
	key, ok := addressKey(addr)
	if !ok {
		return nil
	}
	r := l.routes.Load().lookup(key)
	if r == nil {
		return nil
	}
	return r.active()
}

// Counters returns the sums over all ports that the link has or had.
func (l *Link) Counters() Counters {
	l.mu.Lock()
	defer l.mu.Unlock()
	sum := l.retired
	for i := range sum.OutDrops {
		sum.OutDrops[i] += l.unrouted.drops[i].Load()
	}
	for _, p := range l.ports {
		sum.add(p.Counters())
	}
	return sum
}

// Close closes all ports, which ends their WireGuard devices, and releases every queued packet. Close the devices
// and the stack first for an orderly end. It is idempotent.
func (l *Link) Close() {
	l.mu.Lock()
	l.closed = true
	ports := slices.Clone(l.ports)
	l.mu.Unlock()
	for _, p := range ports {
		p.close()
	}
}

// retire moves the counters of a closed port to the link, which keeps sums monotonic and lets the port go.
func (l *Link) retire(p *Port) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.ports, p); i >= 0 {
		l.ports = slices.Delete(l.ports, i, i+1)
		l.retired.add(p.Counters())
	}
}
