package shape

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// minBurst and burstTime size the credit a direction may save up while
	// idle or while the machine does not run it. A window of time holds at
	// most the burst over its limit, and budgets are judged by windows of a
	// second within 3 %: that leaves 30 ms, of which 3 are for queues on the
	// way to whoever measures. A pause beyond the burst is lost. Less would
	// lose more: simulated with pauses of 10 to 30 ms four times a second,
	// half of all runs of 10 s missed the mean by over 1 % with 20 ms, and
	// none did with 24 ms or more; windows under 97 % became 17 times rarer
	// from 20 to 28 ms, while those over 103 %, which come from delays after
	// the grant, became hardly more frequent.
	minBurst  = 64 << 10
	burstTime = 27 * time.Millisecond
	// quantumTime sizes what one waiting share gets in a round, within
	// minQuantum and maxQuantum: at low limits a full 64 KB would make the
	// other flows wait too long, at high ones less would cost too much.
	quantumTime = 2 * time.Millisecond
	minQuantum  = 4 << 10
	maxQuantum  = 64 << 10
	// minDelay between two rounds keeps the timer from dominating at high
	// limits; the burst bridges it.
	minDelay = 200 * time.Microsecond
)

// rate is an immutable limit in force since start. Credit is computed from
// start, never added up, so rounding does not accumulate.
type rate struct {
	start         time.Duration // since the budget's epoch
	base          int64         // bytes accrued until start
	bitsPerSecond int64
	burst         int64
	quantum       int64
}

func newRate(start time.Duration, base, bitsPerSecond int64) *rate {
	r := &rate{start: start, base: base, bitsPerSecond: bitsPerSecond}
	r.burst = max(minBurst, r.bytesIn(burstTime))
	r.quantum = min(max(minQuantum, r.bytesIn(quantumTime)), maxQuantum)
	return r
}

// bytesIn returns the bytes that may move in d, in 128-bit arithmetic: a
// product of nanoseconds and 40 Gbit/s overflows 64 bits within a second.
func (r *rate) bytesIn(d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(d), uint64(r.bitsPerSecond))
	q, _ := bits.Div64(hi, lo, 8*uint64(time.Second))
	return int64(q)
}

// timeFor returns how long n bytes take to accrue, rounded up.
func (r *rate) timeFor(n int64) time.Duration {
	hi, lo := bits.Mul64(uint64(n), 8*uint64(time.Second))
	q, rem := bits.Div64(hi, lo, uint64(r.bitsPerSecond))
	if rem > 0 {
		q++
	}
	return time.Duration(q)
}

func (r *rate) accrued(now time.Duration) int64 { return r.base + r.bytesIn(now-r.start) }

// lane is one direction of a Budget: a token bucket that is taken from
// without a lock while nobody waits, and a line of waiting shares.
type lane struct {
	clock Clock
	epoch time.Time
	dir   Direction

	rate atomic.Pointer[rate]
	// spent is what was granted plus credit that expired; accrued - spent is
	// the credit left.
	spent   atomic.Int64
	moved   atomic.Int64
	waiting atomic.Int32

	mu         sync.Mutex
	head, tail *Share
	timer      Timer
	armed      bool
	awake      []Waker // spare storage of release
	throttled  time.Duration
	since      time.Duration // when the line became non-empty
}

func (l *lane) now() time.Duration { return l.clock.Now().Sub(l.epoch) }

// spend takes between least and most bytes of credit, or none.
func (l *lane) spend(now time.Duration, least, most int64) int64 {
	r := l.rate.Load()
	accrued := r.accrued(now)
	for {
		spent := l.spent.Load()
		from := max(spent, accrued-r.burst)
		n := min(most, accrued-from)
		if n < least {
			return 0
		}
		if l.spent.CompareAndSwap(spent, from+n) {
			l.moved.Add(n)
			return n
		}
	}
}

func (l *lane) refund(n int) {
	l.spent.Add(-int64(n))
	l.moved.Add(-int64(n))
}

