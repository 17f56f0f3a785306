package api

import (
	"net/netip"
	"testing"

	"causeway/controlplane/apierr"
)

// FuzzCheckPrefix holds that what is accepted has one spelling, and touches nothing special.
func FuzzCheckPrefix(f *testing.F) {
	for _, text := range []string{"10.0.0.0/16", "0.0.0.0/0", "::ffff:10.0.0.0/112", "10.0.0.0/016", "fe80::1%eth0/64"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var wrong apierr.Violations
		p, ok := checkPrefix(&wrong, "f", text, 1, 32)
		if ok != (wrong.Len() == 0) {
			t.Fatalf("%q: ok %v with %d violations", text, ok, wrong.Len())
		}
		if !ok {
			return
		}
		if p.String() != text || p.Masked() != p || !p.Addr().Is4() {
			t.Errorf("accepted %q as %v", text, p)
		}
		if p.Contains(netip.MustParseAddr("127.0.0.1")) || p.Contains(netip.MustParseAddr("169.254.169.254")) {
			t.Errorf("accepted %q", text)
		}
	})
}
