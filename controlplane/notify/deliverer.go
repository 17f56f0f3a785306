package notify

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"causeway/controlplane/resource"
	"causeway/controlplane/secret"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

const (
	// retryFirst and retryMost bound the wait between two attempts; it doubles from one to the other.
	retryFirst = time.Second
	retryMost  = 5 * time.Minute
	// attemptTimeout bounds an attempt, from the look-up of the name to the status of the answer.
	attemptTimeout = 10 * time.Second
	// maxAge is how long an event waits before it is dropped.
	maxAge = 7 * 24 * time.Hour
	// maxPending is how many events may wait for a notification; the oldest are dropped.
	maxPending = 10_000
	// accountAttempts is how many attempts there may be at a time for an account, so that receivers
	// that do not answer take a tenant's sockets and not everybody's.
	accountAttempts = 32
	// storeRetry is the wait after the store has failed.
	storeRetry = time.Second
)

// Config is what a [Deliverer] works with. Resolver and Now may be nil.
type Config struct {
	Store *store.Store
	// Cache holds at least [Collections]. The deliverer does not run it.
	Cache *store.Cache
	Guard *Guard
	// Secrets opens the secrets of notifications.
	Secrets Opener
	// Resolver replaces net.DefaultResolver if it is not nil.
	Resolver *net.Resolver
	Logger   *slog.Logger
	// Now replaces time.Now if it is not nil.
	Now func() time.Time
}

// Opener opens what was sealed for a name; [secret.Box] does.
type Opener interface {
	Open(sealed, name string) ([]byte, error)
}

var _ Opener = (*secret.Box)(nil)

// Collections gives what a cache must hold for [New].
func Collections() []store.AnyCollection {
	return []store.AnyCollection{
		resource.Notifications.Collection, resource.NotificationKeys, resource.NotificationEvents,
	}
}

// limits are the constants above; tests are less patient.
type limits struct {
	retryFirst, retryMost, attempt, storeRetry time.Duration
	pending                                    int
}

// Deliverer delivers events. [Deliverer.Run] does the work.
type Deliverer struct {
	cfg     Config
	log     *slog.Logger
	client  *http.Client
	metrics *metrics
	limits  limits
}

// New makes a deliverer that does nothing until [Deliverer.Run].
func New(cfg Config) (*Deliverer, error) {
	if cfg.Store == nil || cfg.Cache == nil || cfg.Guard == nil || cfg.Secrets == nil || cfg.Logger == nil {
		return nil, errors.New("make deliverer: no store, cache, guard, secrets or logger")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Deliverer{
		cfg: cfg, log: cfg.Logger, client: newClient(cfg.Guard, cfg.Resolver),
		metrics: newMetrics(cfg.Cache),
		limits:  limits{retryFirst, retryMost, attemptTimeout, storeRetry, maxPending},
	}, nil
}

// Run delivers until ctx ends and returns nil then. Of all processes that share the store one
// delivers at a time; another goes on where it ended. Failures of receivers and of the store are
// tried again.
func (d *Deliverer) Run(ctx context.Context) error {
	defer d.client.CloseIdleConnections()
	select {
	case <-d.cfg.Cache.Ready():
	case <-ctx.Done():
		return nil
	}
	return d.cfg.Store.Lead(ctx, "notifications", d.lead)
}

// lead delivers while this process is the one that does.
func (d *Deliverer) lead(ctx context.Context) error {
	if err := d.catchUp(ctx); err != nil {
		return nil // ctx has ended
	}
	c := crew{d: d, workers: map[string]*worker{}, ended: make(chan *worker), slots: map[string]chan struct{}{}}
	defer c.running.Wait()
	for {
		snapshot := d.cfg.Cache.Snapshot()
		c.staff(ctx, snapshot)
		select {
		case <-snapshot.Superseded():
		case w := <-c.ended:
			c.dismiss(w)
		case <-ctx.Done():
			return nil
		}
	}
}

// catchUp waits until the cache shows all that another process has done while it led.
func (d *Deliverer) catchUp(ctx context.Context) error {
	for {
		revision, err := d.cfg.Store.Revision(ctx)
		if err == nil {
			_, err = d.cfg.Cache.WaitRevision(ctx, revision)
			return err
		}
		if err := pause(ctx, d.limits.storeRetry); err != nil {
			return err
		}
	}
}

// crew is the workers, one for each notification that has events. Only lead's goroutine uses it.
type crew struct {
	d       *Deliverer
	workers map[string]*worker
	ended   chan *worker
	slots   map[string]chan struct{} // by account
	running sync.WaitGroup
	// seen is what the last pass was about.
	seen [2]int64
}

// staff gives each notification that has events a worker, and tells workers what has changed.
func (c *crew) staff(ctx context.Context, s *store.Snapshot) {
	seen := [2]int64{resource.Notifications.ChangedAt(s), resource.NotificationEvents.ChangedAt(s)}
	if seen == c.seen {
		return
	}
	c.seen = seen
	for name, w := range c.workers {
		if now, ok := resource.Notifications.Lookup(s, name); !ok || now.Value.GetUid() != w.uid {
			w.stop()
		}
	}
	for n := range resource.Notifications.Below(s, "") {
		w, busy := c.workers[n.Name]
		switch count := c.d.count(s, n.Name); {
		case !busy && count > 0:
			c.hire(ctx, n)
		case busy && (w.revision != n.Revision || count > c.d.limits.pending):
			w.revision = n.Revision
			w.poke()
		}
	}
}

// count gives how many events wait for a notification, at most one more than may.
func (d *Deliverer) count(s *store.Snapshot, notification string) int {
	n := 0
	for range resource.NotificationEvents.Below(s, notification) {
		if n++; n > d.limits.pending {
			break
		}
	}
	return n
}

func (c *crew) hire(ctx context.Context, n store.Versioned[*pb.Notification]) {
	account := resource.Account(n.Name)
	if c.slots[account] == nil {
		c.slots[account] = make(chan struct{}, accountAttempts)
	}
	own, stop := context.WithCancel(ctx)
	w := &worker{
		d: c.d, log: c.d.log.With("notification", n.Name), name: n.Name, uid: n.Value.GetUid(), revision: n.Revision,
		stop: stop, poked: make(chan struct{}, 1), slots: c.slots[account],
	}
	c.workers[n.Name] = w
	c.running.Go(func() {
		defer stop()
		w.run(own)
		select {
		case c.ended <- w:
		case <-ctx.Done():
		}
	})
}

// dismiss takes out a worker that has ended. What has come since it looked last is found by the next
// pass.
func (c *crew) dismiss(w *worker) {
	delete(c.workers, w.name)
	c.seen = [2]int64{}
}

// pause waits, or gives the error of ctx if that ends before.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
