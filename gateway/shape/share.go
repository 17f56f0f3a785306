package shape

import "sync/atomic"

// Share is one flow's part in one direction of a Budget. Its zero value, and
// one that never joined, is unlimited. Take, Refund and Leave must not be
// called concurrently for one Share; different Shares are independent.
type Share struct {
	lane       *lane
	waker      Waker
	prev, next *Share // line of the lane, guarded by lane.mu

	// state is shareIdle, shareInLine or the number of bytes granted. Only
	// the lane moves it away from shareInLine, only the owner from the rest.
	state atomic.Int32

	want    int32 // bytes asked for when the share joined the line
	pending int32 // bytes granted while still in line
	deficit int32 // bytes left of the share's turn
}

const (
	shareIdle   = 0
	shareInLine = -1
	// maxWant bounds a single request, so that it fits state.
	maxWant = 1 << 30
)

// Limited reports whether the share belongs to a budget.
func (s *Share) Limited() bool { return s.lane != nil }

// Take asks to move up to want bytes now and returns how many may be moved.
// Zero means the share now waits in line: the Waker is called when bytes were
// granted, and the next Take returns them. Bytes granted and not moved must
// be given back by Refund. A want of zero or less returns zero and does not
// wait.
func (s *Share) Take(want int) int {
	if s.lane == nil || want <= 0 {
		return max(want, 0)
	}
	want = min(want, maxWant)
	switch granted := int(s.state.Load()); {
	case granted == shareInLine:
		return 0
	case granted > 0:
		s.state.Store(shareIdle)
		if n := granted - want; n > 0 {
			s.lane.refund(n)
			return want
		}
		return granted
	}
	return s.lane.take(s, want)
}

// Refund gives back n bytes of the last Take that were not moved.
func (s *Share) Refund(n int) {
	if s.lane != nil && n > 0 {
		s.lane.refund(n)
	}
}

// Leave gives up the share's place in line and grants not yet taken. A Ready
// under way may still arrive afterwards. The share may join again. Leave is
// idempotent.
func (s *Share) Leave() {
	if s.lane != nil {
		s.lane.leave(s)
		s.lane = nil
	}
}
