package shape

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// TestConcurrentUse lets many flows take, refund, wait and leave at once and
// checks that the accounts close.
func TestConcurrentUse(t *testing.T) {
	b, err := New(Config{Limits: Limits{BaselineBitsPerSecond: 8 * giga, MaximumBitsPerSecond: 8 * giga}})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var moved atomic.Int64
	for i := range 16 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			w := make(chanWaker, 1)
			for range 20 {
				var s Share
				b.Join(&s, Egress, w)
				for range 50 {
					n := s.Take(1 + rng.IntN(128<<10))
					if n == 0 {
						if rng.IntN(10) == 0 {
							break // leave while in line
						}
						<-w
						continue
					}
					back := rng.IntN(n + 1)
					s.Refund(back)
					moved.Add(int64(n - back))
				}
				s.Leave()
				select { // a wake-up may have been under way
				case <-w:
				default:
				}
			}
		})
	}
	wg.Wait()
	u := b.Usage(Egress)
	if u.Waiting != 0 || u.MovedBytes != moved.Load() {
		t.Errorf("usage = %+v, want nobody waiting and %d bytes moved", u, moved.Load())
	}
}

type chanWaker chan struct{}

func (w chanWaker) Ready(Direction) {
	select {
	case w <- struct{}{}:
	default:
	}
}
