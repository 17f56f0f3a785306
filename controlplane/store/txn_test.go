package store

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestConditions(t *testing.T) {
	s := openTest(t)
	ctx := testContext(t)
	first := create(t, s, things, "a/one", "1")
	create(t, s, parts, "a/one/parts/x", "x")
	tx := s.Begin()
	things.Update(tx, "a/one", text("2"), first)
	second := commit(t, tx)
	tx = s.Begin()
	tx.Claim("name", "taken", "a/one")
	commit(t, tx)
	tx = s.Begin()
	tx.Pass("quota", "a", first)
	commit(t, tx)

	tests := []struct {
		name  string
		build func(*Txn)
		want  ConditionError
	}{
		{"create what exists", func(tx *Txn) { things.Create(tx, "a/one", text("")) },
			ConditionError{Err: ErrExists, Collection: "things", Name: "a/one", Have: second}},
		{"update at an old revision", func(tx *Txn) { things.Update(tx, "a/one", text(""), first) },
			ConditionError{Err: ErrConflict, Collection: "things", Name: "a/one", Want: first, Have: second}},
		{"update what is absent", func(tx *Txn) { things.Update(tx, "a/two", text(""), first) },
			ConditionError{Err: ErrNotFound, Collection: "things", Name: "a/two", Want: first}},
		{"delete at an old revision", func(tx *Txn) { things.Delete(tx, "a/one", first) },
			ConditionError{Err: ErrConflict, Collection: "things", Name: "a/one", Want: first, Have: second}},
		{"require what is absent", func(tx *Txn) { things.Require(tx, "a/two", 0) },
			ConditionError{Err: ErrNotFound, Collection: "things", Name: "a/two"}},
		{"require an old revision", func(tx *Txn) { things.Require(tx, "a/one", first) },
			ConditionError{Err: ErrConflict, Collection: "things", Name: "a/one", Want: first, Have: second}},
		{"require no children", func(tx *Txn) { parts.RequireNone(tx, "a/one") },
			ConditionError{Err: ErrNotEmpty, Collection: "parts", Name: "a/one/parts/x", Have: first + 1}},
		{"require siblings unchanged", func(tx *Txn) { things.RequireUnchanged(tx, "a", first) },
			ConditionError{Err: ErrConflict, Collection: "things", Name: "a/one", Want: first, Have: second}},
		{"claim what is held", func(tx *Txn) { tx.Claim("name", "taken", "a/two") },
			ConditionError{Err: ErrClaimed, Have: second + 1,
				Claim: Claim{Kind: "name", Key: "taken", Owner: "a/one", Revision: second + 1}}},
		{"require claims unchanged", func(tx *Txn) { tx.RequireClaims("name", "ta", second) },
			ConditionError{Err: ErrConflict, Want: second, Have: second + 1,
				Claim: Claim{Kind: "name", Key: "taken", Owner: "a/one", Revision: second + 1}}},
		{"pass a gate after another", func(tx *Txn) { tx.Pass("quota", "a", first) },
			ConditionError{Err: ErrConflict, Name: "quota/a", Want: first, Have: second + 2}},
		{"the first that fails, after some that hold", func(tx *Txn) {
			things.Require(tx, "a/one", second)
			tx.Claim("name", "free", "a/two")
			things.Create(tx, "a/one", text(""))
			tx.Claim("name", "taken", "a/two")
		}, ConditionError{Err: ErrExists, Collection: "things", Name: "a/one", Have: second}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tx := s.Begin()
			parts.Put(tx, "witness", text("written although a condition failed"))
			tt.build(tx)
			_, err := tx.Commit(ctx)
			var got *ConditionError
			if !errors.As(err, &got) || *got != tt.want {
				t.Fatalf("got %+v, want %+v", err, tt.want)
			}
			wantErr(t, err, tt.want.Err)
			if got.Error() == "" || strings.Contains(got.Error(), "%!") {
				t.Errorf("text %q", got.Error())
			}
			_, err = parts.Get(ctx, s, "witness")
			wantErr(t, err, ErrNotFound)
		})
	}
}

func TestConditionsThatHold(t *testing.T) {
	s := openTest(t)
	create(t, s, things, "a/one", "1")
	now := create(t, s, parts, "b/one", "1")
	tx := s.Begin()
	things.Require(tx, "a/one", 0)
	things.RequireNone(tx, "a/on") // a prefix of a name, but no parent
	things.RequireUnchanged(tx, "a", now)
	things.RequireUnchanged(tx, "", now)
	tx.RequireClaims("name", "x/", now)
	things.Create(tx, "a/two", text("2"))
	tx.Claim("name", "x/y+z=", "a/two")
	revision := commit(t, tx)

	claims, _, err := s.Claims(testContext(t), "name", "x/")
	want := Claim{Kind: "name", Key: "x/y+z=", Owner: "a/two", Revision: revision}
	if err != nil || len(claims) != 1 || claims[0] != want {
		t.Fatalf("claims are %+v (%v), want %+v", claims, err, want)
	}
}