// take grants from credit when nobody waits, else puts s in line.
func (l *lane) take(s *Share, want int) int {
	least := min(int64(want), l.rate.Load().quantum)
	now := l.now()
	if l.waiting.Load() == 0 {
		if n := l.spend(now, least, int64(want)); n > 0 {
			return int(n)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.head == nil {
		if n := l.spend(now, least, int64(want)); n > 0 {
			return int(n)
		}
		l.since = now
	}
	s.want, s.pending = int32(want), 0
	s.state.Store(shareInLine)
	if s.deficit > 0 {
		l.pushFront(s)
	} else {
		l.push(s)
	}
	l.waiting.Add(1)
	l.arm(now)
	return 0
}

// arm makes release run when the head of the line can be served. It is called
// with mu held.
func (l *lane) arm(now time.Duration) {
	if l.head == nil || l.armed {
		return
	}
	r := l.rate.Load()
	need := int64(l.head.turn(r.quantum))
	accrued := r.accrued(now)
	credit := min(accrued-l.spent.Load(), r.burst)
	delay := max(minDelay, r.timeFor(max(need-credit, 0)))
	l.armed = true
	if l.timer == nil {
		l.timer = l.clock.AfterFunc(delay, l.release)
		return
	}
	l.timer.Reset(delay)
}

// rearm is arm for a rate that has changed. It is called with mu held.
func (l *lane) rearm(now time.Duration) {
	if l.armed {
		l.timer.Stop()
		l.armed = false
	}
	l.arm(now)
}

// turn starts the turn of the share at the head of the line, if it has not
// started, and returns the bytes it is to get. A share that wants less than a
// quantum keeps the rest of its turn as its deficit: coming back for more it
// goes to the head of the line, so that flows with small chunks get as much
// as those with large ones (Shreedhar and Varghese, "Efficient Fair Queuing
// using Deficit Round Robin", 1995).
func (s *Share) turn(quantum int64) int32 {
	if s.deficit <= 0 {
		s.deficit = int32(quantum)
	}
	return min(s.want-s.pending, s.deficit)
}

// release serves the line: a turn each until the credit is used up, then
// wakes those who got something.
func (l *lane) release() {
	l.mu.Lock()
	l.armed = false
	now := l.now()
	quantum := l.rate.Load().quantum
	awake := l.awake[:0]
	l.awake = nil // a release that overlaps the calls below makes its own
	for l.head != nil {
		s := l.head
		n := s.turn(quantum)
		if l.spend(now, int64(n), int64(n)) == 0 {
			break
		}
		s.deficit -= n
		if s.pending += n; s.pending == s.want {
			awake = append(awake, l.grant(s, now))
			continue
		}
		l.unlink(s)
		l.push(s)
	}
	// Shares that were served but want more are the end of the line.
	for l.tail != nil && l.tail.pending > 0 {
		awake = append(awake, l.grant(l.tail, now))
	}
	l.arm(now)
	l.mu.Unlock()
	for _, w := range awake {
		w.Ready(l.dir)
	}
	clear(awake)
	l.mu.Lock()
	l.awake = awake
	l.mu.Unlock()
}

// grant takes s out of line with what it was granted. It is called with mu
// held; afterwards s belongs to its owner.
func (l *lane) grant(s *Share, now time.Duration) Waker {
	l.remove(s, now)
	waker := s.waker
	s.state.Store(s.pending)
	return waker
}

// leave takes s out of line and returns its grants.
func (l *lane) leave(s *Share) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch n := s.state.Load(); {
	case n == shareInLine:
		l.remove(s, l.now())
		l.refund(int(s.pending))
	case n > 0:
		l.refund(int(n))
	}
	s.state.Store(shareIdle)
}

// remove unlinks s for good and keeps the counters.
func (l *lane) remove(s *Share, now time.Duration) {
	l.unlink(s)
	if l.waiting.Add(-1) == 0 {
		l.throttled += now - l.since
	}
}

func (l *lane) push(s *Share) {
	s.prev, s.next = l.tail, nil
	if l.tail == nil {
		l.head = s
	} else {
		l.tail.next = s
	}
	l.tail = s
}

func (l *lane) pushFront(s *Share) {
	s.prev, s.next = nil, l.head
	if l.head == nil {
		l.tail = s
	} else {
		l.head.prev = s
	}
	l.head = s
}

func (l *lane) unlink(s *Share) {
	if s.prev == nil {
		l.head = s.next
	} else {
		s.prev.next = s.next
	}
	if s.next == nil {
		l.tail = s.prev
	} else {
		s.next.prev = s.prev
	}
	s.prev, s.next = nil, nil
}
