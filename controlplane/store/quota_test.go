package store

import (
	"strings"
	"testing"
)

func TestQuota(t *testing.T) {
	s := openTest(t, WithQuota(1<<20))
	ctx := testContext(t)
	var err error
	for i := 0; err == nil && i < 100; i++ {
		tx := s.Begin()
		things.Put(tx, "fill", text(strings.Repeat("x", 100<<10)))
		_, err = tx.Commit(ctx)
	}
	wantErr(t, err, ErrExhausted)
	if _, err := things.Get(ctx, s, "fill"); err != nil {
		t.Errorf("a full store does not read: %v", err)
	}
}
