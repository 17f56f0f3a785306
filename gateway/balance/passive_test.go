package balance

import (
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"causeway/gateway/spec"
)

func TestFailuresInARowMakeUnhealthy(t *testing.T) {
	target := addrOf(targets(1)[0].Target)
	fail := func(g *Group) { g.Failed(target, errRefused) }
	reset := func(g *Group) { g.Reset(target) }
	for name, tt := range map[string]struct {
		change func(*spec.TargetGroup)
		do     func(*Group)
		want   spec.TargetState
	}{
		"one dial":           {nil, fail, spec.TargetHealthy},
		"two dials":          {nil, func(g *Group) { fail(g); fail(g) }, spec.TargetUnhealthy},
		"two resets":         {nil, func(g *Group) { reset(g); g.Connected(target); reset(g) }, spec.TargetUnhealthy},
		"a dial between":     {nil, func(g *Group) { fail(g); g.Connected(target); fail(g) }, spec.TargetHealthy},
		"an answer between":  {nil, func(g *Group) { reset(g); g.Answered(target); reset(g) }, spec.TargetHealthy},
		"a dial and a reset": {nil, func(g *Group) { fail(g); reset(g) }, spec.TargetHealthy},
		"too far apart": {nil, func(g *Group) {
			fail(g)
			time.Sleep(passiveWindow + time.Second)
			fail(g)
		}, spec.TargetHealthy},
		"threshold not reached": {func(g *spec.TargetGroup) { g.HealthCheck.UnhealthyThreshold = 5 }, func(g *Group) {
			for range 4 {
				fail(g)
			}
		}, spec.TargetHealthy},
		"threshold reached": {func(g *spec.TargetGroup) { g.HealthCheck.UnhealthyThreshold = 5 }, func(g *Group) {
			for range 5 {
				fail(g)
			}
		}, spec.TargetUnhealthy},
		"sticky": {func(g *spec.TargetGroup) { g.Sticky = true }, func(g *Group) {
			for range 5 {
				fail(g)
				reset(g)
			}
		}, spec.TargetHealthy},
		"the only one of its zone": {func(g *spec.TargetGroup) {
			g.Targets[0].Zone, g.Targets[1].Zone = "a", "b"
		}, func(g *Group) { fail(g); fail(g) }, spec.TargetHealthy},
		"the only one": {func(g *spec.TargetGroup) { g.Targets = g.Targets[:1] }, func(g *Group) { fail(g); fail(g) }, spec.TargetHealthy},
		"unknown":      {nil, func(g *Group) { g.Failed(netip.MustParseAddrPort("192.0.2.1:1"), errRefused) }, spec.TargetHealthy},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sg := group("g", 2, true)
				if tt.change != nil {
					tt.change(&sg)
				}
				g := healthyPool(sg).Group("g")
				tt.do(g)
				s := g.Status()[0]
				if s.State != tt.want || g.Stats().Ejections > 0 != (tt.want == spec.TargetUnhealthy) {
					t.Errorf("%+v, %+v; want %s", s, g.Stats(), tt.want)
				}
				if s.State == spec.TargetUnhealthy && !strings.Contains(s.Description, "in a row failed") {
					t.Errorf("description %q", s.Description)
				}
			})
		})
	}
}

// TestHealthChecksBringBackWhatFailuresTookAway: as many successes as ever are needed.
func TestHealthChecksBringBackWhatFailuresTookAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changes atomic.Int32
		n := newNetwork()
		p := n.run(t, func() { changes.Add(1) })
		p.Apply([]spec.TargetGroup{group("g", 2, false)}, everyGroup) // interval 10 s, healthy 3
		time.Sleep(firstSpread)
		synctest.Wait()
		g, target := p.Group("g"), addrOf(targets(1)[0].Target)
		before := changes.Load()
		g.Failed(target, errRefused)
		g.Failed(target, errRefused)
		if g.Healthy() != 1 || changes.Load() != before+1 {
			t.Fatalf("%d healthy after %d changes", g.Healthy(), changes.Load()-before)
		}
		time.Sleep(21 * time.Second)
		synctest.Wait()
		if g.Healthy() != 1 {
			t.Error("healthy again after two successes of three")
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if g.Healthy() != 2 {
			t.Errorf("states %v after three successes", states(g))
		}
	})
}

func TestUnhealthyReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		sg := group("g", 2, false)
		sg.UnhealthyReset = true
		p, seen := n.run(t, nil), &losses{}
		p.cfg.Lost = seen.add
		p.Apply([]spec.TargetGroup{sg}, everyGroup)
		time.Sleep(firstSpread)
		n.set("10.0.0.1:80", true)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		want := Loss{Group: "g", Target: addrOf(targets(1)[0].Target)}
		if lost := seen.all(); len(lost) != 1 || lost[0] != want {
			t.Errorf("lost %v, want %v", lost, want)
		}
		n.set("10.0.0.2:80", true)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if lost := seen.all(); len(lost) != 1 {
			t.Errorf("lost %v: the last healthy target keeps its flows", lost)
		}
	})
}
