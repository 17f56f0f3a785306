package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const tinyQuota = 4 << 20

// stepClock is a clock that tests move on.
type stepClock struct{ passed atomic.Int64 }

func (c *stepClock) now() time.Time          { return time.Unix(0, c.passed.Load()) }
func (c *stepClock) advance(d time.Duration) { c.passed.Add(int64(d)) }

func (c *stepClock) openTiny(t *testing.T) *Store {
	t.Helper()
	return openTest(t, WithQuota(tinyQuota), WithClock(c.now))
}

func large() *stringValue { return text(strings.Repeat("x", 100<<10)) }

func putLarge(t *testing.T, s *Store, name string) error {
	t.Helper()
	tx := s.Begin()
	things.Put(tx, name, large())
	_, err := tx.Commit(testContext(t))
	return err
}

func createLarge(t *testing.T, s *Store, name string) error {
	t.Helper()
	tx := s.Begin()
	things.Create(tx, name, large())
	_, err := tx.Commit(testContext(t))
	return err
}

// fill writes large resources until nothing but resources fills the store, and gives how many.
func (c *stepClock) fill(t *testing.T, s *Store, write func(*testing.T, *Store, string) error) int {
	t.Helper()
	for n := range 100 {
		// etcd counts what it has written to the database, some time after it has acknowledged it.
		s.space.backend.ForceCommit()
		c.advance(reclaimEvery)
		if err := write(t, s, fmt.Sprint("fill/", n)); err != nil {
			wantErr(t, err, ErrExhausted)
			return n
		}
	}
	t.Fatal("the store is never full")
	return 0
}

func wantLarge(t *testing.T, s *Store, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		v, err := things.Get(testContext(t), s, fmt.Sprint("fill/", n))
		if err != nil || len(v.Value.GetValue()) != 100<<10 {
			t.Errorf("acknowledged resource %d of %d: %v", n, to, err)
		}
	}
}

func wantAlarms(t *testing.T, s *Store, want int) {
	t.Helper()
	if alarms, err := s.client.AlarmList(testContext(t)); err != nil || len(alarms.Alarms) != want {
		t.Errorf("alarms %v, %v, want %d", alarms, err, want)
	}
}

// TestHistoryDoesNotFillAStore writes more than twice the quota into one resource.
func TestHistoryDoesNotFillAStore(t *testing.T) {
	var clock stepClock
	s := clock.openTiny(t)
	kept := create(t, s, things, "kept", "as it was")
	for n := range 100 {
		if err := putLarge(t, s, "one"); err != nil {
			t.Fatalf("write %d: %v", n, err)
		}
		clock.advance(time.Second)
	}
	if err := createLarge(t, s, "two"); err != nil {
		t.Error(err)
	}
	v, err := things.Get(testContext(t), s, "kept")
	if err != nil || v.Revision != kept || v.Value.GetValue() != "as it was" {
		t.Errorf("got %+v, %v", v, err)
	}
}

// TestFullStoreTakesChanges: the reserve is for marking resources as being deleted.
func TestFullStoreTakesChanges(t *testing.T) {
	var clock stepClock
	s := clock.openTiny(t)
	made := clock.fill(t, s, createLarge)
	wantLarge(t, s, 0, made)
	wantAlarms(t, s, 0)
	if err := createLarge(t, s, "more"); !errors.Is(err, ErrExhausted) || !strings.Contains(err.Error(), "the quota is 4194304") {
		t.Errorf("a store full of resources says %v", err)
	}
	v, err := things.Get(testContext(t), s, "fill/0")
	if err != nil {
		t.Fatal(err)
	}
	tx := s.Begin()
	things.Update(tx, v.Name, text("being deleted"), v.Revision)
	marked := commit(t, tx)
	tx = s.Begin()
	things.Delete(tx, v.Name, marked)
	commit(t, tx)
	clock.advance(reclaimEvery)
	if err := createLarge(t, s, "more"); err != nil {
		t.Errorf("after room was made: %v", err)
	}
	wantLarge(t, s, 1, made)
}

func TestFullStoreRecovers(t *testing.T) {
	var clock stepClock
	s := clock.openTiny(t)
	made := clock.fill(t, s, putLarge)
	wantLarge(t, s, 0, made)
	wantAlarms(t, s, 1)
	tx := s.Begin() // deletions need no room
	for n := range 8 {
		v, err := things.Get(testContext(t), s, fmt.Sprint("fill/", n))
		if err != nil {
			t.Fatal(err)
		}
		things.Delete(tx, v.Name, v.Revision)
	}
	commit(t, tx)
	if err := putLarge(t, s, "more"); !errors.Is(err, ErrExhausted) {
		t.Errorf("reclaimed space again at once: %v", err)
	}
	clock.advance(reclaimEvery)
	if err := putLarge(t, s, "more"); err != nil {
		t.Errorf("after room was made: %v", err)
	}
	wantLarge(t, s, 8, made)
	wantAlarms(t, s, 0)
}

func TestFullStoreRecoversWhenOpened(t *testing.T) {
	var clock stepClock
	dir := filepath.Join(t.TempDir(), "store")
	s := openDir(t, dir, WithQuota(tinyQuota), WithClock(clock.now))
	made := clock.fill(t, s, putLarge)
	for _, again := range []struct {
		quota  int64
		alarms int
		create error
	}{{tinyQuota, 1, ErrExhausted}, {2 * tinyQuota, 0, nil}} {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openDir(t, dir, WithQuota(again.quota), WithClock(clock.now))
		wantAlarms(t, s, again.alarms)
		if err := createLarge(t, s, "more"); !errors.Is(err, again.create) {
			t.Errorf("with a quota of %d bytes: %v, want %v", again.quota, err, again.create)
		}
	}
	wantLarge(t, s, 0, made)
}

// TestFullStoreAndManyWriters: those who find the store full at the same time share one attempt.
func TestFullStoreAndManyWriters(t *testing.T) {
	s := openTest(t, WithQuota(tinyQuota))
	for range 48 {
		if err := putLarge(t, s, "one"); err != nil {
			t.Fatal(err)
		}
	}
	s.space.backend.ForceCommit()
	const writers = 6
	errs := make(chan error)
	for n := range writers {
		go func() { errs <- createLarge(t, s, fmt.Sprint("fill/", n)) }()
	}
	for range writers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	wantLarge(t, s, 0, writers)
	if size := s.space.backend.Size(); size > tinyQuota {
		t.Errorf("%d bytes after history was dropped", size)
	}
}
