package shape

import "testing"

func benchmarkTake(b *testing.B, limit int64, chunk int) {
	budget, err := New(Config{Limits: Limits{BaselineBitsPerSecond: limit, MaximumBitsPerSecond: limit}})
	if err != nil {
		b.Fatal(err)
	}
	b.RunParallel(func(pb *testing.PB) {
		var s Share
		budget.Join(&s, Egress, &wakes{})
		defer s.Leave()
		for pb.Next() {
			s.Refund(s.Take(chunk)) // so that the limit is never reached
		}
	})
}

// BenchmarkTakeUnlimited is the cost of a flow without a budget.
func BenchmarkTakeUnlimited(b *testing.B) {
	var s Share
	for b.Loop() {
		s.Take(64 << 10)
	}
}

// BenchmarkTakeUnderLimit is what the relay pays for each chunk below the
// limit, all processors on one budget.
func BenchmarkTakeUnderLimit(b *testing.B) { benchmarkTake(b, MaximumBitsPerSecond, 1000) }

// BenchmarkTakeInLine is a round of 64 waiting flows at 10 Gbit/s.
func BenchmarkTakeInLine(b *testing.B) {
	c := newFakeClock()
	budget := newTestBudget(b, c, 10*giga)
	var moved int64
	for range 64 {
		start(budget, Egress, &source{clock: c, chunk: 64 << 10, onMove: func(n int) { moved += int64(n) }})
	}
	for b.Loop() {
		c.advance(minDelay)
	}
	b.SetBytes(moved / int64(b.N))
}
