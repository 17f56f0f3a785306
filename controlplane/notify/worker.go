package notify

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

type queue []store.Versioned[*pb.NotificationEvent]

// worker delivers the events of one notification, one after another, until there are none.
type worker struct {
	d         *Deliverer
	log       *slog.Logger
	name, uid string
	// revision of the notification that the crew has told of; the crew's own.
	revision int64
	stop     context.CancelFunc
	poked    chan struct{}
	slots    chan struct{}

	// used is the revision of the notification at the last attempt.
	used int64
	// failures is how many attempts have failed since one succeeded.
	failures int
	delivery progress
}

// poke ends a wait of the worker: the notification has changed, or there are too many events.
func (w *worker) poke() {
	select {
	case w.poked <- struct{}{}:
	default:
	}
}

// run returns when nothing is left to deliver, or ctx ends. What it cannot store, it does again.
func (w *worker) run(ctx context.Context) {
	var seen int64
	for ctx.Err() == nil {
		snapshot, err := w.d.cfg.Cache.WaitRevision(ctx, seen)
		if err != nil {
			return
		}
		events := w.pending(snapshot)
		if len(events) == 0 {
			return
		}
		if err = w.deliver(ctx, events); err == nil {
			seen = w.delivery.revision
			continue
		}
		if ctx.Err() != nil {
			return
		}
		if !superseded(err) {
			w.log.Warn("delivery not recorded", "error", err)
			_ = pause(ctx, w.d.limits.storeRetry)
		}
		// What was not known to be written may have been: look at all there is.
		if now, err := w.d.cfg.Store.Revision(ctx); err == nil {
			seen = now
		}
	}
}

// superseded says whether a write failed because another daemon, which led before, has delivered,
// or the user has deleted.
func superseded(err error) bool {
	return errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrExists)
}

// pending gives what waits, in the order in which it happened.
func (w *worker) pending(s *store.Snapshot) queue {
	events := slices.Collect(resource.NotificationEvents.Below(s, w.name))
	slices.SortFunc(events, func(a, b store.Versioned[*pb.NotificationEvent]) int {
		return cmp.Or(cmp.Compare(a.CreateRevision, b.CreateRevision), cmp.Compare(a.Value.GetPosition(), b.Value.GetPosition()))
	})
	return events
}

// deliver posts events, at most a batch, until one fails, and waits then. An error is the store's.
func (w *worker) deliver(ctx context.Context, events queue) error {
	if err := w.load(ctx); err != nil {
		return err
	}
	events, err := w.shed(ctx, events)
	if err != nil {
		return err
	}
	for _, e := range events[:min(len(events), deliverBatch)] {
		failure := w.attempt(ctx, e.Value)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case failure != nil:
			return w.failed(ctx, e, failure)
		}
		w.failures = 0
		w.d.metrics.delivered.Inc()
		if err := w.delivered(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// deliverBatch is how many events are delivered between two looks at all that wait.
const deliverBatch = 100

// attempt posts one event, as what the notification is now. It gives nil once the receiver has
// accepted it.
func (w *worker) attempt(ctx context.Context, event *pb.NotificationEvent) error {
	select {
	case w.slots <- struct{}{}:
		defer func() { <-w.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	s := w.d.cfg.Cache.Snapshot()
	n, ok := resource.Notifications.Lookup(s, w.name)
	key, keyed := resource.NotificationKeys.Lookup(s, w.name)
	if !ok || !keyed || n.Value.GetUid() != w.uid {
		return errGone
	}
	w.used = n.Revision
	secret, err := w.d.cfg.Secrets.Open(key.Value.GetSecret(), w.name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, w.d.limits.attempt)
	defer cancel()
	return w.d.post(ctx, n.Value.GetUrl(), string(secret), event, w.delivery.value.GetSequence()+1)
}

// failed records why an attempt failed and waits for the next one.
func (w *worker) failed(ctx context.Context, e store.Versioned[*pb.NotificationEvent], failure error) error {
	w.d.metrics.failed.Inc()
	wait := w.backoff()
	w.failures++
	level := slog.LevelDebug // it may go on for days
	if w.failures == 1 {
		level = slog.LevelWarn
	}
	w.log.Log(ctx, level, "event not delivered", "event", e.Value.GetId(), "error", failure, "attempt", w.failures, "wait", wait)
	if err := w.excuse(ctx, e, describe(failure)); err != nil {
		return err
	}
	return w.await(ctx, wait)
}

// await waits for the next attempt: for a time, or until the notification changes. Meanwhile it
// drops what gets too much.
func (w *worker) await(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-w.poked:
		}
		snapshot, err := w.d.cfg.Cache.WaitRevision(ctx, w.delivery.revision)
		if err != nil {
			return err
		}
		if n, ok := resource.Notifications.Lookup(snapshot, w.name); !ok || n.Revision != w.used {
			return nil
		}
		if _, err := w.shed(ctx, w.pending(snapshot)); err != nil {
			return err
		}
	}
}

// backoff doubles from retryFirst to retryMost, with a third of it left to chance.
func (w *worker) backoff() time.Duration {
	most := w.d.limits.retryMost * 2 / 3
	wait := min(w.d.limits.retryFirst<<min(w.failures, 16), most)
	return wait + rand.N(wait/2+1)
}
