package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// listChunk is how many keys the cache reads at a time when it lists everything.
	listChunk = 2000
	// progressAfter is how long WaitRevision waits before it asks etcd how far the watch is.
	progressAfter = 20 * time.Millisecond
	// watchProbe is how often the watch is asked for a sign of life if it gave none by itself, and
	// watchSilence how long it may then give none before it is begun anew: a member can be dead and
	// keep its connections.
	watchProbe   = 2 * time.Second
	watchSilence = 6 * time.Second
	// Between failed attempts to list or watch, the cache waits so long, doubling.
	retryFirst = 50 * time.Millisecond
	retryMost  = 2 * time.Second
)

// ErrRewound says that a cluster shows a lower revision than it did: it was restored from a backup
// or replaced by another. What was read before means nothing there, so the process must start anew.
var ErrRewound = errors.New("store went back in time")

// Cache holds registered collections and all claims in memory, fed by a list and then a watch. It
// gives immutable snapshots; each shows the whole state at one revision, and revisions only grow.
// Methods are safe for concurrent use.
type Cache struct {
	store       *Store
	log         *slog.Logger
	collections map[string]AnyCollection
	current     atomic.Pointer[Snapshot]
	ready       chan struct{}
	lists       atomic.Uint64
	// probe and silence are watchProbe and watchSilence; tests are less patient.
	probe, silence time.Duration
}

// NewCache makes a cache of the given collections. It is empty until Run has listed them.
func NewCache(s *Store, logger *slog.Logger, collections ...AnyCollection) *Cache {
	c := &Cache{
		store:       s,
		log:         logger,
		collections: make(map[string]AnyCollection, len(collections)),
		ready:       make(chan struct{}),
		probe:       watchProbe,
		silence:     watchSilence,
	}
	for _, col := range collections {
		c.collections[col.ID()] = col
	}
	c.current.Store(newState(c).snapshot())
	return c
}

// Snapshot gives the latest state. It never blocks.
func (c *Cache) Snapshot() *Snapshot { return c.current.Load() }

// Ready is closed when the first list is complete.
func (c *Cache) Ready() <-chan struct{} { return c.ready }

// WaitRevision waits until the cache shows revision or a later one and gives that snapshot: with
// the revision of a commit, the caller reads its own write. It ends with ctx.
func (c *Cache) WaitRevision(ctx context.Context, revision int64) (*Snapshot, error) {
	timer := time.NewTimer(progressAfter)
	defer timer.Stop()
	for {
		snap := c.Snapshot()
		if snap.revision >= revision {
			return snap, nil
		}
		select {
		case <-snap.superseded:
		case <-timer.C:
			// Writes outside the cache's keys, in a shared cluster, raise the revision without an
			// event. The answer to this is one.
			c.store.requestProgress(c.store.watchContext(ctx))
			timer.Reset(10 * progressAfter)
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for revision %d, have %d: %w", revision, snap.revision, ctx.Err())
		}
	}
}

// Run lists and watches until ctx ends, and then gives nil. When the watch breaks, or falls behind
// what etcd has compacted, it lists again; snapshots taken meanwhile show the last known state. It
// gives ErrRewound if the store goes back, and an error if an embedded server has failed.
func (c *Cache) Run(ctx context.Context) error {
	wait := retryFirst
	for {
		before := c.Snapshot().revision
		err := c.follow(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrRewound):
			return fmt.Errorf("run cache: %w", err)
		case c.store.failure.err() != nil:
			return fmt.Errorf("run cache: %w", c.store.failure.err())
		case c.Snapshot().revision > before:
			wait = retryFirst
		}
		c.log.Warn("watch of the store broke, listing again", "error", err, "wait", wait)
		select {
		case <-time.After(wait):
			wait = min(2*wait, retryMost)
		case <-ctx.Done():
			return nil
		}
	}
}

