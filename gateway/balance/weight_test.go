package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"causeway/gateway/spec"
)

// weighted is a group of healthy targets with these weights.
func weighted(weights ...int) spec.TargetGroup {
	g := group("g", len(weights), false)
	for i, w := range weights {
		g.Targets[i].Weight = w
	}
	return g
}

// healthyPool returns a pool in which all targets are healthy.
func healthyPool(g spec.TargetGroup) *Pool {
	p := newPool(g)
	for i := range g.Targets {
		p.setState(g.Name, i, spec.TargetHealthy)
	}
	return p
}

// picks are the targets of a number of flows.
func picks(g *Group, flows int) []netip.AddrPort {
	list := make([]netip.AddrPort, flows)
	for i := range list {
		list[i], _ = g.Pick(flow(i), nil)
	}
	return list
}

func count(list []netip.AddrPort) map[netip.AddrPort]int {
	n := map[netip.AddrPort]int{}
	for _, a := range list {
		n[a]++
	}
	return n
}

// TestSharesFollowWeights draws groups at random and compares each target's share with what its weight says, allowing
// five standard deviations.
func TestSharesFollowWeights(t *testing.T) {
	const flows = 20000
	random := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		weights := make([]int, 2+random.IntN(8))
		total := 0
		for i := range weights {
			weights[i] = random.IntN(1 + []int{1, 10, 999}[random.IntN(3)])
			total += weights[i]
		}
		if total == 0 {
			weights[0], total = 1, 1
		}
		spec := weighted(weights...)
		got := count(picks(healthyPool(spec).Group("g"), flows))
		for i, w := range weights {
			share := float64(w) / float64(total)
			want, deviation := flows*share, math.Sqrt(flows*share*(1-share))
			if c := float64(got[addrOf(spec.Targets[i].Target)]); math.Abs(c-want) > 5*deviation {
				t.Errorf("weights %v: target %d got %v of %d flows, want %.0f ± %.0f", weights, i, c, flows, want, 5*deviation)
			}
		}
	}
}

// TestChangesMoveOnlyTheNecessaryFlows changes one weight, to zero and from it too, and asks that every flow that moves
// moves to the target that gained or from the one that lost.
func TestChangesMoveOnlyTheNecessaryFlows(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 2))
	for range 30 {
		weights := make([]int, 3+random.IntN(5))
		for i := range weights {
			weights[i] = 1 + random.IntN(20)
		}
		if random.IntN(3) == 0 { // the first is the same as every other, which takes the way without logarithms
			for i := range weights {
				weights[i] = 7
			}
		}
		p := healthyPool(weighted(weights...))
		before := picks(p.Group("g"), 3000)
		changed := random.IntN(len(weights))
		old := weights[changed]
		weights[changed] = random.IntN(40)
		after := weighted(weights...)
		p.Apply([]spec.TargetGroup{after}, everyGroup)
		target, moved := addrOf(after.Targets[changed].Target), 0
		for i, now := range picks(p.Group("g"), 3000) {
			from, to := before[i], now
			if from == to {
				continue
			}
			moved++
			if weights[changed] > old && to != target || weights[changed] < old && from != target {
				t.Fatalf("weight of %v from %d to %d moved flow %d from %v to %v", target, old, weights[changed], i, from, to)
			}
		}
		if weights[changed] != old && moved == 0 {
			t.Errorf("weight from %d to %d of %v moved nothing", old, weights[changed], weights)
		}
	}
}

func TestWeightZeroIsForWhenNothingElseIsLeft(t *testing.T) {
	p := healthyPool(weighted(0, 1, 0))
	g := p.Group("g")
	one := addrOf(targets(3)[1].Target)
	for i, target := range picks(g, 1000) {
		if target != one {
			t.Fatalf("flow %d went to %v", i, target)
		}
	}
	g.Failed(one, errRefused)
	if target, _ := g.Pick(flow(1), nil); target != one {
		t.Errorf("a single failure moved flows to %v, which has no weight", target)
	}
	if target, ok := g.Pick(flow(1), []netip.AddrPort{one}); !ok || target == one {
		t.Errorf("after the only target with weight was tried: %v, %v", target, ok)
	}
	p.setState("g", 1, spec.TargetUnhealthy)
	if got := count(picks(g, 1000)); len(got) != 2 || got[one] != 0 {
		t.Errorf("without a target with weight flows went to %v", got)
	}
}

