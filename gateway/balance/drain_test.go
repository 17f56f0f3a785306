package balance

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"causeway/gateway/spec"
)

// losses keeps what a pool reports as lost.
type losses struct {
	mu   sync.Mutex
	list []Loss
}

func (l *losses) add(loss Loss) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, loss)
}

func (l *losses) all() []Loss {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.list)
}

// drainingWorld is a pool of one group with two healthy targets and a deregistration delay of a minute.
func drainingWorld(t *testing.T, reset bool) (*Pool, spec.TargetGroup, *losses, *network) {
	t.Helper()
	n := newNetwork()
	p := n.run(t, nil)
	lost := &losses{}
	p.cfg.Lost = lost.add
	sg := group("g", 2, false)
	sg.DeregistrationDelay, sg.DeregistrationReset = time.Minute, reset
	p.Apply([]spec.TargetGroup{sg}, everyGroup)
	time.Sleep(firstSpread)
	synctest.Wait()
	return p, sg, lost, n
}

func TestDeregistration(t *testing.T) {
	for _, reset := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			p, sg, lost, n := drainingWorld(t, reset)
			g, gone := p.Group("g"), addrOf(sg.Targets[1].Target)
			sg.Targets = sg.Targets[:1]
			p.Apply([]spec.TargetGroup{sg}, everyGroup)
			probes := n.probed(gone)
			s := g.Status()
			if len(s) != 2 || s[1].State != spec.TargetDraining || s[1].Reason != "Target.DeregistrationInProgress" || !s[1].Since.Equal(time.Now()) {
				t.Fatalf("status %+v", s)
			}
			if got := count(picks(g, 500)); got[gone] != 0 {
				t.Errorf("a draining target gets new flows: %v", got)
			}
			time.Sleep(time.Minute - time.Millisecond)
			synctest.Wait()
			if len(g.Status()) != 2 || len(lost.all()) != 0 || n.probed(gone) != probes {
				t.Errorf("before the delay is over: %+v, lost %v, %d probes", g.Status(), lost.all(), n.probed(gone)-probes)
			}
			time.Sleep(time.Millisecond)
			synctest.Wait()
			want := []Loss{{Group: "g", Target: gone, Deregistered: true}}
			if !reset {
				want = nil
			}
			if len(g.Status()) != 1 || !slices.Equal(lost.all(), want) {
				t.Errorf("after the delay: %+v, lost %v, want %v", g.Status(), lost.all(), want)
			}
		})
	}
}

func TestRegisteringAgainEndsDraining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, sg, lost, _ := drainingWorld(t, true)
		both := sg.Targets
		sg.Targets = both[:1]
		p.Apply([]spec.TargetGroup{sg}, everyGroup)
		time.Sleep(30 * time.Second)
		sg.Targets = both
		p.Apply([]spec.TargetGroup{sg}, everyGroup)
		time.Sleep(firstSpread)
		synctest.Wait()
		if p.Group("g").Healthy() != 2 {
			t.Errorf("states %v", states(p.Group("g")))
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if len(lost.all()) != 0 || len(p.Group("g").Status()) != 2 {
			t.Errorf("lost %v, status %+v", lost.all(), p.Group("g").Status())
		}
	})
}

func TestDeregistrationWithoutDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, sg, lost, _ := drainingWorld(t, true)
		sg.DeregistrationDelay = 0
		p.Apply([]spec.TargetGroup{sg}, everyGroup)
		sg.Targets = nil
		p.Apply([]spec.TargetGroup{sg}, everyGroup)
		if len(lost.all()) != 2 || len(p.Group("g").Status()) != 0 {
			t.Errorf("lost %v, status %+v", lost.all(), p.Group("g").Status())
		}
	})
}

// TestRemovedGroupDrains: a group that is deleted drains, and one that comes back under its name meanwhile is the same.
func TestRemovedGroupDrains(t *testing.T) {
	for _, back := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p, sg, lost, _ := drainingWorld(t, true)
			g := p.Group("g")
			p.Apply(nil, everyGroup)
			if g.Available("") || p.Group("g") != g {
				t.Fatal("a removed group is available or forgotten before it drained")
			}
			time.Sleep(time.Second)
			if back {
				p.Apply([]spec.TargetGroup{sg}, everyGroup)
			}
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			if back && (p.Group("g") != g || g.Healthy() != 2 || len(lost.all()) != 0) {
				t.Errorf("came back: %v, lost %v", states(g), lost.all())
			}
			if !back && (p.Group("g") != nil || len(lost.all()) != 2 || len(p.queue) != 0) {
				t.Errorf("removed: lost %v, %d queued", lost.all(), len(p.queue))
			}
		})
	}
}

// TestUnusedTargetsLeaveAtOnce: they have no flows to wait for.
func TestUnusedTargetsLeaveAtOnce(t *testing.T) {
	sg := group("g", 2, false)
	sg.DeregistrationDelay = time.Minute
	p := newPool()
	p.Apply([]spec.TargetGroup{sg}, func(string) bool { return false })
	sg.Targets = sg.Targets[:1]
	p.Apply([]spec.TargetGroup{sg}, func(string) bool { return false })
	if s := p.Group("g").Status(); len(s) != 1 {
		t.Errorf("status %+v", s)
	}
}
