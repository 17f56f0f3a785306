package store

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestLeadOfAnEmbeddedStore(t *testing.T) {
	s := openTest(t)
	want := errors.New("ended")
	if err := s.Lead(t.Context(), "work", func(context.Context) error { return want }); !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
	if err := s.Lead(t.Context(), "a/b", nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("a name with a slash: %v", err)
	}
}

// TestLeadIsOneAtATime has two processes ask for the lead of a cluster; the second gets it when the
// first lets go, and again after its lease was lost.
func TestLeadIsOneAtATime(t *testing.T) {
	if testing.Short() {
		t.Skip("runs three servers")
	}
	a := newAuthority(t)
	_, endpoints := startCluster(t, a)
	cfg := ClusterConfig{Endpoints: endpoints, TLS: a.client(t, "client"), Prefix: "/prod"}
	led := make(chan int)
	start := func(n int) (s *Store, stop func() error) {
		s = openCluster(t, cfg)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() {
			ended <- s.Lead(ctx, "work", func(ctx context.Context) error {
				led <- n
				<-ctx.Done()
				return ctx.Err()
			})
		}()
		return s, func() error { cancel(); return <-ended }
	}
	next := func(want int, within time.Duration) {
		t.Helper()
		select {
		case got := <-led:
			if got != want {
				t.Fatalf("%d leads, want %d", got, want)
			}
		case <-time.After(within):
			t.Fatalf("nobody leads within %v", within)
		}
	}
	_, stopFirst := start(1)
	next(1, 10*time.Second)
	second, stopSecond := start(2)
	select {
	case n := <-led:
		t.Fatalf("%d leads beside another", n)
	case <-time.After(time.Second):
	}
	if err := stopFirst(); err != nil {
		t.Error(err)
	}
	next(2, 5*time.Second)

	// Whoever holds the lead loses it with its lease and asks again.
	leases, err := second.client.Leases(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range leases.Leases {
		if _, err := second.client.Revoke(testContext(t), l.ID); err != nil {
			t.Fatal(err)
		}
	}
	next(2, 20*time.Second)
	if err := stopSecond(); err != nil {
		t.Error(err)
	}
}
