package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// runCache runs a cache of things and parts for the length of the test.
func runCache(t testing.TB, s *Store) *Cache {
	t.Helper()
	c := NewCache(s, testLog(t), things, parts)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return c
}

func waitFor(t testing.TB, c *Cache, revision int64) *Snapshot {
	t.Helper()
	snap, err := c.WaitRevision(testContext(t), revision)
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

// view is a collection as text: name to value and revisions.
func view(items []Versioned[*stringValue]) map[string]string {
	out := make(map[string]string)
	for _, v := range items {
		out[v.Name] = fmt.Sprintf("%s@%d from %d", v.Value.GetValue(), v.Revision, v.CreateRevision)
	}
	return out
}

func listAll(t testing.TB, s *Store) map[string]string {
	t.Helper()
	page, err := things.List(testContext(t), s, ListOptions{PageSize: MaxPageSize})
	if err != nil || page.NextPageToken != "" {
		t.Fatalf("list: %v", err)
	}
	return view(page.Items)
}

// churn makes n random transactions and gives the revision of the last.
func churn(t testing.TB, s *Store, n int) int64 {
	t.Helper()
	ctx := testContext(t)
	var last int64
	for range n {
		tx := s.Begin()
		for range 1 + rand.IntN(3) {
			name := fmt.Sprintf("acct%d/things/%d", rand.IntN(3), rand.IntN(20))
			v, err := things.Get(ctx, s, name)
			switch {
			case errors.Is(err, ErrNotFound):
				things.Create(tx, name, text("new"))
				tx.Claim("name", name, name)
			case err != nil:
				t.Fatal(err)
			case rand.IntN(2) == 0:
				things.Delete(tx, name, v.Revision)
				tx.Release("name", name, name)
			default:
				things.Update(tx, name, text(fmt.Sprint(rand.Int())), v.Revision)
			}
		}
		revision, err := tx.Commit(ctx)
		if err != nil {
			if errors.Is(err, ErrInvalid) { // one name drawn twice
				continue
			}
			t.Fatal(err)
		}
		last = revision
	}
	return last
}

func TestCacheEqualsList(t *testing.T) {
	s := openTest(t)
	churn(t, s, 50)
	c := runCache(t, s)
	<-c.Ready()
	for range 10 {
		snap := waitFor(t, c, churn(t, s, 30))
		if diff := cmp.Diff(listAll(t, s), view(slices.Collect(things.Below(snap, "")))); diff != "" {
			t.Fatalf("cache differs from list (-list +cache):\n%s", diff)
		}
		if things.Len(snap) != len(slices.Collect(things.Below(snap, ""))) {
			t.Error("wrong length")
		}
		for v := range things.Below(snap, "acct1") {
			if got, ok := things.Lookup(snap, v.Name); !ok || got.Revision != v.Revision {
				t.Errorf("look up %q: %+v, %t", v.Name, got, ok)
			}
			if claim, ok := snap.ClaimOf("name", v.Name); !ok || claim.Owner != v.Name {
				t.Errorf("claim of %q: %+v, %t", v.Name, claim, ok)
			}
		}
		owned := 0
		for range snap.Claims("name", "") {
			owned++
		}
		if owned != things.Len(snap) {
			t.Errorf("%d claims of %d things", owned, things.Len(snap))
		}
	}
}

func TestSnapshotsDoNotChange(t *testing.T) {
	s := openTest(t)
	c := runCache(t, s)
	snap := waitFor(t, c, churn(t, s, 50))
	before := view(slices.Collect(things.Below(snap, "")))
	changed := things.ChangedAt(snap)

	var group sync.WaitGroup
	stop := make(chan struct{})
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if diff := cmp.Diff(before, view(slices.Collect(things.Below(snap, "")))); diff != "" {
				t.Errorf("snapshot changed:\n%s", diff)
				return
			}
		}
	})
	later := waitFor(t, c, churn(t, s, 100))
	close(stop)
	group.Wait()
	select {
	case <-snap.Superseded():
	default:
		t.Error("the old snapshot does not know that it is old")
	}
	if things.ChangedAt(snap) != changed || things.ChangedAt(later) <= changed {
		t.Errorf("collection changed at %d, later %d", changed, things.ChangedAt(later))
	}
	if parts.ChangedAt(later) != 0 {
		t.Error("a collection nobody wrote to has changed")
	}
}

func TestCacheTransactionsAreWhole(t *testing.T) {
	s := openTest(t)
	c := runCache(t, s)
	ctx := testContext(t)
	var last int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 200 {
			tx := s.Begin()
			things.Put(tx, "x", text(fmt.Sprint(i)))
			parts.Put(tx, "y", text(fmt.Sprint(i)))
			revision, err := tx.Commit(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			last = revision
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-c.Snapshot().Superseded():
		}
		snap := c.Snapshot()
		x, _ := things.Lookup(snap, "x")
		y, _ := parts.Lookup(snap, "y")
		if x.Value.GetValue() != y.Value.GetValue() || x.Revision != y.Revision {
			t.Fatalf("half a transaction: %v and %v", x, y)
		}
	}
	waitFor(t, c, last)
}

