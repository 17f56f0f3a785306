package shape

import "time"

// The rules of growth. Use is judged by consecutive samples rather than by one
// mean, so that a short peak cannot double a limit.
const (
	growPercent    = 80
	shrinkPercent  = 40
	samplesPerStep = 12
	maxSample      = 5 * time.Second
)

// growth follows the use of one direction.
type growth struct {
	at                time.Duration // of the last sample
	moved             int64         // bytes moved until then
	usedBitsPerSecond int64
	high, low         time.Duration // how long use has been above, below
}

func (g *growth) reset() { g.high, g.low = 0, 0 }

// observe closes a sample and returns the limit that should hold from now on.
func (g *growth) observe(b *Budget, now time.Duration, moved, limit int64) int64 {
	took := now - g.at
	used := float64(moved-g.moved) * 8 / took.Seconds()
	g.usedBitsPerSecond = int64(used)
	g.at, g.moved = now, moved

	if used >= float64(limit)*growPercent/100 {
		g.high += took
	} else {
		g.high = 0
	}
	if used < float64(limit)*shrinkPercent/100 {
		g.low += took
	} else {
		g.low = 0
	}
	switch {
	case g.high >= b.growAfter:
		g.reset()
		return min(2*limit, b.limits.MaximumBitsPerSecond)
	case g.low >= b.shrinkAfter:
		g.reset()
		return max(limit/2, b.limits.BaselineBitsPerSecond)
	}
	return limit
}

// Tick samples use and steps the limits. Call it about once a second: samples
// are as long as a twelfth of GrowAfter or ShrinkAfter, at most 5 s, or the
// time between two calls if that is longer.
func (b *Budget) Tick() {
	var steps []Step
	b.mu.Lock()
	for d := range b.lanes {
		l, g := &b.lanes[d], &b.growth[d]
		now := l.now()
		if now-g.at < b.sample {
			continue
		}
		from := l.rate.Load().bitsPerSecond
		to := g.observe(b, now, l.moved.Load(), from)
		if to == from {
			continue
		}
		l.setRate(to)
		steps = append(steps, Step{
			Time:              l.epoch.Add(now),
			Direction:         Direction(d),
			FromBitsPerSecond: from,
			ToBitsPerSecond:   to,
		})
	}
	b.mu.Unlock()
	if b.onStep == nil {
		return
	}
	for _, s := range steps {
		b.onStep(s)
	}
}

// setRate puts a new limit in force; credit saved up under the old one stays.
func (l *lane) setRate(bitsPerSecond int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.rate.Store(newRate(now, l.rate.Load().accrued(now), bitsPerSecond))
	l.rearm(now)
}
