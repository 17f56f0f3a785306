package gateway

import (
	"net/netip"
	"testing"
	"time"

	"causeway/gateway/spec"
)

// TestFlowRecords follows a connection from its record while it lives to the one of its end, and one that is refused.
func TestFlowRecords(t *testing.T) {
	logged := make(chan *spec.FlowRecord, 10)
	cfg := config(t, t.TempDir())
	cfg.OnRecord = func(r *spec.FlowRecord) { logged <- r }
	g := run(t, cfg)
	var w world
	client, server := w.pair(t, 1)
	g.apply(t, &w.Gateway)
	name := connectPair(t, g, 1, client, server)
	watched, stop := g.WatchFlows(func(*spec.FlowRecord) bool { return true }, 10)
	defer stop()
	c := client.open(t, serviceAt, name)

	live := g.Flows(func(*spec.FlowRecord) bool { return true }, 0, 10)
	if len(live) != 1 {
		t.Fatalf("%d live flows", len(live))
	}
	e := w.Endpoints[0]
	want := spec.FlowRecord{
		ID: live[0].ID, Protocol: 6, Domain: consumer(1), Consumer: live[0].Consumer, Exposure: netip.MustParseAddrPort(serviceAt),
		Peer: w.domain(consumer(1)).TunnelEndpoints[0].Peers[0].Name, Endpoint: e.Name, EndpointUID: e.UID, Interface: e.Interfaces[0].UID,
		Zone: live[0].Zone, Service: e.Service, Target: live[0].Target, TargetGroup: w.TargetGroups[0].Name,
		IngressBytes: 1, EgressBytes: uint64(len(name)), Start: live[0].Start,
	}
	if live[0] != want {
		t.Errorf("live record\n%+v, want\n%+v", live[0], want)
	}
	if live[0].Consumer.Addr() != client.addr || live[0].Target.Addr() != server.addr || time.Since(live[0].Start) > patience {
		t.Errorf("live record %+v", live[0])
	}
	if more := g.Flows(func(*spec.FlowRecord) bool { return true }, live[0].ID, 10); len(more) != 0 {
		t.Errorf("after the last: %+v", more)
	}
	if none := g.Flows(func(*spec.FlowRecord) bool { return false }, 0, 10); len(none) != 0 {
		t.Errorf("matching nothing: %+v", none)
	}

	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	want.Reason = "completed"
	for from, records := range map[string]<-chan *spec.FlowRecord{"log": logged, "watch": watched} {
		select {
		case got := <-records:
			want.End = got.End
			if *got != want || got.End.Before(got.Start) {
				t.Errorf("%s has\n%+v, want\n%+v", from, *got, want)
			}
		case <-time.After(patience):
			t.Fatalf("no record in the %s", from)
		}
	}
}

// TestFlowsArePaged opens several connections and reads them two at a time.
func TestFlowsArePaged(t *testing.T) {
	g := run(t, config(t, t.TempDir()))
	var w world
	client, server := w.pair(t, 1)
	g.apply(t, &w.Gateway)
	name := connectPair(t, g, 1, client, server)
	const flows = 5
	for range flows {
		client.open(t, serviceAt, name)
	}
	var seen []uint64
	for after := uint64(0); ; after = seen[len(seen)-1] {
		page := g.Flows(func(*spec.FlowRecord) bool { return true }, after, 2)
		for _, r := range page {
			if len(seen) > 0 && r.ID <= seen[len(seen)-1] {
				t.Errorf("flow %d after %v", r.ID, seen)
			}
			seen = append(seen, r.ID)
		}
		if len(page) < 2 {
			break
		}
	}
	if len(seen) != flows {
		t.Errorf("pages have %v", seen)
	}
}
