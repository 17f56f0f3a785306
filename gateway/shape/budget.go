package shape

import (
	"fmt"
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
