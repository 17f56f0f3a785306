package store

import (
	"errors"
	"fmt"
	"sync"
	"testing"
)

func TestCount(t *testing.T) {
	s := openTest(t)
	ctx := testContext(t)
	for _, name := range []string{"a/one", "a/two", "ab/one"} {
		create(t, s, things, name, "")
	}
	last := create(t, s, parts, "a/one/parts/x", "")
	tx := s.Begin()
	tx.Claim("name", "a/x", "a/one")
	last = max(last, commit(t, tx))
	for parent, want := range map[string]int{"": 3, "a": 2, "ab": 1, "b": 0} {
		n, revision, err := things.CountAt(ctx, s, parent)
		if n != want || revision != last || err != nil {
			t.Errorf("%d things below %q at %d, %v; want %d at %d", n, parent, revision, err, want, last)
		}
	}
	if n, _, err := s.CountClaims(ctx, "name", "a/"); n != 1 || err != nil {
		t.Errorf("%d claims, %v, want 1", n, err)
	}
}

// TestRacingThroughAGate holds that of many that count and add at once none goes beyond the limit.
func TestRacingThroughAGate(t *testing.T) {
	s := openTest(t)
	const callers, limit = 40, 7
	add := func(name string) error {
		for {
			n, revision, err := things.CountAt(testContext(t), s, "a")
			if err != nil || n >= limit {
				return err
			}
			tx := s.Begin()
			things.Create(tx, name, text(""))
			tx.Pass("quota", "a", revision)
			if _, err = tx.Commit(testContext(t)); !errors.Is(err, ErrConflict) {
				return err
			}
		}
	}
	var running sync.WaitGroup
	for n := range callers {
		running.Go(func() {
			if err := add(fmt.Sprint("a/", n)); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	if n, _, err := things.CountAt(testContext(t), s, "a"); n != limit || err != nil {
		t.Errorf("%d things, %v, want %d", n, err, limit)
	}
}

func TestGatesExpire(t *testing.T) {
	s := openTest(t)
	tx := s.Begin()
	tx.Pass("quota", "a", 1)
	commit(t, tx)
	resp, err := s.client.Get(testContext(t), s.gateKey("quota", "a"))
	if err != nil || len(resp.Kvs) != 1 || resp.Kvs[0].Lease == 0 {
		t.Errorf("the gate is %v, %v; want one key with a lease", resp, err)
	}
	tx = s.Begin()
	tx.Pass("a/b", "a", 1)
	if _, err := tx.Commit(testContext(t)); !errors.Is(err, ErrInvalid) {
		t.Errorf("a kind with a slash: %v", err)
	}
}