// follow lists once and applies the watch until it breaks.
func (c *Cache) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	st, err := c.list(ctx)
	if err != nil {
		return err
	}
	if err := c.publish(st); err != nil {
		return err
	}
	c.lists.Add(1)
	watchCtx := c.store.watchContext(ctx)
	// From the listed revision, not from the next: etcd answers no progress request of a stream on
	// which a watch still waits for a revision to come, and an idle store would seem dead.
	watch := c.store.client.Watch(watchCtx, c.store.root, clientv3.WithPrefix(),
		clientv3.WithRev(st.revision), clientv3.WithProgressNotify())
	probe := time.NewTicker(c.probe)
	defer probe.Stop()
	for heard := c.store.opts.now(); ; {
		select {
		case resp, open := <-watch:
			if !open {
				return fmt.Errorf("watch: %w", ErrUnavailable)
			}
			if err := c.apply(ctx, st, resp); err != nil {
				return err
			}
			heard = c.store.opts.now()
		case <-probe.C:
			silence := c.store.opts.now().Sub(heard)
			if silence > c.silence {
				return fmt.Errorf("watch: %w: silent for %v", ErrUnavailable, silence)
			}
			c.store.requestProgress(watchCtx)
		case <-c.store.failure.done():
			return c.store.failure.err()
		}
	}
}

// apply brings st forward by one response, which is never a part of a revision, and publishes it.
func (c *Cache) apply(ctx context.Context, st *state, resp clientv3.WatchResponse) error {
	if err := resp.Err(); err != nil {
		err = translate(ctx, err)
		c.store.opts.observe("watch", 0, err)
		return fmt.Errorf("watch: %w", err)
	}
	if resp.Created {
		return nil
	}
	for _, ev := range resp.Events {
		if ev.Kv.ModRevision > st.revision {
			st.event(ev)
		}
	}
	revision := resp.Header.Revision
	if len(resp.Events) > 0 {
		// The header may be ahead of the events that are still to come.
		revision = resp.Events[len(resp.Events)-1].Kv.ModRevision
	}
	switch {
	case resp.Header.Revision < st.revision:
		return fmt.Errorf("%w: from revision %d to %d", ErrRewound, st.revision, resp.Header.Revision)
	case revision == st.revision:
		return nil
	}
	st.revision = revision
	return c.publish(st)
}

// list reads everything at one revision.
func (c *Cache) list(ctx context.Context) (*state, error) {
	st := newState(c)
	key := c.store.root
	opts := []clientv3.OpOption{
		clientv3.WithRange(clientv3.GetPrefixRangeEnd(c.store.root)),
		clientv3.WithLimit(listChunk),
	}
	for {
		resp, err := c.store.get(ctx, "list", key, opts...)
		if err != nil {
			return nil, fmt.Errorf("list: %w", err)
		}
		if st.revision == 0 {
			st.revision = resp.Header.Revision
			opts = append(opts, clientv3.WithRev(st.revision))
		}
		for _, kv := range resp.Kvs {
			st.put(kv)
		}
		if !resp.More || len(resp.Kvs) == 0 {
			st.inherit(c.Snapshot())
			return st, nil
		}
		key = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

// publish makes st's present state the current snapshot and wakes those who wait.
func (c *Cache) publish(st *state) error {
	old := c.current.Load()
	if st.revision < old.revision {
		return fmt.Errorf("%w: from revision %d to %d", ErrRewound, old.revision, st.revision)
	}
	c.current.Store(st.snapshot())
	close(old.superseded)
	if old.revision == 0 {
		close(c.ready)
	}
	return nil
}

// watchContext is the context of watches and of progress requests, which etcd's client puts on one
// stream if their metadata is the same.
func (s *Store) watchContext(ctx context.Context) context.Context {
	if s.requireLeader {
		return clientv3.WithRequireLeader(ctx)
	}
	return ctx
}

// requestProgress asks for a response that tells how far the watch is. If it cannot be sent, or is
// not answered, the watch's silence shows it.
func (s *Store) requestProgress(watchContext context.Context) {
	ctx, cancel := context.WithTimeout(watchContext, watchProbe)
	defer cancel()
	_ = s.client.RequestProgress(ctx)
}
