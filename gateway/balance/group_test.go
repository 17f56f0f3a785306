package balance

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"causeway/gateway/spec"
)

// targets returns n targets 10.0.0.1:80, 10.0.0.2:80 and so on.
func targets(n int) []spec.Registration {
	var list []spec.Registration
	a := netip.MustParseAddr("10.0.0.1")
	for range n {
		list = append(list, spec.Registration{Target: spec.Target{Address: a, Port: 80}, Weight: 1})
		a = a.Next()
	}
	return list
}

func group(name string, n int, failOpen bool) spec.TargetGroup {
	return spec.TargetGroup{
		Name: name, Domain: "d", FailOpen: failOpen, Targets: targets(n),
		HealthCheck: spec.HealthCheck{Protocol: spec.TCP, Interval: 10 * time.Second, Timeout: 2 * time.Second, HealthyThreshold: 3, UnhealthyThreshold: 2},
	}
}

func everyGroup(string) bool { return true }

// newPool returns a pool that is never run; tests set health by hand.
func newPool(groups ...spec.TargetGroup) *Pool {
	p := NewPool(Config{
		Probe:  func(context.Context, *spec.TargetGroup, netip.AddrPort) error { return nil },
		Random: func() float64 { return 0.5 }, Logger: slog.New(slog.DiscardHandler),
	})
	p.Apply(groups, everyGroup)
	return p
}

// setState sets a target's health by hand.
func (p *Pool) setState(name string, i int, s spec.TargetState) {
	g := p.groups[name]
	g.members[g.spec.Targets[i].Target].state = s
	g.publish()
}

func flow(i int) Flow {
	return Flow{
		Protocol: 6, Nonce: uint32(i),
		Source:      netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), uint16(1024+i%60000)),
		Destination: netip.MustParseAddrPort("10.0.1.5:443"),
	}
}

func TestPickSpreadsEvenly(t *testing.T) {
	const n, flows = 10, 20000
	g := newPool(group("g", n, true)).Group("g")
	count := map[netip.AddrPort]int{}
	for i := range flows {
		target, _ := g.Pick(flow(i), nil)
		count[target]++
	}
	for target, c := range count {
		if math.Abs(float64(c)-flows/n) > 6*math.Sqrt(flows/n) {
			t.Errorf("%v got %d of %d flows", target, c, flows)
		}
	}
	if len(count) != n {
		t.Errorf("%d targets used, want %d", len(count), n)
	}
}

// TestPickMovesOnlyTheLostShare is the property that highest random weight is chosen for.
func TestPickMovesOnlyTheLostShare(t *testing.T) {
	p := newPool(group("g", 8, false))
	for i := range 8 {
		p.setState("g", i, spec.TargetHealthy)
	}
	g := p.Group("g")
	before := map[int]netip.AddrPort{}
	for i := range 5000 {
		before[i], _ = g.Pick(flow(i), nil)
	}
	p.setState("g", 3, spec.TargetUnhealthy)
	lost := netip.MustParseAddrPort("10.0.0.4:80")
	for i := range 5000 {
		after, ok := g.Pick(flow(i), nil)
		if !ok || after == lost || before[i] != lost && after != before[i] {
			t.Fatalf("flow %d moved from %v to %v", i, before[i], after)
		}
	}
}

func TestPickUsesEveryFieldOfTheFlow(t *testing.T) {
	base := flow(1)
	for name, change := range map[string]func(f *Flow, i int){
		"protocol":       func(f *Flow, i int) { f.Protocol = uint8(i) },
		"source address": func(f *Flow, i int) { f.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(i)}), 1) },
		"source port":    func(f *Flow, i int) { f.Source = netip.AddrPortFrom(f.Source.Addr(), uint16(i)) },
		"destination address": func(f *Flow, i int) {
			f.Destination = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(i)}), 1)
		},
		"destination port": func(f *Flow, i int) { f.Destination = netip.AddrPortFrom(f.Destination.Addr(), uint16(i)) },
		"nonce":            func(f *Flow, i int) { f.Nonce = uint32(i) },
	} {
		g := newPool(group("g", 4, true)).Group("g")
		seen := map[netip.AddrPort]bool{}
		for i := range 200 {
			f := base
			change(&f, i)
			target, _ := g.Pick(f, nil)
			seen[target] = true
		}
		if len(seen) != 4 {
			t.Errorf("%s: reaches %d of 4 targets", name, len(seen))
		}
	}
}

func TestPickLeavesOutTriedAndSuspects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newPool(group("g", 3, true)).Group("g")
		f := flow(7)
		var order []netip.AddrPort
		for {
			target, ok := g.Pick(f, order)
			if !ok {
				break
			}
			order = append(order, target)
		}
		if len(order) != 3 {
			t.Fatalf("tried %v, want all three targets once", order)
		}
		g.Failed(order[0], errRefused)
		if got, _ := g.Pick(f, nil); got != order[1] {
			t.Errorf("with %v suspected: %v, want %v", order[0], got, order[1])
		}
		if got, _ := g.Pick(f, order[1:]); got != order[0] {
			t.Errorf("with only a suspect left: %v, want %v", got, order[0])
		}
		time.Sleep(suspicion + 1)
		if got, _ := g.Pick(f, nil); got != order[0] {
			t.Errorf("after the suspicion: %v, want %v", got, order[0])
		}
	})
}

func TestAvailable(t *testing.T) {
	for _, failOpen := range []bool{true, false} {
		for _, state := range []spec.TargetState{spec.TargetInitial, spec.TargetHealthy, spec.TargetUnhealthy} {
			p := newPool(group("g", 2, failOpen))
			p.setState("g", 0, state)
			p.setState("g", 1, spec.TargetUnhealthy)
			g := p.Group("g")
			want := failOpen || state == spec.TargetHealthy
			_, picked := g.Pick(flow(1), nil)
			if g.Available("") != want || picked != want {
				t.Errorf("fail open %v, state %s: available %v, picked %v, want %v", failOpen, state, g.Available(""), picked, want)
			}
		}
	}
	if newPool(group("empty", 0, true)).Group("empty").Available("") {
		t.Error("a group without targets is available")
	}
}

func BenchmarkPick(b *testing.B) {
	for _, n := range []int{1, 10, 1000} {
		g := newPool(group("g", n, true)).Group("g")
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
