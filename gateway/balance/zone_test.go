package balance

import (
	"net/netip"
	"testing"

	"causeway/gateway/spec"
)

// zoned is a group of one target each of zones a, b and of none.
func zoned(crossZone, failOpen bool) spec.TargetGroup {
	g := group("g", 3, failOpen)
	g.CrossZone = crossZone
	g.Targets[0].Zone, g.Targets[1].Zone = "a", "b"
	return g
}

func TestZones(t *testing.T) {
	const (
		up   = spec.TargetHealthy
		down = spec.TargetUnhealthy
	)
	for name, tt := range map[string]struct {
		crossZone, failOpen bool
		states              [3]spec.TargetState
		want                map[string][]int // targets by zone
	}{
		"own zone and none":        {false, true, [3]spec.TargetState{up, up, up}, map[string][]int{"a": {0, 2}, "b": {1, 2}, "c": {2}}},
		"across":                   {true, true, [3]spec.TargetState{up, up, up}, map[string][]int{"a": {0, 1, 2}, "b": {0, 1, 2}, "c": {0, 1, 2}}},
		"a zone without healthy":   {false, true, [3]spec.TargetState{down, up, down}, map[string][]int{"a": nil, "b": {1}, "c": nil}},
		"across, one healthy":      {true, true, [3]spec.TargetState{down, up, down}, map[string][]int{"a": {1}, "c": {1}}},
		"all zones fail open":      {false, true, [3]spec.TargetState{down, down, down}, map[string][]int{"a": {0, 2}, "b": {1, 2}, "c": {2}}},
		"no zone fails open":       {false, false, [3]spec.TargetState{down, down, down}, map[string][]int{"a": nil, "b": nil, "c": nil}},
		"across, group fails open": {true, true, [3]spec.TargetState{down, down, down}, map[string][]int{"a": {0, 1, 2}}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(zoned(tt.crossZone, tt.failOpen))
			for i, s := range tt.states {
				p.setState("g", i, s)
			}
			for zone, want := range tt.want {
				checkZone(t, p.Group("g"), zone, want)
			}
		})
	}
}

func checkZone(t *testing.T, g *Group, zone string, want []int) {
	t.Helper()
	if g.Available(zone) != (len(want) > 0) {
		t.Errorf("zone %s: available %v", zone, g.Available(zone))
	}
	got := map[netip.AddrPort]bool{}
	for i := range 200 {
		f := flow(i)
		f.Zone = zone
		if target, ok := g.Pick(f, nil); ok {
			got[target] = true
		}
	}
	if len(got) != len(want) {
		t.Errorf("zone %s: uses %v, want targets %v", zone, got, want)
	}
	for _, i := range want {
		if !got[addrOf(targets(3)[i].Target)] {
			t.Errorf("zone %s: does not use target %d", zone, i)
		}
	}
}
