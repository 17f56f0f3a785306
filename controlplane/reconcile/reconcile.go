package reconcile

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"causeway/controlplane/dnsname"
	"causeway/controlplane/store"
	"causeway/gateway/spec"
)

// retryAfter is how long a failed step waits for its next try when nothing else happens meanwhile.
const retryAfter = time.Second

// errNotInForce says that the gateway goes on with the spec before.
var errNotInForce = errors.New("the newest spec is not in force")

// Gateway is what reconcile asks of the data plane. Its methods are safe for concurrent use.
type Gateway interface {
	// Apply makes the spec the state in force before it returns. With an error it may be in force or
	// not: Status tells.
	Apply(ctx context.Context, s spec.Gateway) error
	// Status gives what is in force. It does not block.
	Status() spec.Status
	// Changed delivers a value after the status changed in a way worth reporting.
	Changed() <-chan struct{}
}

// Opener opens what was sealed for owner, a resource name, before it was stored. It is safe for
// concurrent use.
type Opener interface {
	Open(text, owner string) ([]byte, error)
}

// Config is what a [Reconciler] works with. All fields but Random and Now are required.
type Config struct {
	Store *store.Store
	// Cache holds at least [Collections]. The reconciler does not run it.
	Cache   *store.Cache
	Gateway Gateway
	// Secrets opens the private keys of certificates.
	Secrets Opener
	// Zones are those the gateway serves.
	Zones []Zone
	// Ports are the UDP ports that tunnel endpoints may be given. Those that have one keep it.
	Ports PortRange
	// DNSSuffix ends the names of endpoints; empty is [dnsname.DefaultSuffix].
	DNSSuffix string
	Logger    *slog.Logger
	// Random replaces crypto/rand if it is not nil.
	Random io.Reader
	// Now replaces time.Now if it is not nil.
	Now func() time.Time
}

// Reconciler brings the gateway to what the store says. [Reconciler.Run] does the work; the other
// methods read and are safe for concurrent use.
type Reconciler struct {
	cfg  Config
	log  *slog.Logger
	opts options

	view atomic.Pointer[view]
	// status is refreshed by whoever finds it old and gets refreshing.
	status     atomic.Pointer[statusIndex]
	refreshing sync.Mutex

	converged     chan struct{}
	convergedOnce sync.Once
}

// view is what readers go by.
type view struct {
	// latest is the newest compilation, applied the newest one in force; nil before the first.
	latest, applied *result
}

// New makes a reconciler that does nothing until [Reconciler.Run].
func New(cfg Config) (*Reconciler, error) {
	switch {
	case cfg.Store == nil || cfg.Cache == nil || cfg.Gateway == nil || cfg.Secrets == nil || cfg.Logger == nil:
		return nil, errors.New("make reconciler: no store, cache, gateway, key of secrets or logger")
	case len(cfg.Zones) == 0:
		return nil, errors.New("make reconciler: no zones")
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	r := &Reconciler{
		cfg: cfg, log: cfg.Logger,
		opts:      options{zones: cfg.Zones, ports: cfg.Ports, dnsSuffix: cmp.Or(cfg.DNSSuffix, dnsname.DefaultSuffix), secrets: cfg.Secrets, policies: &policyChecks{}},
		converged: make(chan struct{}),
	}
	r.view.Store(&view{})
	return r, nil
}

// Converged is closed when a spec compiled from the store is in force for the first time.
func (r *Reconciler) Converged() <-chan struct{} { return r.converged }

// Run reconciles until ctx ends and returns nil then. Errors of the store and of the gateway are
// logged and tried again.
func (r *Reconciler) Run(ctx context.Context) error {
	select {
	case <-r.cfg.Cache.Ready():
	case <-ctx.Done():
		return nil
	}
	due := time.NewTimer(longestWait)
	defer due.Stop()
	last := ""
	for {
		snapshot := r.cfg.Cache.Snapshot()
		again, wait, err := r.round(ctx, snapshot)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			again = true
			if err.Error() != last { // it is tried every second
				r.log.Error("reconcile did not finish", "revision", snapshot.Revision(), "error", err)
			}
			last = err.Error()
		default:
			last = ""
		}
		if again {
			wait = min(wait, retryAfter)
		}
		due.Reset(wait)
		if err := r.await(ctx, snapshot, due.C); err != nil {
			return nil
		}
	}
}

// round makes one snapshot true, time having passed. It says whether work is left that no change of
// the store will announce, and how long nothing else will be due.
func (r *Reconciler) round(ctx context.Context, snapshot *store.Snapshot) (again bool, wait time.Duration, err error) {
	again, err = r.converge(ctx, snapshot)
	wait, errExpire := r.expire(ctx, snapshot)
	return again, wait, errors.Join(err, errExpire)
}

// await returns when the store has changed since the snapshot or something is due.
func (r *Reconciler) await(ctx context.Context, snapshot *store.Snapshot, due <-chan time.Time) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-snapshot.Superseded():
			return nil
		case <-due:
			return nil
		case <-r.cfg.Gateway.Changed():
			r.refresh()
		}
	}
}

// converge makes one snapshot true. It says whether work is left that no change of the store will
// announce.
func (r *Reconciler) converge(ctx context.Context, snapshot *store.Snapshot) (again bool, err error) {
	compiled := compile(read(snapshot), r.opts)
	if len(compiled.missing) > 0 {
		revision, err := r.allocate(ctx, compiled.missing)
		if err == nil {
			if snapshot, err = r.cfg.Cache.WaitRevision(ctx, revision); err != nil {
				return false, err
			}
			compiled = compile(read(snapshot), r.opts)
		} else {
			// Others need not wait for those that need a tunnel endpoint.
			r.log.Error("tunnel endpoints not stored", "error", err)
			again = true
		}
	}
	if err := r.apply(ctx, &compiled); err != nil {
		return true, err
	}
	left, err := r.remove(ctx, &compiled)
	return again || left, err
}

// apply hands a compilation to the gateway unless it is in force already.
func (r *Reconciler) apply(ctx context.Context, compiled *result) error {
	before := r.view.Load()
	if before.applied != nil && before.applied.spec.Equal(&compiled.spec) {
		compiled.spec.Revision = before.applied.spec.Revision
		r.view.Store(&view{latest: compiled, applied: compiled})
		return nil
	}
	r.view.Store(&view{latest: compiled, applied: before.applied})
	if err := compiled.spec.Validate(); err != nil {
		return fmt.Errorf("compiled spec: %w", err)
	}
	err := r.cfg.Gateway.Apply(ctx, compiled.spec)
	if r.cfg.Gateway.Status().Revision != compiled.spec.Revision {
		return errors.Join(errNotInForce, err)
	}
	if err != nil {
		r.log.Error("spec is in force with a fault", "revision", compiled.spec.Revision, "error", err)
	}
	r.log.Debug("spec applied", "revision", compiled.spec.Revision)
	r.refresh()
	r.view.Store(&view{latest: compiled, applied: compiled})
	r.convergedOnce.Do(func() { close(r.converged) })
	return nil
}