func TestCacheRelistsAfterCompaction(t *testing.T) {
	s := openTest(t)
	churn(t, s, 20)
	ctx := testContext(t)
	c := NewCache(s, testLog(t), things, parts)
	st, err := c.list(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.publish(st); err != nil {
		t.Fatal(err)
	}
	old := c.Snapshot()
	name := slices.Collect(things.Below(old, ""))[0].Name

	v, err := things.Get(ctx, s, name)
	if err != nil {
		t.Fatal(err)
	}
	tx := s.Begin()
	things.Delete(tx, name, v.Revision)
	gone := commit(t, tx)
	if _, err := s.client.Compact(ctx, gone); err != nil {
		t.Fatal(err)
	}
	// The watch that a reconnecting client would resume is gone; it says so and a list follows.
	watch := s.client.Watch(ctx, s.root, clientv3.WithPrefix(), clientv3.WithRev(old.Revision()))
	err = nil
	for err == nil {
		err = c.apply(ctx, st, <-watch)
	}
	wantErr(t, err, ErrCompacted)

	runCtx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- c.Run(runCtx) }()
	snap := waitFor(t, c, gone)
	if _, ok := things.Lookup(snap, name); ok {
		t.Error("what was deleted before the list is still there")
	}
	if things.ChangedAt(snap) <= things.ChangedAt(old) {
		t.Error("the deletion left no trace in ChangedAt")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestIdleCacheDoesNotListAgain: a watch on which nothing happens is alive all the same.
func TestIdleCacheDoesNotListAgain(t *testing.T) {
	asked := make(chan struct{})
	s := openTest(t, WithClock(func() time.Time {
		select {
		case asked <- struct{}{}: // at each probe, and at each answer
		default:
		}
		return time.Now()
	}))
	create(t, s, things, "a", "b")
	c := NewCache(s, testLog(t), things)
	c.probe, c.silence = 5*time.Millisecond, 500*time.Millisecond
	ctx, cancel := context.WithCancel(testContext(t))
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	<-c.Ready()
	for ready := time.Now(); time.Since(ready) < 2*c.silence; {
		select {
		case <-asked:
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := c.lists.Load(); got != 1 {
		t.Errorf("listed %d times, want once", got)
	}
}

func TestCacheKeepsLastSoundValue(t *testing.T) {
	s := openTest(t)
	ctx := testContext(t)
	create(t, s, things, "a", "sound")
	c := runCache(t, s)
	<-c.Ready()
	key := s.resourceKey("things", "a")
	resp, err := s.client.Put(ctx, key, "junk")
	if err != nil {
		t.Fatal(err)
	}
	snap := waitFor(t, c, resp.Header.Revision)
	if v, ok := things.Lookup(snap, "a"); !ok || v.Value.GetValue() != "sound" {
		t.Errorf("got %+v, %t", v, ok)
	}
	if got := snap.Quarantined(); !slices.Equal(got, []string{key}) {
		t.Errorf("quarantined %v", got)
	}
	again, err := c.list(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := things.Lookup(again.snapshot(), "a"); !ok || v.Value.GetValue() != "sound" {
		t.Errorf("after another list: %+v, %t", v, ok)
	}
	for _, junk := range []string{"things", "things/", "/", "claims/", "claims/x", "unknown/y"} {
		if resp, err = s.client.Put(ctx, s.root+junk, "junk"); err != nil {
			t.Fatal(err)
		}
	}
	if snap = waitFor(t, c, resp.Header.Revision); things.Len(snap) != 1 {
		t.Errorf("%d things, want 1", things.Len(snap))
	}
	tx := s.Begin()
	things.Put(tx, "a", text("sound again"))
	snap = waitFor(t, c, commit(t, tx))
	if v, _ := things.Lookup(snap, "a"); v.Value.GetValue() != "sound again" {
		t.Errorf("got %+v", v)
	}
}

func TestWaitRevision(t *testing.T) {
	s := openTest(t)
	c := runCache(t, s)
	ctx := testContext(t)
	t.Run("of a write elsewhere", func(t *testing.T) {
		resp, err := s.client.Put(ctx, "/somebody/else", "x")
		if err != nil {
			t.Fatal(err)
		}
		waitFor(t, c, resp.Header.Revision)
	})
	t.Run("that never comes", func(t *testing.T) {
		ended, cancel := context.WithCancel(ctx)
		cancel()
		_, err := c.WaitRevision(ended, 1<<40)
		wantErr(t, err, context.Canceled)
	})
}

func TestCacheRefusesToGoBack(t *testing.T) {
	s := openTest(t)
	c := NewCache(s, testLog(t), things)
	c.current.Store(&Snapshot{revision: 1 << 40, superseded: make(chan struct{}), collections: newState(c).trees})
	wantErr(t, c.Run(testContext(t)), ErrRewound)
}
