package shape

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	kilo = int64(1_000)
	mega = 1_000 * kilo
	giga = 1_000 * mega
)

// source is a flow that has bytes of its chunk size ready again every
// interval, or always when interval is zero.
type source struct {
	share    Share
	clock    *fakeClock
	chunk    int
	interval time.Duration
	moved    int64
	onMove   func(n int)
}

func (s *source) Ready(Direction) { s.visit() }

func (s *source) visit() {
	for range 4 { // as a relay visits a flow: four chunks, then the next flow's turn
		n := s.share.Take(s.chunk)
		if n == 0 {
			return
		}
		s.moved += int64(n)
		if s.onMove != nil {
			s.onMove(n)
		}
		if s.interval > 0 {
			break
		}
	}
	s.clock.after(max(s.interval, 10*time.Microsecond), s.visit)
}

func newTestBudget(t testing.TB, c *fakeClock, bitsPerSecond int64) *Budget {
	t.Helper()
	b, err := New(Config{
		Limits: Limits{BaselineBitsPerSecond: bitsPerSecond, MaximumBitsPerSecond: bitsPerSecond},
		Clock:  c,
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func start(b *Budget, d Direction, s *source) {
	b.Join(&s.share, d, s)
	s.clock.after(0, s.visit)
}

func jain(x []float64) float64 {
	var sum, squares float64
	for _, v := range x {
		sum += v
		squares += v * v
	}
	return sum * sum / (float64(len(x)) * squares)
}

func TestFairness(t *testing.T) {
	chunks := map[string]func(i int) int{
		"equal chunks":     func(int) int { return 64 << 10 },
		"unequal chunks":   func(i int) int { return 16 << 10 << (i % 5) },
		"one greedy flow":  func(i int) int { return 64<<10 + (i/63)*(1<<20) },
		"odd sized chunks": func(i int) int { return 30_000 + 977*i },
	}
	for name, chunk := range chunks {
		for _, rate := range []int64{50 * mega, 200 * mega, 800 * mega} {
			c := newFakeClock()
			rng := rand.New(rand.NewPCG(7, 7))
			c.late = func() time.Duration { return time.Duration(rng.IntN(int(time.Millisecond))) }
			b := newTestBudget(t, c, rate)
			flows := make([]*source, 64)
			for i := range flows {
				flows[i] = &source{clock: c, chunk: chunk(i)}
				start(b, Ingress, flows[i])
			}
			c.advance(5 * time.Second)
			moved := make([]float64, len(flows))
			for i, f := range flows {
				moved[i] = float64(f.moved)
			}
			if j := jain(moved); j < 0.95 {
				t.Errorf("%s at %d bit/s: Jain's index %.3f, want >= 0.95 (least %.0f, most %.0f)",
					name, rate, j, slices.Min(moved), slices.Max(moved))
			}
		}
	}
}

// TestModestFlowIsNotStarved puts a flow that needs less than its part among
// greedy ones: it must get all it asks for.
func TestModestFlowIsNotStarved(t *testing.T) {
	c := newFakeClock()
	b := newTestBudget(t, c, 200*mega)
	for range 16 {
		start(b, Egress, &source{clock: c, chunk: 256 << 10})
	}
	modest := &source{clock: c, chunk: 2 << 10, interval: 20 * time.Millisecond}
	start(b, Egress, modest)
	c.advance(10 * time.Second)
	// 17 flows at 2 ms each make it wait up to 34 ms for a turn.
	if want := int64(10_000 / (20 + 34) * (2 << 10)); modest.moved < want {
		t.Errorf("modest flow moved %d bytes, want at least %d", modest.moved, want)
	}
}

func TestUnderLimitNeverWaits(t *testing.T) {
	c := newFakeClock()
	b := newTestBudget(t, c, 100*mega)
	var s Share
	b.Join(&s, Ingress, &source{clock: c})
	for range 1000 { // 64 KB each 6 ms is 87 Mbit/s
		if n := s.Take(64 << 10); n != 64<<10 {
			t.Fatalf("Take under the limit = %d, want all", n)
		}
		c.advance(6 * time.Millisecond)
	}
	got := b.Usage(Ingress)
	want := Usage{LimitBitsPerSecond: 100 * mega, MovedBytes: 1000 * 64 << 10}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("usage (-want +got):\n%s", diff)
	}
}

func TestZeroShareIsUnlimited(t *testing.T) {
	var s Share
	if n := s.Take(1 << 20); n != 1<<20 {
		t.Errorf("Take of a share without budget = %d, want all", n)
	}
	s.Refund(1)
	s.Leave()
	if s.Limited() {
		t.Error("a share without budget says it is limited")
	}
}

type wakes struct{ n int }

func (w *wakes) Ready(Direction) { w.n++ }

func TestTakeWaitsAndIsWoken(t *testing.T) {
	c := newFakeClock()
	b := newTestBudget(t, c, 8*mega) // 1 MB/s
	var s Share
	w := &wakes{}
	b.Join(&s, Ingress, w)
	if n := s.Take(1 << 20); n != 64<<10 {
		t.Fatalf("first Take = %d, want the burst of 64 KB", n)
	}
	for range 3 {
		if n := s.Take(10_000); n != 0 {
			t.Fatalf("Take without credit = %d, want 0", n)
		}
	}
	if got := b.Usage(Ingress).Waiting; got != 1 {
		t.Fatalf("waiting = %d, want 1", got)
	}
	c.advance(3 * time.Millisecond)
	if w.n != 0 {
		t.Fatal("woken before a quantum of 4096 bytes has accrued at 1 MB/s")
	}
	c.advance(2 * time.Millisecond)
	if w.n != 1 {
		t.Fatalf("woken %d times, want once", w.n)
	}
	if n := s.Take(10_000); n != minQuantum {
		t.Fatalf("Take after waking = %d, want %d", n, minQuantum)
	}
	u := b.Usage(Ingress)
	if u.Waiting != 0 || u.Throttled < 4*time.Millisecond || u.Throttled > 5*time.Millisecond {
		t.Errorf("usage = %+v, want nobody waiting and 4 to 5 ms throttled", u)
	}
}

func TestGrantLargerThanWantIsGivenBack(t *testing.T) {
	c := newFakeClock()
	b := newTestBudget(t, c, 8*mega)
	var s Share
	b.Join(&s, Egress, &wakes{})
	s.Take(1 << 20)
	s.Take(4000)
	c.advance(10 * time.Millisecond)
	if n := s.Take(1000); n != 1000 {
		t.Fatalf("Take = %d, want 1000", n)
	}
	s.Refund(400)
	if got, want := b.Usage(Egress).MovedBytes, int64(64<<10+600); got != want {
		t.Errorf("moved = %d, want %d", got, want)
	}
}

func TestLeaveReturnsGrants(t *testing.T) {
	c := newFakeClock()
	b := newTestBudget(t, c, 8*mega)
	var drain, first, second Share
	w1, w2 := &wakes{}, &wakes{}
	b.Join(&drain, Ingress, &wakes{})
	b.Join(&first, Ingress, w1)
	b.Join(&second, Ingress, w2)
	drain.Take(1 << 20)
	first.Take(4096)
	second.Take(4096)
	first.Leave()
	first.Leave()
	c.advance(5 * time.Millisecond)
	if w1.n != 0 || w2.n != 1 {
		t.Fatalf("woken %d and %d times, want 0 and 1", w1.n, w2.n)
	}
	second.Leave() // holds a grant
	u := b.Usage(Ingress)
	if u.Waiting != 0 || u.MovedBytes != 64<<10 {
		t.Errorf("usage = %+v, want only the first 64 KB moved", u)
	}
	b.Join(&first, Egress, w1)
	if n := first.Take(100); n != 100 {
		t.Errorf("Take after joining again = %d, want 100", n)
	}
}

func TestSetLimitsTakesEffectAtOnce(t *testing.T) {
	c := newFakeClock()
	b := newTestBudget(t, c, 8*mega)
	s := &source{clock: c, chunk: 64 << 10}
	start(b, Egress, s)
	c.advance(time.Second)
	for _, limit := range []int64{800 * mega, 8 * mega, 200 * mega} {
		if err := b.SetLimits(Limits{BaselineBitsPerSecond: limit, MaximumBitsPerSecond: limit}); err != nil {
			t.Fatal(err)
		}
		before := s.moved
		c.advance(time.Second)
		got, want := float64(s.moved-before), float64(limit)/8
		if got < want*0.93 || got > want*1.07 {
			t.Errorf("moved %.0f bytes in the second after a change to %d bit/s, want about %.0f", got, limit, want)
		}
	}
}

func TestSetLimitsWakesWaiters(t *testing.T) {
	c := newFakeClock()
	b := newTestBudget(t, c, MinimumBitsPerSecond) // 8 kB/s: a quantum takes half a second
	var s Share
	w := &wakes{}
	b.Join(&s, Ingress, w)
	s.Take(1 << 20)
	s.Take(1 << 20)
	if err := b.SetLimits(Limits{BaselineBitsPerSecond: giga, MaximumBitsPerSecond: giga}); err != nil {
		t.Fatal(err)
	}
	c.advance(time.Millisecond)
	if w.n != 1 {
		t.Error("a waiting share was not served at the new rate")
	}
}

func TestLimitsAreChecked(t *testing.T) {
	for name, l := range map[string]Limits{
		"bad negative baseline": {BaselineBitsPerSecond: -1},
		"bad tiny baseline":     {BaselineBitsPerSecond: MinimumBitsPerSecond - 1},
		"bad negative maximum":  {MaximumBitsPerSecond: -1},
		"bad huge maximum":      {MaximumBitsPerSecond: MaximumBitsPerSecond + 1},
	} {
		if _, err := New(Config{Limits: l}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	b, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	want := Limits{BaselineBitsPerSecond: 10 * giga, MaximumBitsPerSecond: 40 * giga}
	if diff := cmp.Diff(want, b.Limits()); diff != "" {
		t.Errorf("default limits (-want +got):\n%s", diff)
	}
	if err := b.SetLimits(Limits{BaselineBitsPerSecond: 1}); err == nil {
		t.Error("SetLimits accepted a baseline of 1 bit/s")
	}
}