func TestRelease(t *testing.T) {
	s := openTest(t)
	ctx := testContext(t)
	tx := s.Begin()
	tx.Claim("name", "mine", "a")
	tx.Claim("name", "theirs", "b")
	commit(t, tx)
	tx = s.Begin()
	tx.Release("name", "mine", "a")
	tx.Release("name", "theirs", "a")
	tx.Release("name", "nobody's", "a")
	commit(t, tx)
	_, err := s.ClaimOwner(ctx, "name", "mine")
	wantErr(t, err, ErrNotFound)
	if c, err := s.ClaimOwner(ctx, "name", "theirs"); err != nil || c.Owner != "b" {
		t.Errorf("another's claim is now %+v, %v", c, err)
	}
}

func TestTxnMistakes(t *testing.T) {
	s := openTest(t)
	many := func(n int) func(*Txn) {
		return func(tx *Txn) {
			for i := range n {
				things.Put(tx, fmt.Sprintf("many/%d", i), text(""))
			}
		}
	}
	tests := []struct {
		name  string
		build func(*Txn)
		want  error
	}{
		{"bad empty name", func(tx *Txn) { things.Create(tx, "", text("")) }, ErrInvalid},
		{"bad trailing slash", func(tx *Txn) { things.Create(tx, "a/", text("")) }, ErrInvalid},
		{"bad empty segment", func(tx *Txn) { things.Put(tx, "a//b", text("")) }, ErrInvalid},
		{"bad control character", func(tx *Txn) { things.Put(tx, "a\x00b", text("")) }, ErrInvalid},
		{"bad UTF-8", func(tx *Txn) { things.Put(tx, "a\xff", text("")) }, ErrInvalid},
		{"bad long name", func(tx *Txn) { things.Put(tx, strings.Repeat("a", 1025), text("")) }, ErrInvalid},
		{"bad revision of update", func(tx *Txn) { things.Update(tx, "a", text(""), 0) }, ErrInvalid},
		{"bad revision of delete", func(tx *Txn) { things.Delete(tx, "a", -1) }, ErrInvalid},
		{"bad claim kind", func(tx *Txn) { tx.Claim("a/b", "c", "d") }, ErrInvalid},
		{"bad claim key", func(tx *Txn) { tx.Claim("a", "", "d") }, ErrInvalid},
		{"bad request id", func(tx *Txn) { tx.Remember(Request{Scope: "a", ID: "x/y", Name: "n"}) }, ErrInvalid},
		{"one key twice", func(tx *Txn) { things.Put(tx, "a", text("")); things.Put(tx, "a", text("")) }, ErrInvalid},
		{"a large value", func(tx *Txn) { things.Put(tx, "a", text(strings.Repeat("x", MaxValueBytes))) }, ErrTooLarge},
		{"too many writes", many(EmbeddedMaxTxnOps + 1), ErrTooLarge},
		{"too many bytes", func(tx *Txn) {
			for i := range 9 {
				things.Put(tx, fmt.Sprint("big", i), text(strings.Repeat("x", MaxValueBytes-100)))
			}
		}, ErrTooLarge},
		{"OK as many writes as may be", many(EmbeddedMaxTxnOps), nil},
		{"OK nothing", func(*Txn) {}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tx := s.Begin()
			tt.build(tx)
			if _, err := tx.Commit(testContext(t)); !errors.Is(err, tt.want) {
				t.Fatalf("got error %v, want %v", err, tt.want)
			}
		})
	}
}

// race runs attempt from n goroutines at once and gives how many succeeded; every other must have
// given want.
func race(t *testing.T, n int, want error, attempt func(i int) error) int {
	t.Helper()
	var wins atomic.Int64
	var group sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		group.Go(func() {
			<-start
			switch err := attempt(i); {
			case err == nil:
				wins.Add(1)
			case !errors.Is(err, want):
				t.Errorf("attempt %d: %v, want %v", i, err, want)
			}
		})
	}
	close(start)
	group.Wait()
	return int(wins.Load())
}

func TestRacingCreates(t *testing.T) {
	s := openTest(t)
	ctx := testContext(t)
	wins := race(t, 1000, ErrExists, func(i int) error {
		tx := s.Begin()
		things.Create(tx, "contested", text(fmt.Sprint(i)))
		_, err := tx.Commit(ctx)
		return err
	})
	if wins != 1 {
		t.Errorf("%d of 1000 creates of one name succeeded", wins)
	}
}

