package endpoint

import (
	"net/netip"
	"sync"
)

// Defaults of DomainLimits. A limit in the tens makes gateways drop all
// connections when a few targets are black holes (tailscale#8210,
// gvisor-tap-vsock#676).
const (
	DefaultDials = 1024
	// A single client gets two thirds (tailscale#11258).
	defaultClientNumerator, defaultClientDenominator = 2, 3
)

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

// Domain counts what the listeners of one routing domain have in flight. It is
// safe for concurrent use.
type Domain struct {
	name   string
	limits DomainLimits

	mu      sync.Mutex
	flows   int
	dials   int
	clients map[netip.Addr]int // dials in flight; none without any
}

// NewDomain returns a domain to be shared by its listeners. Its name appears
// in records.
func NewDomain(name string, l DomainLimits) *Domain {
	if l.Dials == 0 {
		l.Dials = DefaultDials
	}
	if l.DialsPerClient == 0 {
		l.DialsPerClient = l.Dials * defaultClientNumerator / defaultClientDenominator
	}
	return &Domain{name: name, limits: l, clients: make(map[netip.Addr]int)}
}

// Name returns the domain's name.
func (d *Domain) Name() string { return d.name }

// DomainUsage is what a domain's consumers hold at a moment.
type DomainUsage struct {
	Flows, Dials, DialingClients int
}

// Usage returns what is held now.
func (d *Domain) Usage() DomainUsage {
	d.mu.Lock()
	defer d.mu.Unlock()
	return DomainUsage{Flows: d.flows, Dials: d.dials, DialingClients: len(d.clients)}
}

// enter admits a flow that is about to dial, or says why not.
func (d *Domain) enter(client netip.Addr) Reason {
	d.mu.Lock()
	defer d.mu.Unlock()
	if why := d.refuses(client); why != ReasonNone {
		return why
	}
	d.flows++
	d.dials++
	d.clients[client]++
	return ReasonNone
}

// Refuses tells why a flow of a client would be refused now, or ReasonNone.
func (d *Domain) Refuses(client netip.Addr) Reason {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.refuses(client)
}

// refuses is called with mu held.
func (d *Domain) refuses(client netip.Addr) Reason {
	switch {
	case d.limits.Flows > 0 && d.flows >= d.limits.Flows:
		return ReasonRefusedDomainFlows
	case d.limits.Dials >= 0 && d.dials >= d.limits.Dials:
		return ReasonRefusedDomainDials
	case d.limits.DialsPerClient >= 0 && d.clients[client] >= d.limits.DialsPerClient:
		return ReasonRefusedClientDials
	}
	return ReasonNone
}

// dialled notes that a flow admitted by enter no longer dials.
func (d *Domain) dialled(client netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dials--
	if n := d.clients[client]; n > 1 {
		d.clients[client] = n - 1
	} else {
		delete(d.clients, client)
	}
}

// leave notes the end of a flow admitted by enter, which no longer dials.
func (d *Domain) leave() {
	d.mu.Lock()
	d.flows--
	d.mu.Unlock()
}
