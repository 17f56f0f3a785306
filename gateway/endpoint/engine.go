package endpoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of Config. Keepalive finds a dead peer within about three minutes;
// gVisor's own default needs more than two hours (tailscale#4522).
const (
	DefaultDialTimeout       = 5 * time.Second
	DefaultDialTimeoutRetry  = 2 * time.Second
	DefaultKeepaliveIdle     = 60 * time.Second
	DefaultKeepaliveInterval = 15 * time.Second
	DefaultKeepaliveCount    = 9
	DefaultSweepInterval     = 5 * time.Second
	DefaultHelloTimeout      = 10 * time.Second
)

// Config makes an Engine. Zero values mean defaults.
type Config struct {
	// Logger for what breaks the gateway's own rules; nil discards.
	Logger *slog.Logger
	// Workers that move bytes. Default GOMAXPROCS.
	Workers int
	// DialTimeout for a target when no other is left. Default 5 s.
	DialTimeout time.Duration
	// DialTimeoutRetry for a target while others remain. Default 2 s, at
	// most DialTimeout.
	DialTimeoutRetry time.Duration
	// HelloTimeout is how long a consumer may take to send its ClientHello when
	// its endpoint's policy depends on it. Until then the flow counts as a dial,
	// so that few can wait at a time. Default 10 s.
	HelloTimeout time.Duration
	// KeepaliveIdle is how long either side may be silent before it is
	// probed. Default 60 s.
	KeepaliveIdle time.Duration
	// KeepaliveInterval between probes not answered. Default 15 s.
	KeepaliveInterval time.Duration
	// KeepaliveCount of probes not answered ends the flow. Default 9.
	KeepaliveCount int
	// SweepInterval between looks at each flow for idleness, and so the
	// precision of IdleTimeout and KeepaliveIdle. Default 5 s, at most a
	// quarter of KeepaliveIdle.
	SweepInterval time.Duration
	// OnEnd, if not nil, is called once for every flow that ended and for
	// every flow refused, from a worker. It must not block.
	OnEnd func(Record)
	// Now is the time; nil means time.Now.
	Now func() time.Time
}

func (c Config) withDefaults() (Config, error) {
	for _, d := range []struct {
		value    *time.Duration
		standard time.Duration
		name     string
	}{
		{&c.DialTimeout, DefaultDialTimeout, "dial timeout"},
		{&c.DialTimeoutRetry, DefaultDialTimeoutRetry, "dial timeout before a retry"},
		{&c.HelloTimeout, DefaultHelloTimeout, "time to wait for a ClientHello"},
		{&c.KeepaliveIdle, DefaultKeepaliveIdle, "keepalive idle time"},
		{&c.KeepaliveInterval, DefaultKeepaliveInterval, "keepalive interval"},
		{&c.SweepInterval, DefaultSweepInterval, "sweep interval"},
	} {
		if *d.value < 0 {
			return c, fmt.Errorf("%s of %v", d.name, *d.value)
		}
		if *d.value == 0 {
			*d.value = d.standard
		}
	}
	c.DialTimeoutRetry = min(c.DialTimeoutRetry, c.DialTimeout)
	c.SweepInterval = min(c.SweepInterval, c.KeepaliveIdle/4)
	if c.KeepaliveCount <= 0 {
		c.KeepaliveCount = DefaultKeepaliveCount
	}
	if c.Workers <= 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c, nil
}

func (c *Config) keepalive() keepalive {
	return keepalive{idle: c.KeepaliveIdle, interval: c.KeepaliveInterval, count: c.KeepaliveCount}
}

// Engine relays flows. Make one with NewEngine; its methods are safe for
// concurrent use.
type Engine struct {
	cfg    Config
	log    *slog.Logger
	epoch  time.Time
	queue  runQueue
	poller *poller
	// probe is the consumer's keepalive once switched on by the sweeper: the
	// first probe follows shortly after the second look from then, and the
	// next one would follow only after a third.
	probe keepalive

	lastID atomic.Uint64
	opened, dialsFailed,
	ingressBytes, egressBytes,
	policyAllowed, policyDenied, policyDryRun atomic.Uint64
	endedBy [ReasonCount]atomic.Uint64

	mu        sync.Mutex
	gone      sync.Cond // a flow ended while there are waiters
	waiters   int
	flows     []*Flow
	listeners map[*Listener]struct{}
	ifaces    map[string]*ifaceCounters
	closing   bool
	running   bool
	stop      context.CancelFunc
	done      chan struct{} // Run has returned

	terminators sync.WaitGroup

	dialMu    sync.Mutex
	dials     []*Flow
	dialTimer *time.Timer
}

// NewEngine returns an engine that does nothing until Run. Close it even if it
// never runs.
func NewEngine(cfg Config) (*Engine, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("make relay engine: %w", err)
	}
	p, err := newPoller()
	if err != nil {
		return nil, fmt.Errorf("make relay engine: %w", err)
	}
	e := &Engine{
		cfg:       cfg,
		log:       cfg.Logger,
		epoch:     cfg.Now(),
		poller:    p,
		probe:     cfg.keepalive(),
		listeners: make(map[*Listener]struct{}),
		ifaces:    make(map[string]*ifaceCounters),
		done:      make(chan struct{}),
	}
	e.probe.idle = 2*cfg.SweepInterval + cfg.SweepInterval/5
	e.gone.L = &e.mu
	e.queue.ready.L = &e.queue.mu
	return e, nil
}

// Run relays until ctx is cancelled or Close is called, then closes all
// listeners, resets all flows and returns nil when they are gone. It can be
// called once.
func (e *Engine) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	e.mu.Lock()
	if e.closing || e.running {
		e.mu.Unlock()
		return fmt.Errorf("run relay engine: %w", ErrClosed)
	}
	e.running, e.stop = true, stop
	e.mu.Unlock()
	defer close(e.done)

	var workers, sweeper sync.WaitGroup
	for range e.cfg.Workers {
		workers.Go(func() { (&worker{}).work(&e.queue) })
	}
	sweeper.Go(func() { e.sweepLoop(ctx) })
	polled := make(chan error, 1)
	go func() { polled <- e.poller.run() }()

	var pollErr error
	select {
	case <-ctx.Done():
	case pollErr = <-polled:
		polled <- nil
		stop()
	}
	sweeper.Wait()
	err := errors.Join(pollErr, e.closeListeners())
	e.CloseWhere(func(*Flow) bool { return true }, ReasonShutdown)
	e.terminators.Wait()
	e.queue.close()
	workers.Wait()
	err = errors.Join(err, e.poller.close(), <-polled)
	if err != nil {
		return fmt.Errorf("run relay engine: %w", err)
	}
	return nil
}

// closeListeners ends accepting for good.
func (e *Engine) closeListeners() error {
	e.mu.Lock()
	e.closing = true
	listeners := make([]*Listener, 0, len(e.listeners))
	for l := range e.listeners {
		listeners = append(listeners, l)
	}
	e.mu.Unlock()
	var err error
	for _, l := range listeners {
		err = errors.Join(err, l.Close())
	}
	return err
}

// Close ends Run and waits for it; all flows are reset. Close is idempotent.
func (e *Engine) Close() error {
	e.mu.Lock()
	running, first, stop := e.running, !e.closing, e.stop
	e.closing = true
	e.mu.Unlock()
	if running {
		stop()
		<-e.done
		return nil
	}
	if !first {
		return nil
	}
	err := e.closeListeners()
	return errors.Join(err, e.poller.close())
}
