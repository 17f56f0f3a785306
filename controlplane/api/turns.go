package api

import (
	"context"
	"sync"
)

// turns lets those who would only make each other start over go one after another. It is safe for
// concurrent use; the zero value is ready.
type turns struct {
	mu   sync.Mutex
	held map[string]*turn
}

// turn is what those wait for who want the same.
type turn struct {
	free  chan struct{} // holds one token while nobody has the turn
	users int           // who has it or waits for it
}

// take waits for the turn of a key, or for ctx to end. The turn is over when the caller calls done.
func (t *turns) take(ctx context.Context, key string) (done func(), err error) {
	one := t.join(key)
	select {
	case <-one.free:
	case <-ctx.Done():
		t.part(key, one)
		return nil, ctx.Err()
	}
	return func() {
		one.free <- struct{}{}
		t.part(key, one)
	}, nil
}

func (t *turns) join(key string) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := t.held[key]
	if one == nil {
		one = &turn{free: make(chan struct{}, 1)}
		one.free <- struct{}{}
		if t.held == nil {
			t.held = make(map[string]*turn)
		}
		t.held[key] = one
	}
	one.users++
	return one
}

func (t *turns) part(key string, one *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if one.users--; one.users == 0 {
		delete(t.held, key)
	}
}
