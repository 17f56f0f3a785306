package shape

import (
	"fmt"
	"sync"
	"time"
)

// Direction is the way of a byte, seen from the consumer.
type Direction uint8

const (
	// Ingress is consumer to service: bytes that enter the service.
	Ingress Direction = iota
	// Egress is service to consumer: bytes that leave the service.
	Egress
	directions
)

// String returns "ingress" or "egress".
func (d Direction) String() string {
	switch d {
	case Ingress:
		return "ingress"
	case Egress:
		return "egress"
	default:
		return fmt.Sprintf("direction(%d)", uint8(d))
	}
}

// Defaults of Limits and Config. The bandwidths are those of AWS interface
// endpoints, which serve 10 Gbps per zone and scale up by themselves
// (https://docs.aws.amazon.com/vpc/latest/privatelink/privatelink-access-aws-services.html).
const (
	DefaultBaselineBitsPerSecond = int64(10_000_000_000)
	DefaultMaximumBitsPerSecond  = int64(40_000_000_000)
	DefaultGrowAfter             = 60 * time.Second
	DefaultShrinkAfter           = 15 * time.Minute
)

// MinimumBitsPerSecond is the lowest limit a Budget accepts. Below it a single
// packet would fill the windows in which budgets are accounted.
const MinimumBitsPerSecond = int64(64_000)

// MaximumBitsPerSecond is the highest limit a Budget accepts. At this rate the
// 64-bit byte counts last for two decades.
const MaximumBitsPerSecond = int64(100_000_000_000)

// Limits bounds what one direction of a Budget may move. The zero value of a
// field means its default; a maximum below the baseline means no growth.
type Limits struct {
	BaselineBitsPerSecond int64
	MaximumBitsPerSecond  int64
}

// Step is one change of a direction's limit by itself.
type Step struct {
	Time              time.Time
	Direction         Direction
	FromBitsPerSecond int64
	ToBitsPerSecond   int64
}

// Timer is a pending call made by Clock.AfterFunc.
type Timer interface {
	// Reset makes the call happen after d from now, whether or not it was
	// pending.
	Reset(d time.Duration) bool
	// Stop cancels the call if it has not started.
	Stop() bool
}

// Clock is the time a Budget lives by. Implementations are safe for concurrent
// use; Now never goes backwards.
type Clock interface {
	Now() time.Time
	AfterFunc(d time.Duration, f func()) Timer
}

// Config makes a Budget. Its zero value is usable.
type Config struct {
	Limits Limits
	// GrowAfter is how long use must stay at 80 % of the current limit or
	// above before the limit doubles. Zero means DefaultGrowAfter.
	GrowAfter time.Duration
	// ShrinkAfter is how long use must stay below 40 % of the current limit
	// before the limit halves. Zero means DefaultShrinkAfter.
	ShrinkAfter time.Duration
	// OnStep, if not nil, is called from Tick after each step, without locks.
	OnStep func(Step)
	// Clock is the time; nil means the machine's.
	Clock Clock
}

// Usage is one direction of a Budget at a moment.
type Usage struct {
	// LimitBitsPerSecond is the limit now.
	LimitBitsPerSecond int64
	// UsedBitsPerSecond is the rate of the last completed sample (see Tick).
	UsedBitsPerSecond int64
	// MovedBytes counts all bytes granted and not refunded.
	MovedBytes int64
	// Throttled is the time during which at least one share waited.
	Throttled time.Duration
	// Waiting is the number of shares waiting now.
	Waiting int
}

// Waker is told that a waiting share has been granted bytes. Ready is called
// without locks of the budget held and must not block.
type Waker interface {
	Ready(d Direction)
}

// Budget is the bandwidth one endpoint may use in one zone, each direction
// apart. All methods are safe for concurrent use.
type Budget struct {
	clock       Clock
	growAfter   time.Duration
	shrinkAfter time.Duration
	sample      time.Duration
	onStep      func(Step)
	lanes       [directions]lane

	mu     sync.Mutex // guards limits and growth; taken before a lane's
	limits Limits
	growth [directions]growth
}

