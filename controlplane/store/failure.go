package store

import (
	"fmt"
	"sync"
)

// failure says whether the embedded server has failed for good, and why. A nil failure never has.
type failure struct {
	once   sync.Once
	failed chan struct{}
	reason string // written before failed is closed
}

func newFailure() *failure { return &failure{failed: make(chan struct{})} }

func (f *failure) set(reason string) {
	f.once.Do(func() {
		f.reason = reason
		close(f.failed)
	})
}

func (f *failure) done() <-chan struct{} {
	if f == nil {
		return nil
	}
	return f.failed
}

func (f *failure) err() error {
	select {
	case <-f.done():
		return fmt.Errorf("%w: etcd stopped: %s", ErrUnavailable, f.reason)
	default:
		return nil
	}
}
