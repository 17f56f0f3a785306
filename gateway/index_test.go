package gateway

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"causeway/gateway/spec"
)

// balancer is a load balancer with a node in each zone.
func balancer(name string, zones ...string) spec.LoadBalancer {
	lb := spec.LoadBalancer{Name: name, Domain: "d"}
	for i, z := range zones {
		lb.Nodes = append(lb.Nodes, spec.Node{Zone: z, Address: addr(fmt.Sprintf("10.0.0.%d", i+1))})
	}
	return lb
}

// chosen maps the uids of interfaces in a zone to "load balancer zone".
func chosen(n int, zone string, crossZone bool, balancers ...spec.LoadBalancer) map[string]string {
	s := spec.Gateway{LoadBalancers: balancers}
	e := spec.Endpoint{CrossZone: crossZone}
	for _, lb := range balancers {
		e.LoadBalancers = append(e.LoadBalancers, lb.Name)
	}
	for i := range n {
		e.Interfaces = append(e.Interfaces, spec.NetworkInterface{UID: fmt.Sprintf("eni-%017x", i), Zone: zone})
	}
	s.Endpoints = []spec.Endpoint{e}
	got := map[string]string{}
	for uid, x := range newIndex(&s).interfaces {
		if x.balancer != nil {
			got[uid] = x.balancer.Name + " " + x.node.Zone
		}
	}
	return got
}

// TestLoadBalancerChoiceIsFixed: a gateway that is restarted or updated keeps every interface's load balancer.
func TestLoadBalancerChoiceIsFixed(t *testing.T) {
	balancers := []spec.LoadBalancer{balancer("a", "z1", "z2"), balancer("b", "z1"), balancer("c", "z1", "z3")}
	want := map[string]string{
		"eni-00000000000000000": "c z1", "eni-00000000000000001": "c z1", "eni-00000000000000002": "c z1",
		"eni-00000000000000003": "a z1", "eni-00000000000000004": "a z1", "eni-00000000000000005": "c z1",
	}
	got := chosen(6, "z1", false, balancers...)
	if !maps.Equal(got, want) {
		t.Errorf("chosen %v, want %v", got, want)
	}
	slices.Reverse(balancers)
	if again := chosen(6, "z1", false, balancers...); !maps.Equal(again, got) {
		t.Errorf("in another order: chosen %v, before %v", again, got)
	}
}

func TestLoadBalancerChoiceSpreads(t *testing.T) {
	const n = 3000
	a, b, c := balancer("a", "z1"), balancer("b", "z1", "z2"), balancer("c", "z1")
	before := chosen(n, "z1", false, a, b)
	after := chosen(n, "z1", false, a, b, c)
	count := map[string]int{}
	for uid, to := range after {
		count[to]++
		if to != before[uid] && to != "c z1" {
			t.Errorf("%s moved from %q to %q when c came", uid, before[uid], to)
		}
	}
	for name, got := range count {
		if got < n/3-150 || got > n/3+150 {
			t.Errorf("%q serves %d of %d interfaces", name, got, n)
		}
	}
	if len(count) != 3 {
		t.Errorf("chosen are %v", count)
	}
}

func TestLoadBalancerOfAnotherZone(t *testing.T) {
	a, b := balancer("a", "z1"), balancer("b", "z2", "z3")
	if got := chosen(10, "z4", false, a, b); len(got) != 0 {
		t.Errorf("without leave to cross zones: %v", got)
	}
	used := map[string]bool{}
	for _, to := range chosen(100, "z4", true, a, b) {
		used[to] = true
	}
	if len(used) != 3 {
		t.Errorf("of other zones only %v are used", used)
	}
	for uid, to := range chosen(100, "z1", true, a, b) {
		if !strings.HasPrefix(to, "a ") {
			t.Errorf("%s has a node in its zone and uses %q", uid, to)
		}
	}
}
