package controlplane

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxBuckets bounds the callers that the limiter knows apart.
const maxBuckets = 4096

// limiter is a token bucket per caller. It is safe for concurrent use.
type limiter struct {
	rate  rate.Limit
	burst int
	now   func() time.Time

	mu      sync.Mutex
	buckets map[string]*rate.Limiter
	// rest is shared by those who come when every bucket is taken and none is idle.
	rest *rate.Limiter
}

func newLimiter(perSecond float64, burst int, now func() time.Time) *limiter {
	return &limiter{
		rate: rate.Limit(perSecond), burst: burst, now: now,
		buckets: make(map[string]*rate.Limiter),
		rest:    rate.NewLimiter(rate.Limit(perSecond), burst),
	}
}

// take counts a call of caller. If it is one too many it gives how long to wait, above zero.
func (l *limiter) take(caller string) time.Duration {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	reservation := l.bucket(caller, now).ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}

func (l *limiter) bucket(caller string, now time.Time) *rate.Limiter {
	if b, ok := l.buckets[caller]; ok {
		return b
	}
	if len(l.buckets) >= maxBuckets {
		l.sweep(now)
	}
	if len(l.buckets) >= maxBuckets {
		return l.rest
	}
	b := rate.NewLimiter(l.rate, l.burst)
	l.buckets[caller] = b
	return b
}

// sweep forgets callers whose bucket is full: to a new bucket they are the same.
func (l *limiter) sweep(now time.Time) {
	for caller, b := range l.buckets {
		if b.TokensAt(now) >= float64(l.burst) {
			delete(l.buckets, caller)
		}
	}
}