func TestRacingClaims(t *testing.T) {
	s := openTest(t)
	ctx := testContext(t)
	wins := race(t, 200, ErrClaimed, func(i int) error {
		name := fmt.Sprint("thing", i)
		tx := s.Begin()
		things.Create(tx, name, text(""))
		tx.Claim("address", fmt.Sprint("10.0.0.", i%4), name)
		_, err := tx.Commit(ctx)
		return err
	})
	page, err := things.List(ctx, s, ListOptions{PageSize: 1000})
	if err != nil || wins != 4 || len(page.Items) != 4 {
		t.Errorf("4 addresses: %d claims succeeded, %d things written, %v", wins, len(page.Items), err)
	}
}

func TestRacingChildAndParent(t *testing.T) {
	s := openTest(t)
	ctx := testContext(t)
	for round := range 50 {
		parent := fmt.Sprint("parent", round)
		revision := create(t, s, things, parent, "")
		var created, deleted error
		var group sync.WaitGroup
		group.Go(func() {
			tx := s.Begin()
			things.Require(tx, parent, 0)
			parts.Create(tx, parent+"/parts/x", text(""))
			_, created = tx.Commit(ctx)
		})
		group.Go(func() {
			tx := s.Begin()
			things.Delete(tx, parent, revision)
			parts.RequireNone(tx, parent)
			_, deleted = tx.Commit(ctx)
		})
		group.Wait()
		if (created == nil) == (deleted == nil) {
			t.Fatalf("create of the child: %v; delete of the parent: %v", created, deleted)
		}
	}
}

func TestModify(t *testing.T) {
	s := openTest(t)
	ctx := testContext(t)
	create(t, s, things, "counter", "")
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 5 {
				_, err := things.Modify(ctx, s, "counter", func(v *stringValue) (bool, error) {
					v.Value += "x"
					return true, nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	v, err := things.Get(ctx, s, "counter")
	if err != nil || v.Value.GetValue() != strings.Repeat("x", 20) {
		t.Errorf("got %q, %v", v.Value.GetValue(), err)
	}
	same, err := things.Modify(ctx, s, "counter", func(*stringValue) (bool, error) { return false, nil })
	if err != nil || same.Revision != v.Revision {
		t.Errorf("a change that changes nothing gave revision %d, %v; want %d", same.Revision, err, v.Revision)
	}
}

func TestEtag(t *testing.T) {
	for _, bad := range []string{"", "*", "0", "-1", "01", "1 ", "9223372036854775808", "x"} {
		if _, err := ParseEtag(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("ParseEtag(%q) gave %v", bad, err)
		}
	}
	v := Versioned[int]{Revision: 42}
	if got, err := ParseEtag(v.Etag()); err != nil || got != 42 {
		t.Errorf("got %d, %v", got, err)
	}
}

func TestRequests(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	s := openTest(t, WithClock(func() time.Time { return now }))
	ctx := testContext(t)
	req := Request{Scope: "acme", ID: "7f3c", Hash: []byte{1, 2, 3}, Name: "things/a b"}
	_, err := s.LookupRequest(ctx, req.Scope, req.ID)
	wantErr(t, err, ErrNotFound)

	if _, err := s.requestLease(ctx); err != nil { // or several of the racers take one each
		t.Fatal(err)
	}
	wins := race(t, 50, ErrRequestSeen, func(int) error {
		tx := s.Begin()
		tx.Remember(req)
		_, err := tx.Commit(ctx)
		return err
	})
	if wins != 1 {
		t.Errorf("%d transactions of one request succeeded", wins)
	}
	got, err := s.LookupRequest(ctx, req.Scope, req.ID)
	if err != nil || got.Name != req.Name || string(got.Hash) != string(req.Hash) {
		t.Errorf("got %+v, %v", got, err)
	}
	_, err = s.LookupRequest(ctx, "other", req.ID)
	wantErr(t, err, ErrNotFound)

	// A lease that is gone is replaced within the commit, and one that is old beforehand.
	held := s.lease.Load().id
	if _, err := s.client.Revoke(ctx, held); err != nil {
		t.Fatal(err)
	}
	_, err = s.LookupRequest(ctx, req.Scope, req.ID)
	wantErr(t, err, ErrNotFound)
	tx := s.Begin()
	tx.Remember(req)
	commit(t, tx)
	renewed := s.lease.Load().id
	now = now.Add(leaseWindow)
	req.ID = "8"
	tx = s.Begin()
	tx.Remember(req)
	commit(t, tx)
	if last := s.lease.Load().id; renewed == held || last == renewed {
		t.Errorf("leases %x, %x, %x; want three", held, renewed, last)
	}
}
