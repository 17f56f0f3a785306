package gateway

import (
	"encoding/json"
	"testing"

	"causeway/gateway/spec"
)

// FuzzSpec: whatever bytes claim to be a spec, decoding and validating them never panics, and what passes can be
// applied and comes back equal from its own encoding.
func FuzzSpec(f *testing.F) {
	var w world
	w.pair(f, 1)
	w.Gateway.Revision = 1
	seed, err := json.Marshal(w.Gateway)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{"revision":1,"zones":["a"],"domains":[{"name":"d","prefixes":["10.0.0.0/8"]}]}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		given, err := decode(data)
		if err != nil {
			return
		}
		_, s, err := detach(given) // by now an empty list is no list
		if err != nil {
			t.Fatalf("valid once, then not: %v", err)
		}
		_, again, err := detach(s)
		if err != nil || !again.Equal(s) {
			t.Errorf("changed by its own encoding:\n%+v\n%+v", s, again)
		}
		for i := range s.Domains {
			s.Domains[i].TunnelEndpoints = nil // no ports are opened for a fuzzer
		}
		g := run(t, config(t, t.TempDir()))
		if err := g.Apply(t.Context(), *s); err != nil {
			t.Errorf("valid, but not applied: %v", err)
		}
		for _, n := range g.Status().Interfaces {
			if g.view.Load().retry {
				t.Errorf("valid, but not served: %+v", n)
			}
		}
	})
}

// TestEqualIgnoresNothing guards the comparison that the fuzz test relies on.
func TestEqualIgnoresNothing(t *testing.T) {
	var a, b world
	a.pair(t, 1)
	b.Gateway = a.Gateway
	b.Domains = append([]spec.Domain(nil), a.Domains...)
	if !a.Equal(&b.Gateway) {
		t.Error("a copy is not equal")
	}
	b.Domains[0].Name = "other"
	if a.Equal(&b.Gateway) {
		t.Error("another name is equal")
	}
}