func TestStickyFollowsTheAddressOnly(t *testing.T) {
	sg := weighted(1, 2, 3, 4)
	sg.Sticky = true
	p := healthyPool(sg)
	g := p.Group("g")
	by := func(source, i int) Flow {
		f := flow(source)
		f.Source = netip.AddrPortFrom(f.Source.Addr(), uint16(i))
		f.Destination = netip.AddrPortFrom(f.Destination.Addr(), uint16(i))
		f.Nonce = uint32(i)
		return f
	}
	home := map[int]netip.AddrPort{}
	for source := range 500 {
		home[source], _ = g.Pick(by(source, 0), nil)
		for i := range 20 {
			if target, _ := g.Pick(by(source, i), nil); target != home[source] {
				t.Fatalf("consumer %d went to %v and then to %v", source, home[source], target)
			}
		}
	}
	lost := home[0]
	next, _ := g.Pick(by(0, 0), []netip.AddrPort{lost})
	g.Failed(lost, errRefused)
	if target, _ := g.Pick(by(0, 1), nil); target != next {
		t.Errorf("after its target failed a consumer went to %v, want %v", target, next)
	}
	for range 10 {
		g.Failed(lost, errRefused)
	}
	if g.Healthy() != 4 {
		t.Error("failures made a target of a sticky group unhealthy")
	}
	sg.Targets = append([]spec.Registration(nil), sg.Targets[1:]...)
	p.Apply([]spec.TargetGroup{sg}, everyGroup)
	gone := addrOf(targets(1)[0].Target)
	for source, before := range home {
		if target, _ := g.Pick(by(source, 1), nil); before != gone && before != lost && target != before {
			t.Errorf("consumer %d moved from %v to %v when %v left", source, before, target, gone)
		}
	}
}

// TestSlowStart asks for the share of a target at several points of its slow start.
func TestSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const flows = 20000
		n := newNetwork()
		n.set("10.0.0.3:80", true)
		p := n.run(t, nil)
		sg := group("g", 3, false)
		sg.SlowStart = 100 * time.Second
		p.Apply([]spec.TargetGroup{sg}, everyGroup)
		g := p.Group("g")
		time.Sleep(firstSpread)
		synctest.Wait()
		two := addrOf(targets(2)[1].Target)
		if share := count(picks(g, flows))[two]; share < flows/2-500 || share > flows/2+500 {
			t.Errorf("the first targets of a group start slowly: %d of %d flows", share, flows)
		}
		time.Sleep(30 * time.Second) // the third, one of the first too, is unhealthy by now
		n.set("10.0.0.3:80", false)
		three := addrOf(targets(3)[2].Target)
		for g.Healthy() < 3 {
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		begun := g.Status()[2].Since
		for _, at := range []float64{0, 10, 25, 50, 75, 99.9, 100, 200} {
			time.Sleep(time.Until(begun.Add(time.Duration(at * float64(time.Second)))))
			w := min(1, at/100)
			want := w / (2 + w) * flows
			if c := float64(count(picks(g, flows))[three]); math.Abs(c-want) > 300 {
				t.Errorf("after %v s it got %v of %d flows, want %.0f", at, c, flows, want)
			}
		}
	})
}

func TestSlowStartNeedsAnotherTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		n.set("10.0.0.1:80", true)
		p := n.run(t, nil)
		sg := group("g", 1, false)
		sg.SlowStart = 100 * time.Second
		p.Apply([]spec.TargetGroup{sg}, everyGroup)
		time.Sleep(time.Minute)
		sg.Targets = targets(2)
		p.Apply([]spec.TargetGroup{sg}, everyGroup) // registered later, but no other is healthy
		time.Sleep(time.Second)
		n.set("10.0.0.1:80", false)
		time.Sleep(time.Minute)
		synctest.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		for i, want := range []bool{true, false} {
			if m := p.groups["g"].members[targets(2)[i].Target]; m.state != spec.TargetHealthy || m.warmAt.IsZero() == want {
				t.Errorf("target %d: %s, starts slowly: %v, want %v", i, m.state, !m.warmAt.IsZero(), want)
			}
		}
	})
}

// BenchmarkPickWeighted is [BenchmarkPick] with weights that differ.
func BenchmarkPickWeighted(b *testing.B) {
	for _, n := range []int{10, 1000} {
		sg := group("g", n, true)
		for i := range sg.Targets {
			sg.Targets[i].Weight = 1 + i%999
		}
		g := newPool(sg).Group("g")
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			f := flow(1)
			for b.Loop() {
				f.Nonce++
				g.Pick(f, nil)
			}
		})
	}
}
