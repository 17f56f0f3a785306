package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"causeway/e2e/jsonapi"
	causewayv1 "causeway/proto/causeway/v1"
)

// TestKillCyclesSoak kills the daemon at random moments while twelve writers create, change and
// delete, and starts it again: no acknowledged write is lost and none is resurrected. 50 cycles, or
// 1,000 with SOAK set.
func TestKillCyclesSoak(t *testing.T) {
	cycles := 50
	if os.Getenv("SOAK") != "" {
		cycles = 1000
	}
	const writers = 12
	w := newWorld(t, settings{})
	ledgers := make([]*ledger, writers)
	for i := range ledgers {
		ledgers[i] = &ledger{api: w.dial(), id: i}
	}
	acknowledged := 0
	for cycle := range cycles {
		ctx, stop := context.WithCancel(w.Context())
		var running sync.WaitGroup
		for _, l := range ledgers {
			running.Go(func() { l.write(ctx) })
		}
		<-time.After(time.Duration(50+rand.IntN(400)) * time.Millisecond)
		w.daemon.Kill()
		stop()
		running.Wait()
		w.daemon.Restart()
		for _, l := range ledgers {
			if err := l.verify(w.Context()); err != nil {
				t.Fatalf("cycle %d: writer %d: %v", cycle, l.id, err)
			}
			acknowledged += l.acknowledged
			l.acknowledged = 0
		}
	}
	t.Logf("%d acknowledged writes over %d kills, none lost", acknowledged, cycles)
	if acknowledged < cycles*writers {
		t.Fatalf("only %d writes were acknowledged in %d cycles: the load was too low to say anything", acknowledged, cycles)
	}
}

// ledger writes one account after another and remembers what it was told.
type ledger struct {
	api          *jsonapi.Client
	id, next     int
	acknowledged int
	// current is the account that exists, with the name it was last known to have; unsure is what a
	// write whose answer was lost may have made of it.
	current, displayName string
	unsure               *change
	deleted              []string
}

// change is a write whose outcome is not known.
type change struct{ method, account, displayName string }

// write goes on until a call fails.
func (l *ledger) write(ctx context.Context) {
	for {
		c := l.choose()
		request := fmt.Sprintf(`{"name":"accounts/%s"}`, c.account)
		switch c.method {
		case "CreateAccount":
			request = fmt.Sprintf(`{"account_id":%q,"account":{"display_name":%q}}`, c.account, c.displayName)
		case "UpdateAccount":
			request = fmt.Sprintf(`{"account":{"name":"accounts/%s","display_name":%q}}`, c.account, c.displayName)
		}
		if _, err := l.api.Call(ctx, "Accounts/"+c.method, request); err != nil {
			l.unsure = &c
			return
		}
		l.apply(c)
		l.acknowledged++
	}
}

// choose creates an account, renames it a few times and deletes it.
func (l *ledger) choose() change {
	l.next++
	switch {
	case l.current == "":
		return change{"CreateAccount", fmt.Sprintf("w%d-%d", l.id, l.next), "new"}
	case l.next%5 == 0:
		return change{"DeleteAccount", l.current, ""}
	default:
		return change{"UpdateAccount", l.current, fmt.Sprintf("name %d", l.next)}
	}
}

func (l *ledger) apply(c change) {
	if c.method == "DeleteAccount" {
		l.deleted, l.current = append(l.deleted, c.account), ""
		return
	}
	l.current, l.displayName = c.account, c.displayName
}

// verify compares the store with the memory. The unsure write may have happened or not; from then on
// it is known which.
func (l *ledger) verify(ctx context.Context) error {
	if l.unsure != nil {
		if err := l.settleUnsure(ctx); err != nil {
			return err
		}
	}
	if l.current != "" {
		got, err := l.get(ctx, l.current)
		if err != nil {
			return fmt.Errorf("account %s was acknowledged and is lost: %w", l.current, err)
		}
		if got.GetDisplayName() != l.displayName {
			return fmt.Errorf("account %s is named %q; %q was acknowledged", l.current, got.GetDisplayName(), l.displayName)
		}
	}
	for _, name := range l.deleted {
		if _, err := l.get(ctx, name); status.Code(err) != codes.NotFound {
			return fmt.Errorf("account %s was deleted and is back: %w", name, err)
		}
	}
	l.deleted = nil
	return nil
}

func (l *ledger) settleUnsure(ctx context.Context) error {
	c := *l.unsure
	l.unsure = nil
	got, err := l.get(ctx, c.account)
	happened := err == nil && got.GetDisplayName() == c.displayName
	if c.method == "DeleteAccount" {
		happened = status.Code(err) == codes.NotFound
	}
	if err != nil && status.Code(err) != codes.NotFound {
		return fmt.Errorf("look at account %s: %w", c.account, err)
	}
	if happened {
		l.apply(c)
	}
	return nil
}

func (l *ledger) get(ctx context.Context, account string) (*causewayv1.Account, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		got, err := l.api.Call(ctx, "Accounts/GetAccount", fmt.Sprintf(`{"name":"accounts/%s"}`, account))
		if status.Code(err) == codes.Unavailable && strings.Contains(err.Error(), "connect") && ctx.Err() == nil {
			continue // the client's connection is still that to the killed daemon
		}
		if err != nil {
			return nil, err
		}
		return got.(*causewayv1.Account), nil
	}
}
