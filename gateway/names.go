package gateway

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"causeway/gateway/spec"
)

const (
	// probeNames is how many names are probed at one time, and probeFor how long a probe may take.
	probeNames = 16
	probeFor   = 5 * time.Second
	// lookAtNames is how often names are looked at when nothing is known to have changed.
	lookAtNames = 2 * time.Second
)

// Why a probed name is not answered.
const (
	notProbed  = "no connection through the endpoint has been tried yet"
	notHealthy = "no network interface of the endpoint has a healthy target"
)

// nameKey identifies a name that is answered only after a probe.
type nameKey struct{ domain, name, endpoint string }

// probedName is such a name. It hides a public one, so it is put into the domain only when a connection through the endpoint
// succeeded, and taken out as soon as no interface has a healthy target.
type probedName struct {
	services atomic.Pointer[[]*service]
	// published is set by a probe that succeeded.
	published atomic.Bool
	// trusted is set for a name that was published before the gateway restarted: it stays so until health checks have
	// an opinion, for consumers must not be sent elsewhere by a restart.
	trusted atomic.Bool

	// The rest is guarded by probedNames.mu.
	reason  string
	probing bool
	again   time.Time
}

// answered is asked for every question about the name.
func (n *probedName) answered() bool {
	return n.published.Load() && (n.healthy() || n.trusted.Load() && slices.ContainsFunc(*n.services.Load(), (*service).undecided))
}

func (n *probedName) healthy() bool {
	return slices.ContainsFunc(*n.services.Load(), (*service).healthy)
}

// probedNames are all of a gateway.
type probedNames struct {
	file string // keeps those that are published
	kept []byte // what the file has; watchNames' own
	wake chan struct{}

	mu    sync.Mutex
	names map[nameKey]*probedName
	// before are those that were published when the gateway last ran.
	before map[nameKey]bool
}

func newProbedNames(file string) *probedNames {
	return &probedNames{file: file, wake: make(chan struct{}, 1), names: map[nameKey]*probedName{}, before: map[nameKey]bool{}}
}

// look lets the names be looked at.
func (p *probedNames) look() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// name finds or makes a name.
func (p *probedNames) name(k nameKey) *probedName {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.names[k]
	if n == nil {
		n = &probedName{reason: notProbed}
		n.services.Store(&[]*service{})
		if p.before[k] {
			n.published.Store(true)
			n.trusted.Store(true)
		}
		p.names[k] = n
	}
	return n
}

// applyNames makes the probed names of a spec those that are watched, with their services.
func (g *Gateway) applyNames(s *spec.Gateway, x *index) {
	keep := map[nameKey]bool{}
	for i := range s.Domains {
		d := &s.Domains[i]
		if d.Resolver == nil {
			continue
		}
		for _, n := range d.Resolver.Names {
			if !n.Probed {
				continue
			}
			k := nameKey{d.Name, n.Name, n.Endpoint}
			keep[k] = true
			services := []*service{}
			for _, uid := range n.Interfaces {
				services = append(services, g.servicesOf(x.interfaces[uid])...)
			}
			g.probed.name(k).services.Store(&services)
		}
	}
	g.probed.mu.Lock()
	for k := range g.probed.names {
		if !keep[k] {
			delete(g.probed.names, k)
		}
	}
	clear(g.probed.before) // whatever comes from now on is new
	g.probed.mu.Unlock()
	g.probed.look()
}

// watchNames publishes and withdraws names until ctx ends.
func (g *Gateway) watchNames(ctx context.Context) error {
	tick := time.NewTicker(lookAtNames)
	defer tick.Stop()
	var probes sync.WaitGroup
	defer probes.Wait()
	slots := make(chan struct{}, probeNames)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.probed.wake:
		case <-tick.C:
		}
		due, withdrawn := g.probed.due(time.Now())
		for _, k := range withdrawn {
			g.log.Warn("private name is withdrawn", "name", k.name, "domain", k.domain, "endpoint", k.endpoint, "reason", notHealthy)
			g.notify()
		}
		for k, n := range due {
			probes.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				g.probeName(ctx, k, n)
			})
		}
		g.keepNames()
	}
}

// due withdraws what cannot be answered any more, and returns that and the names that a probe may publish.
func (p *probedNames) due(now time.Time) (due map[nameKey]*probedName, withdrawn []nameKey) {
	due = map[nameKey]*probedName{}
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, n := range p.names {
		switch {
		case n.healthy():
			n.trusted.Store(false)
			if !n.published.Load() && !n.probing && !now.Before(n.again) {
				n.probing = true
				due[k] = n
			}
		case n.published.Load() && !n.answered():
			n.published.Store(false)
			n.trusted.Store(false)
			n.reason = notHealthy
			withdrawn = append(withdrawn, k)
		case !n.published.Load():
			n.reason = notHealthy
		}
	}
	return due, withdrawn
}

// probeName connects to a target through the endpoint's own path, and publishes the name if it succeeds.
func (g *Gateway) probeName(ctx context.Context, k nameKey, n *probedName) {
	ctx, cancel := context.WithTimeout(ctx, probeFor)
	defer cancel()
	err := errNoTarget
	for _, s := range *n.services.Load() {
		if s.healthy() {
			if err = s.connect(ctx); err == nil {
				break
			}
		}
	}
	g.probed.mu.Lock()
	n.probing = false
	if err != nil {
		n.reason, n.again = "a connection through the endpoint failed: "+err.Error(), time.Now().Add(retryAfter)
	} else {
		n.reason = ""
		n.published.Store(true)
	}
	g.probed.mu.Unlock()
	if err == nil {
		g.log.Info("private name is published", "name", k.name, "domain", k.domain, "endpoint", k.endpoint)
	}
	g.notify()
	g.probed.look()
}

// nameStatus tells of every probed name.
func (g *Gateway) nameStatus() []spec.NameStatus {
	g.probed.mu.Lock()
	defer g.probed.mu.Unlock()
	var list []spec.NameStatus
	for k, n := range g.probed.names {
		status := spec.NameStatus{Domain: k.domain, Name: k.name, Endpoint: k.endpoint, Health: spec.Health{Serving: n.answered()}}
		switch {
		case status.Serving:
		case n.published.Load():
			status.Reason = notHealthy // it is withdrawn in a moment
		default:
			status.Reason = n.reason
		}
		list = append(list, status)
	}
	slices.SortFunc(list, func(a, b spec.NameStatus) int {
		return strings.Compare(a.Domain+"\x00"+a.Name, b.Domain+"\x00"+b.Name)
	})
	return list
}
