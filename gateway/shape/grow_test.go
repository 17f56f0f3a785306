package shape

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// drive uses the budget at a constant rate for a time, ticking each second.
func drive(c *fakeClock, b *Budget, s *Share, bitsPerSecond int64, d time.Duration) {
	for end := c.now.Add(d); c.now.Before(end); {
		for range 100 {
			for n := int(bitsPerSecond / 8 / 100); n > 0; {
				got := s.Take(n)
				if got == 0 {
					break
				}
				n -= got
			}
			c.advance(10 * time.Millisecond)
		}
		b.Tick()
	}
}

func TestGrowth(t *testing.T) {
	c := newFakeClock()
	var steps []Step
	b, err := New(Config{Clock: c, OnStep: func(s Step) { steps = append(steps, s) }})
	if err != nil {
		t.Fatal(err)
	}
	var s Share
	b.Join(&s, Egress, &wakes{})
	begin := c.now

	drive(c, b, &s, 85*10*giga/100, 55*time.Second)
	drive(c, b, &s, 79*10*giga/100, 10*time.Second) // not sustained
	drive(c, b, &s, 85*10*giga/100, 55*time.Second)
	if len(steps) != 0 {
		t.Fatalf("steps before 60 s of sustained use: %v", steps)
	}
	drive(c, b, &s, 85*10*giga/100, 5*time.Second)
	drive(c, b, &s, 20*giga, 60*time.Second)
	drive(c, b, &s, 40*giga, 120*time.Second) // capped at 40
	drive(c, b, &s, 39*40*giga/100, 14*time.Minute)
	drive(c, b, &s, 45*40*giga/100, 10*time.Second) // not below 40 %
	drive(c, b, &s, 0, 46*time.Minute)              // never below the baseline

	at := func(d time.Duration) time.Time { return begin.Add(d) }
	want := []Step{
		{at(125 * time.Second), Egress, 10 * giga, 20 * giga},
		{at(185 * time.Second), Egress, 20 * giga, 40 * giga},
		{at(1155*time.Second + 15*time.Minute), Egress, 40 * giga, 20 * giga},
		{at(1155*time.Second + 30*time.Minute), Egress, 20 * giga, 10 * giga},
	}
	if diff := cmp.Diff(want, steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if got := b.LimitBitsPerSecond(Ingress); got != 10*giga {
		t.Errorf("the other direction's limit = %d, want the baseline", got)
	}
}

func TestGrowthTimesAreConfigurable(t *testing.T) {
	c := newFakeClock()
	b, err := New(Config{
		Clock:       c,
		Limits:      Limits{BaselineBitsPerSecond: 10 * mega, MaximumBitsPerSecond: 15 * mega},
		GrowAfter:   2 * time.Second,
		ShrinkAfter: 3 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	var s Share
	b.Join(&s, Ingress, &wakes{})
	drive(c, b, &s, 9*mega, 2*time.Second)
	if got := b.LimitBitsPerSecond(Ingress); got != 15*mega {
		t.Errorf("limit after 2 s of use = %d, want the maximum", got)
	}
	if got := b.Usage(Ingress).UsedBitsPerSecond; got < 8*mega || got > 10*mega {
		t.Errorf("used = %d, want about 9 Mbit/s", got)
	}
	drive(c, b, &s, mega, 3*time.Second)
	if got := b.LimitBitsPerSecond(Ingress); got != 10*mega {
		t.Errorf("limit after 3 s of little use = %d, want the baseline", got)
	}
}

func TestSetLimitsKeepsGrowth(t *testing.T) {
	for _, tt := range []struct {
		name          string
		grownTo       int64
		limits        Limits
		want, wantOne int64 // of the grown direction, of the other
	}{
		{"OK maximum raised", 20 * mega, Limits{10 * mega, 80 * mega}, 20 * mega, 10 * mega},
		{"OK maximum lowered", 20 * mega, Limits{10 * mega, 15 * mega}, 15 * mega, 10 * mega},
		{"OK baseline raised", 20 * mega, Limits{30 * mega, 40 * mega}, 30 * mega, 30 * mega},
		{"OK baseline lowered", 20 * mega, Limits{5 * mega, 40 * mega}, 20 * mega, 5 * mega},
	} {
		c := newFakeClock()
		b, err := New(Config{Clock: c, Limits: Limits{10 * mega, 40 * mega}})
		if err != nil {
			t.Fatal(err)
		}
		b.lanes[Egress].setRate(tt.grownTo)
		if err := b.SetLimits(tt.limits); err != nil {
			t.Fatal(err)
		}
		if got := b.LimitBitsPerSecond(Egress); got != tt.want {
			t.Errorf("%s: grown direction at %d, want %d", tt.name, got, tt.want)
		}
		if got := b.LimitBitsPerSecond(Ingress); got != tt.wantOne {
			t.Errorf("%s: other direction at %d, want %d", tt.name, got, tt.wantOne)
		}
	}
}
