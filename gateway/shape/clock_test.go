package shape

import (
	"container/heap"
	"time"
)

// fakeClock is a Clock whose time moves only when a test runs it.
type fakeClock struct {
	now    time.Time
	timers timerHeap
	serial int
	// late delays every timer, as a busy machine does.
	late func() time.Duration
	// resume, if not nil, returns when what is due at a time really happens:
	// later while the machine is paused. It is monotonic.
	resume func(time.Time) time.Time
}

func newFakeClock() *fakeClock { return &fakeClock{now: time.Unix(1_700_000_000, 0)} }

func (c *fakeClock) Now() time.Time { return c.now }

func (c *fakeClock) AfterFunc(d time.Duration, f func()) Timer {
	t := &fakeTimer{clock: c, f: f, index: -1}
	t.Reset(d)
	return t
}

// after is AfterFunc for the test's own actors, which are never late.
func (c *fakeClock) after(d time.Duration, f func()) {
	late := c.late
	c.late = nil
	c.AfterFunc(d, f)
	c.late = late
}

// run fires timers in order until the time is end.
func (c *fakeClock) run(end time.Time) {
	for len(c.timers) > 0 && !c.timers[0].at.After(end) {
		t := heap.Pop(&c.timers).(*fakeTimer)
		c.now = t.at
		if c.resume != nil {
			c.now = c.resume(t.at)
		}
		t.f()
	}
	if c.now.Before(end) {
		c.now = end
	}
}

func (c *fakeClock) advance(d time.Duration) { c.run(c.now.Add(d)) }

type fakeTimer struct {
	clock  *fakeClock
	at     time.Time
	f      func()
	index  int
	serial int
}

func (t *fakeTimer) Reset(d time.Duration) bool {
	pending := t.Stop()
	if t.clock.late != nil {
		d += t.clock.late()
	}
	t.clock.serial++
	t.at, t.serial = t.clock.now.Add(d), t.clock.serial
	heap.Push(&t.clock.timers, t)
	return pending
}

func (t *fakeTimer) Stop() bool {
	if t.index < 0 {
		return false
	}
	heap.Remove(&t.clock.timers, t.index)
	return true
}

type timerHeap []*fakeTimer

func (h timerHeap) Len() int { return len(h) }
func (h timerHeap) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].serial < h[j].serial
	}
	return h[i].at.Before(h[j].at)
}
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *timerHeap) Push(x any) {
	t := x.(*fakeTimer)
	t.index = len(*h)
	*h = append(*h, t)
}
func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	t.index = -1
	*h = old[:len(old)-1]
	return t
}
