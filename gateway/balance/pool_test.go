package balance

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"causeway/gateway/spec"
)

var errRefused = errors.New("connection refused")

// network is a set of targets whose health a test turns on and off.
type network struct {
	mu       sync.Mutex
	down     map[netip.AddrPort]bool
	hang     bool
	probes   map[netip.AddrPort]int
	inFlight int
	most     int
}

func newNetwork() *network {
	return &network{down: map[netip.AddrPort]bool{}, probes: map[netip.AddrPort]int{}}
}

func (n *network) probe(ctx context.Context, _ *spec.TargetGroup, a netip.AddrPort) error {
	n.mu.Lock()
	n.probes[a]++
	n.inFlight++
	n.most = max(n.most, n.inFlight)
	down, hang := n.down[a], n.hang
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		n.inFlight--
		n.mu.Unlock()
	}()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if down {
		return errRefused
	}
	return nil
}

func (n *network) set(a string, down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down[netip.MustParseAddrPort(a)] = down
}

// probed is how often a target was probed.
func (n *network) probed(a netip.AddrPort) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.probes[a]
}

// run starts a pool over the network inside a synctest bubble.
func (n *network) run(t *testing.T, changed func()) *Pool {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	var mu sync.Mutex
	p := NewPool(Config{Probe: n.probe, Changed: changed, Logger: slog.New(slog.DiscardHandler), Random: func() float64 {
		mu.Lock()
		defer mu.Unlock()
		return random.Float64()
	}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return p
}

func states(g *Group) (list []spec.TargetState) {
	for _, s := range g.Status() {
		list = append(list, s.State)
	}
	return list
}

func TestHealthThresholds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		n.set("10.0.0.1:80", true)
		var changes int
		var mu sync.Mutex
		p := n.run(t, func() { mu.Lock(); changes++; mu.Unlock() })
		p.Apply([]spec.TargetGroup{group("g", 1, false)}, everyGroup) // interval 10 s, healthy 3, unhealthy 2
		g := p.Group("g")
		at := func(when time.Duration, want spec.TargetState, reason string) {
			t.Helper()
			synctest.Wait()
			if s := g.Status()[0]; s.State != want || s.Reason != reason {
				t.Errorf("at %v: %s (%s), want %s (%s)", when, s.State, s.Reason, want, reason)
			}
		}
		at(0, spec.TargetInitial, "Elb.InitialHealthChecking")
		time.Sleep(firstSpread)
		at(1, spec.TargetInitial, "Elb.InitialHealthChecking") // one failure
		time.Sleep(11 * time.Second)
		at(2, spec.TargetUnhealthy, "Target.FailedHealthChecks") // two failures
		if d := g.Status()[0].Description; d != errRefused.Error() {
			t.Errorf("description %q", d)
		}
		n.set("10.0.0.1:80", false)
		time.Sleep(21 * time.Second)
		at(3, spec.TargetUnhealthy, "Target.FailedHealthChecks") // two successes of three
		time.Sleep(11 * time.Second)
		at(4, spec.TargetHealthy, "")
		n.set("10.0.0.1:80", true)
		time.Sleep(9 * time.Second)
		n.set("10.0.0.1:80", false) // one failure at most, then successes: stays healthy
		time.Sleep(30 * time.Second)
		at(5, spec.TargetHealthy, "")
		if changes == 0 {
			t.Error("no change was reported")
		}
	})
}

func TestFirstSuccessMakesHealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newNetwork().run(t, nil)
		p.Apply([]spec.TargetGroup{group("g", 3, false)}, everyGroup)
		g := p.Group("g")
		if g.Available("") {
			t.Error("available before any probe")
		}
		time.Sleep(firstSpread)
		synctest.Wait()
		if g.Healthy() != 3 || !g.Available("") {
			t.Errorf("states %v after the first probes", states(g))
		}
	})
}

func TestProbeTimeoutCountsAsFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		n.hang = true
		p := n.run(t, nil)
		p.Apply([]spec.TargetGroup{group("g", 1, false)}, everyGroup)
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if s := p.Group("g").Status()[0]; s.State != spec.TargetUnhealthy || s.Description != context.DeadlineExceeded.Error() {
			t.Errorf("status %+v", s)
		}
	})
}

func TestProbesOfAGroupAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		n.hang = true
		p := n.run(t, nil)
		p.Apply([]spec.TargetGroup{group("g", 100, false)}, everyGroup)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.most != maxGroupProbes {
			t.Errorf("%d probes at once, want %d", n.most, maxGroupProbes)
		}
		if len(n.probes) != 100 {
			t.Errorf("%d of 100 targets probed: some starve", len(n.probes))
		}
	})
}

func TestApplyKeepsWhatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		p := n.run(t, nil)
		p.Apply([]spec.TargetGroup{group("a", 2, false), group("b", 1, false)}, everyGroup)
		time.Sleep(firstSpread)
		synctest.Wait()
		old := p.Group("a")
		n.set("10.0.0.3:80", true)
		p.Apply([]spec.TargetGroup{group("a", 3, false)}, everyGroup)
		if p.Group("a") != old || p.Group("b") != nil {
			t.Fatal("group a was replaced or group b stayed")
		}
		if got := states(old); got[0] != spec.TargetHealthy || got[1] != spec.TargetHealthy || got[2] != spec.TargetInitial {
			t.Errorf("states %v: targets that stay must keep their health", got)
		}
		p.Apply([]spec.TargetGroup{group("a", 1, false)}, everyGroup)
		if got := states(old); len(got) != 1 || got[0] != spec.TargetHealthy {
			t.Errorf("states %v after targets left", got)
		}
		p.Apply(nil, everyGroup)
		if old.Available("") {
			t.Error("a removed group is available")
		}
		n.mu.Lock()
		n.probes = map[netip.AddrPort]int{}
		n.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(n.probes) != 0 || len(p.queue) != 0 || p.running != 0 {
			t.Errorf("still probing after removal: %v", n.probes)
		}
	})
}

func TestUnusedGroupsAreNotProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		p := n.run(t, nil)
		groups := []spec.TargetGroup{group("g", 1, false)}
		p.Apply(groups, func(string) bool { return false })
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := p.Group("g").Status()[0]; s.State != spec.TargetUnused || s.Reason != "Target.NotInUse" || len(n.probes) != 0 {
			t.Errorf("status %+v after %v probes", s, n.probes)
		}
		p.Apply(groups, everyGroup)
		time.Sleep(firstSpread)
		synctest.Wait()
		if got := states(p.Group("g")); got[0] != spec.TargetHealthy {
			t.Errorf("states %v once used", got)
		}
	})
}

// TestApplyAtRandom changes groups while probes run, and asks that every target is still probed at the end.
func TestApplyAtRandom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		p := n.run(t, nil)
		random := rand.New(rand.NewPCG(3, 4))
		for range 500 {
			n.mu.Lock()
			n.hang = random.IntN(3) == 0
			n.mu.Unlock()
			used := random.IntN(4) != 0
			g := group("g", random.IntN(40), false)
			g.DeregistrationDelay = time.Duration(random.IntN(3)) * time.Second
			p.Apply([]spec.TargetGroup{g}, func(string) bool { return used })
			time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
		}
		n.mu.Lock()
		n.hang = false
		n.mu.Unlock()
		p.Apply([]spec.TargetGroup{group("g", 40, false)}, everyGroup)
		time.Sleep(time.Minute)
		synctest.Wait()
		if h := p.Group("g").Healthy(); h != 40 {
			t.Errorf("%d of 40 targets healthy: %v", h, states(p.Group("g")))
		}
	})
}
