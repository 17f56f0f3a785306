package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"causeway/gateway/balance"
	"causeway/gateway/endpoint"
	"causeway/gateway/flowlog"
	"causeway/gateway/resolver"
	"causeway/gateway/spec"
)

// How often the gateway looks after itself.
const (
	budgetTick = time.Second
	retryAfter = 5 * time.Second
)

// Errors of [Gateway.Apply], for errors.Is.
var (
	// ErrOutdated refuses a spec older than the one in force.
	ErrOutdated = errors.New("spec is older than the one in force")
	// ErrInvalid refuses a spec that cannot be served whole; the error names the object.
	ErrInvalid = errors.New("spec is invalid")
	// ErrStopped is returned after Run ended.
	ErrStopped = errors.New("gateway is stopped")
)

// Gateway serves one spec at a time. All methods are safe for concurrent use.
type Gateway struct {
	cfg    Config
	log    *slog.Logger
	engine atomic.Pointer[endpoint.Engine] // made by Run
	pool   *balance.Pool
	guard  *balance.Guard
	saved  specFile
	keys   keyStore

	ready   chan struct{} // closed when Run has restored the last good spec
	stopped chan struct{} // closed when Run ends
	changed chan struct{}

	// applying is held, by one token, while what is served changes. Readers use view.
	applying chan struct{}
	served   served
	serving  context.Context // Run's, from ready on
	devices  sync.WaitGroup
	view     atomic.Pointer[view]
	probes   atomic.Pointer[map[string]*route] // of health checks, by target group
	refusal  atomic.Pointer[spec.Refusal]
	lost     *losses
	revoked  *revocations
	records  flowlog.Feed
	probed   *probedNames
	// forwarders are the name servers for names without a rule.
	forwarders func() []netip.AddrPort
}

// New returns a Gateway that serves nothing until [Gateway.Run].
func New(cfg Config) (*Gateway, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("configure gateway: %w", err)
	}
	g := &Gateway{
		cfg: cfg, log: cfg.Logger,
		guard:    balance.NewGuard(cfg.UnderlayAllow, cfg.hostAddresses),
		saved:    specFile{path: filepath.Join(cfg.StateDir, "spec.json")},
		keys:     keyStore{dir: filepath.Join(cfg.StateDir, "keys")},
		ready:    make(chan struct{}),
		stopped:  make(chan struct{}),
		changed:  make(chan struct{}, 1),
		applying: make(chan struct{}, 1),
		served:   newServed(),
		lost:     newLosses(),
		revoked:  newRevocations(),
		probed:   newProbedNames(filepath.Join(cfg.StateDir, "names.json")),
	}
	g.forwarders = func() []netip.AddrPort { return cfg.Forwarders }
	if len(cfg.Forwarders) == 0 {
		g.forwarders = (&resolver.SystemForwarders{Path: systemResolvers}).List
	}
	g.pool = balance.NewPool(balance.Config{
		Probe: g.probe, Changed: g.healthChanged, Lost: g.lost.add, Random: rand.Float64, Logger: cfg.Logger,
	})
	g.view.Store(&view{spec: &spec.Gateway{}})
	g.probes.Store(&map[string]*route{})
	return g, nil
}

// Changed delivers a value after the status changed in a way worth reporting: a device came up or failed, a target
// changed health, a budget stepped, a spec was applied or refused. Several changes may make one value. It is meant
// for one reader.
func (g *Gateway) Changed() <-chan struct{} { return g.changed }

// healthChanged is told of targets.
func (g *Gateway) healthChanged() {
	g.probed.look()
	g.notify()
}

func (g *Gateway) notify() {
	select {
	case g.changed <- struct{}{}:
	default:
	}
}

// Run serves until ctx ends, beginning with the last good spec, and returns nil when all of it is closed. It is to be
// called once.
func (g *Gateway) Run(ctx context.Context) error {
	engine, err := endpoint.NewEngine(endpoint.Config{Logger: g.log, OnEnd: g.flowEnded, DialTimeout: g.cfg.dialTimeout})
	if err != nil {
		return fmt.Errorf("run gateway: %w", err)
	}
	g.engine.Store(engine)
	run, ctx := errgroup.WithContext(ctx)
	run.Go(func() error { return engine.Run(ctx) })
	run.Go(func() error { return g.pool.Run(ctx) })
	run.Go(func() error { return g.maintain(ctx) })
	run.Go(func() error { return g.resetLost(ctx) })
	run.Go(func() error { return g.endRevoked(ctx) })
	run.Go(func() error { return g.watchNames(ctx) })
	g.applying <- struct{}{}
	g.serving = ctx
	g.restoreNames()
	g.restore()
	close(g.ready)
	<-g.applying
	err = run.Wait()
	g.applying <- struct{}{} // for good: whatever waits for it sees stopped
	close(g.stopped)
	g.closeAll()
	return err
}

// restore serves the last good spec, if there is one.
func (g *Gateway) restore() {
	last, err := g.saved.load()
	if err != nil {
		g.log.Error("last good spec is not usable", "error", err)
		return
	}
	if last == nil {
		return
	}
	g.reconcile(last)
	g.log.Info("serving the last good spec", "revision", last.Revision)
}

// Apply makes s the state in force. It waits for Run, and for an Apply under way. A spec that is not valid is refused whole
// with ErrInvalid, one older than the one in force with ErrOutdated; what was served before goes on. Any other error
// tells that s is in force but not on disk. Parts that cannot be served are no error: Status tells of them.
func (g *Gateway) Apply(ctx context.Context, s spec.Gateway) error {
	if err := g.acquire(ctx); err != nil {
		return fmt.Errorf("apply spec %d: %w", s.Revision, err)
	}
	defer g.release()
	data, own, err := detach(&s)
	if err != nil {
		g.refusal.Store(&spec.Refusal{Revision: s.Revision, Reason: err.Error()})
		g.notify()
		return fmt.Errorf("apply spec %d: %w: %w", s.Revision, ErrInvalid, err)
	}
	if current := g.view.Load().spec.Revision; own.Revision < current {
		return fmt.Errorf("apply spec %d: %w: %d", s.Revision, ErrOutdated, current)
	}
	g.refusal.Store(nil)
	g.reconcile(own)
	g.notify()
	if err := g.saved.store(data); err != nil {
		return fmt.Errorf("apply spec %d: keep it: %w", s.Revision, err)
	}
	return nil
}

// acquire waits for the right to change what is served.
func (g *Gateway) acquire(ctx context.Context) error {
	select {
	case <-g.ready:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case g.applying <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-g.stopped:
		return ErrStopped
	}
}

func (g *Gateway) release() { <-g.applying }

// maintain steps budgets, and tries again what could not be served.
func (g *Gateway) maintain(ctx context.Context) error {
	budgets, retry := time.NewTicker(budgetTick), time.NewTicker(retryAfter)
	defer budgets.Stop()
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-budgets.C:
			for _, n := range g.view.Load().interfaces {
				n.iface.budget.Tick()
			}
		case <-retry.C:
			g.retry(ctx)
		}
	}
}

// retry reconciles the spec in force once more if a part of it could not be served.
func (g *Gateway) retry(ctx context.Context) {
	if !g.view.Load().incomplete() || g.acquire(ctx) != nil {
		return
	}
	defer g.release()
	g.reconcile(g.view.Load().spec)
	if !g.view.Load().incomplete() {
		g.notify()
	}
}