// New returns a budget whose directions start at the baseline. It starts no
// goroutine; call Tick about once a second for growth and Usage rates.
func New(cfg Config) (*Budget, error) {
	limits, err := cfg.Limits.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("make zone budget: %w", err)
	}
	b := &Budget{
		clock:       cfg.Clock,
		growAfter:   cfg.GrowAfter,
		shrinkAfter: cfg.ShrinkAfter,
		onStep:      cfg.OnStep,
		limits:      limits,
	}
	if b.clock == nil {
		b.clock = machineClock{}
	}
	if b.growAfter <= 0 {
		b.growAfter = DefaultGrowAfter
	}
	if b.shrinkAfter <= 0 {
		b.shrinkAfter = DefaultShrinkAfter
	}
	b.sample = min(b.growAfter/samplesPerStep, b.shrinkAfter/samplesPerStep, maxSample)
	epoch := b.clock.Now()
	for d := range b.lanes {
		l := &b.lanes[d]
		l.clock, l.epoch, l.dir = b.clock, epoch, Direction(d)
		// A full burst is there from the start.
		r := newRate(0, 0, limits.BaselineBitsPerSecond)
		l.rate.Store(r)
		l.spent.Store(-r.burst)
	}
	return b, nil
}

// Join makes s a part of the budget's direction d, to be woken through w. It
// panics if s is joined already.
func (b *Budget) Join(s *Share, d Direction, w Waker) {
	if s.lane != nil {
		panic("shape: share joined twice")
	}
	s.lane, s.waker = &b.lanes[d], w
}

// Limits returns the limits in force, defaults filled in.
func (b *Budget) Limits() Limits {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.limits
}

// SetLimits changes the limits at once, for waiting shares too. A direction at
// its baseline moves to the new one; a direction that has grown keeps what it
// has grown to, within the new limits.
func (b *Budget) SetLimits(l Limits) error {
	l, err := l.withDefaults()
	if err != nil {
		return fmt.Errorf("set limits of zone budget: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if l == b.limits {
		return nil
	}
	old := b.limits
	b.limits = l
	for d := range b.lanes {
		limit := b.lanes[d].rate.Load().bitsPerSecond
		if limit == old.BaselineBitsPerSecond {
			limit = l.BaselineBitsPerSecond
		}
		b.lanes[d].setRate(min(max(limit, l.BaselineBitsPerSecond), l.MaximumBitsPerSecond))
		b.growth[d].reset()
	}
	return nil
}

// LimitBitsPerSecond returns the current limit of d.
func (b *Budget) LimitBitsPerSecond(d Direction) int64 {
	return b.lanes[d].rate.Load().bitsPerSecond
}

// Usage returns the state of direction d.
func (b *Budget) Usage(d Direction) Usage {
	l := &b.lanes[d]
	b.mu.Lock()
	used := b.growth[d].usedBitsPerSecond
	b.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	u := Usage{
		LimitBitsPerSecond: l.rate.Load().bitsPerSecond,
		UsedBitsPerSecond:  used,
		MovedBytes:         l.moved.Load(),
		Throttled:          l.throttled,
		Waiting:            int(l.waiting.Load()),
	}
	if l.head != nil {
		u.Throttled += l.now() - l.since
	}
	return u
}

func (l Limits) withDefaults() (Limits, error) {
	if l.BaselineBitsPerSecond == 0 {
		l.BaselineBitsPerSecond = DefaultBaselineBitsPerSecond
	}
	if l.MaximumBitsPerSecond == 0 {
		l.MaximumBitsPerSecond = DefaultMaximumBitsPerSecond
	}
	if l.BaselineBitsPerSecond < MinimumBitsPerSecond {
		return l, fmt.Errorf("baseline of %d bit/s is below %d", l.BaselineBitsPerSecond, MinimumBitsPerSecond)
	}
	if l.MaximumBitsPerSecond < 0 || l.BaselineBitsPerSecond > MaximumBitsPerSecond || l.MaximumBitsPerSecond > MaximumBitsPerSecond {
		return l, fmt.Errorf("limits %d to %d bit/s are out of range", l.BaselineBitsPerSecond, l.MaximumBitsPerSecond)
	}
	l.MaximumBitsPerSecond = max(l.MaximumBitsPerSecond, l.BaselineBitsPerSecond)
	return l, nil
}

// machineClock is the machine's time.
type machineClock struct{}

func (machineClock) Now() time.Time                            { return time.Now() }
func (machineClock) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }
