package gateway

import (
	"context"
	"maps"
	"sync"
	"time"

	"causeway/gateway/endpoint"
	"causeway/gateway/spec"
)

// revocations ends the flows of endpoints that may no longer be used, each at its deadline.
type revocations struct {
	wake chan struct{}

	mu        sync.Mutex
	deadlines map[string]time.Time // by network interface uid
}

func newRevocations() *revocations {
	return &revocations{wake: make(chan struct{}, 1), deadlines: map[string]time.Time{}}
}

// set replaces the deadlines by those of a spec.
func (r *revocations) set(s *spec.Gateway) {
	deadlines := map[string]time.Time{}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		if e.Revocation == nil || e.Revocation.Keep {
			continue
		}
		for _, n := range e.Interfaces {
			deadlines[n.UID] = e.Revocation.Deadline
		}
	}
	r.mu.Lock()
	news := !maps.EqualFunc(r.deadlines, deadlines, time.Time.Equal)
	r.deadlines = deadlines
	r.mu.Unlock()
	if !news {
		return
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// due gives the interfaces whose deadline has passed, and how long the next one is off.
func (r *revocations) due(now time.Time) (passed map[string]bool, next time.Duration) {
	passed, next = map[string]bool{}, time.Hour
	r.mu.Lock()
	defer r.mu.Unlock()
	for uid, deadline := range r.deadlines {
		if wait := deadline.Sub(now); wait > 0 {
			next = min(next, wait)
		} else {
			passed[uid] = true
		}
	}
	return passed, next
}

// endRevoked resets the flows of revoked endpoints at their deadlines until ctx ends.
func (g *Gateway) endRevoked(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		passed, next := g.revoked.due(time.Now())
		if len(passed) > 0 {
			n := g.engine.Load().CloseWhere(func(f *endpoint.Flow) bool { return passed[f.NetworkInterface()] }, endpoint.ReasonConnectionRejected)
			if n > 0 {
				g.log.Info("live flows ended", "reason", endpoint.ReasonConnectionRejected.String(), "flows", n)
			}
		}
		timer.Reset(next)
		select {
		case <-ctx.Done():
			return nil
		case <-g.revoked.wake:
		case <-timer.C:
		}
	}
}
