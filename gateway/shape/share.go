package shape

// Share is one flow's part in one direction of a Budget. Its zero value, and
// one that never joined, is unlimited. Take and Refund must not be called
// concurrently for one Share; different Shares are independent.
type Share struct{}

// Take asks to move up to want bytes now and returns how many may be moved.
// Zero means the share now waits in line: the Waker is called when bytes were
// granted, and the next Take returns them. Bytes granted and not moved must
// be given back by Refund.
func (s *Share) Take(want int) int { return want }

// Refund gives back n bytes of the last Take that were not moved.
func (s *Share) Refund(n int) {}

// Leave gives up the share's place in line and grants not yet taken. The
// Waker may still be called once by a grant under way. Leave is idempotent.
func (s *Share) Leave() {}

// Budget is the bandwidth one endpoint may use in one zone, each direction
// apart. All methods are safe for concurrent use.
type Budget struct{}

// New returns a budget whose directions start at the baseline. It starts no
// goroutine; call Tick about once a second for growth and Usage rates.
func New(cfg Config) (*Budget, error) { return &Budget{}, nil }

// Join makes s a part of the budget's direction d. s must not be joined.
func (b *Budget) Join(s *Share, d Direction, w Waker) {}

// SetLimits changes the limits at once, for waiting shares too. A direction
// keeps what it has grown to, within the new limits.
func (b *Budget) SetLimits(l Limits) error { return nil }

// Limits returns the limits in force, defaults filled in.
func (b *Budget) Limits() Limits { return Limits{} }

// LimitBitsPerSecond returns the current limit of d.
func (b *Budget) LimitBitsPerSecond(d Direction) int64 { return 0 }

// Usage returns the state of direction d.
func (b *Budget) Usage(d Direction) Usage { return Usage{} }

// Tick samples use and steps the limits. Call it about once a second.
func (b *Budget) Tick() {}
