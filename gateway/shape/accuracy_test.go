package shape

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// ledger notes when a direction's bytes moved, by millisecond.
type ledger struct {
	clock    *fakeClock
	begin    time.Time
	perMilli []int64
}

func newLedger(c *fakeClock, d time.Duration) *ledger {
	return &ledger{clock: c, begin: c.now, perMilli: make([]int64, d.Milliseconds())}
}

func (l *ledger) note(n int) {
	if at := l.clock.now.Sub(l.begin).Milliseconds(); at < int64(len(l.perMilli)) {
		l.perMilli[at] += int64(n)
	}
}

// greedy starts flows that always have bytes to move.
func (l *ledger) greedy(b *Budget, d Direction, flows int) {
	for range flows {
		start(b, d, &source{clock: l.clock, chunk: 64 << 10, onMove: l.note})
	}
}

// total returns the bytes moved from a time on.
func (l *ledger) total(from time.Duration) (sum int64) {
	for _, n := range l.perMilli[from.Milliseconds():] {
		sum += n
	}
	return sum
}

// windows returns the least and the most bytes of any second, sliding by a
// millisecond. The start is included, and with it the burst.
func (l *ledger) windows() (least, most int64) {
	const length = 1000
	var sum int64
	for i, n := range l.perMilli {
		sum += n
		if i >= length {
			sum -= l.perMilli[i-length]
		}
		if i < length-1 {
			continue
		}
		if i == length-1 || sum < least {
			least = sum
		}
		most = max(most, sum)
	}
	return least, most
}

// check compares the mean of all seconds but the first, and each window of a
// second, with a limit.
func (l *ledger) check(t *testing.T, bitsPerSecond int64) {
	t.Helper()
	want := float64(bitsPerSecond) / 8
	took := time.Duration(len(l.perMilli))*time.Millisecond - time.Second
	if mean := float64(l.total(time.Second)) / took.Seconds(); mean < want*0.99 || mean > want*1.01 {
		t.Errorf("mean %.0f B/s (%+.2f %%), want %.0f within 1 %%", mean, 100*(mean/want-1), want)
	}
	least, most := l.windows()
	if low, high := float64(least)/want, float64(most)/want; low < 0.97 || high > 1.03 {
		t.Errorf("1 s windows %+.2f to %+.2f %%, want within 3 %%", 100*(low-1), 100*(high-1))
	}
}

// TestAccuracy uses both directions at once, each as much as it can, on a
// machine whose timers fire late.
func TestAccuracy(t *testing.T) {
	const late = 5 * time.Millisecond
	for _, limit := range []int64{50 * mega, 200 * mega, 800 * mega, 10 * giga} {
		for _, flows := range []int{1, 8, 64} {
			t.Run(fmt.Sprintf("%d Mbps x%d", limit/mega, flows), func(t *testing.T) {
				c := newFakeClock()
				rng := rand.New(rand.NewPCG(uint64(limit), uint64(flows)))
				c.late = func() time.Duration { return time.Duration(rng.IntN(int(late))) }
				b := newTestBudget(t, c, limit)
				ledgers := map[Direction]*ledger{}
				for _, d := range []Direction{Ingress, Egress} {
					ledgers[d] = newLedger(c, 11*time.Second)
					ledgers[d].greedy(b, d, flows)
				}
				c.advance(11 * time.Second)
				for d, l := range ledgers {
					t.Run(d.String(), func(t *testing.T) { l.check(t, limit) })
				}
			})
		}
	}
}

// pauses makes the machine run nothing for times between shortest and longest,
// about every interval, and returns how much of them is longer than a burst.
func (c *fakeClock) pauses(d, interval, shortest, longest time.Duration, rng *rand.Rand) (lost time.Duration) {
	type pause struct{ from, to time.Time }
	var list []pause
	for at := c.now; at.Before(c.now.Add(d)); {
		from := at.Add(interval/2 + time.Duration(rng.Int64N(int64(interval))))
		took := shortest + time.Duration(rng.Int64N(int64(longest-shortest)))
		at = from.Add(took)
		list = append(list, pause{from, at})
		lost += max(0, took-burstTime)
	}
	c.resume = func(at time.Time) time.Time {
		for len(list) > 0 && at.After(list[0].to) {
			list = list[1:]
		}
		if len(list) > 0 && at.After(list[0].from) {
			return list[0].to
		}
		return at
	}
	return lost
}

// TestPausesWithinTheBurst pauses the machine for less than a burst, often:
// what was missed is made up for at once.
func TestPausesWithinTheBurst(t *testing.T) {
	for _, limit := range []int64{50 * mega, 200 * mega, 800 * mega} {
		for _, flows := range []int{1, 64} {
			t.Run(fmt.Sprintf("%d Mbps x%d", limit/mega, flows), func(t *testing.T) {
				c := newFakeClock()
				c.pauses(11*time.Second, 100*time.Millisecond, 10*time.Millisecond, 26*time.Millisecond, rand.New(rand.NewPCG(1, uint64(limit))))
				b := newTestBudget(t, c, limit)
				l := newLedger(c, 11*time.Second)
				l.greedy(b, Egress, flows)
				c.advance(11 * time.Second)
				l.check(t, limit)
			})
		}
	}
}

// TestPausesBeyondTheBurst pauses the machine for up to 60 ms: no second may
// hold too much for it afterwards, and no more is lost than what exceeds the
// burst.
func TestPausesBeyondTheBurst(t *testing.T) {
	const d = 11 * time.Second
	for _, limit := range []int64{50 * mega, 200 * mega, 800 * mega} {
		for seed := range uint64(5) {
			c := newFakeClock()
			lost := c.pauses(d, 300*time.Millisecond, 5*time.Millisecond, 60*time.Millisecond, rand.New(rand.NewPCG(2, seed)))
			b := newTestBudget(t, c, limit)
			l := newLedger(c, d)
			l.greedy(b, Ingress, 4)
			c.advance(d)
			bytesPerSecond := float64(limit) / 8
			if _, most := l.windows(); float64(most) > bytesPerSecond*1.03 {
				t.Errorf("%d bit/s, pauses %d: a second holds %+.2f %%, want at most 3 %%", limit, seed, 100*(float64(most)/bytesPerSecond-1))
			}
			// The end may fall into a pause.
			least := bytesPerSecond * (d - lost - 60*time.Millisecond).Seconds()
			if moved := l.total(0); float64(moved) < least*0.998 {
				t.Errorf("%d bit/s, pauses %d: moved %d bytes, want at least %.0f", limit, seed, moved, least)
			}
		}
	}
}
