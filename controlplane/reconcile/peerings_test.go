package reconcile

import (
	"slices"
	"strings"
	"testing"

	"causeway/gateway/spec"
	pb "causeway/proto/causeway/v1"
)

// TestPeeringOfTwoRegions shows an endpoint, and with consent its private name, in a VPC of another region.
func TestPeeringOfTwoRegions(t *testing.T) {
	w := &world{}
	w.vpc("near", "10.1.0.0/16")
	w.vpc("far", "10.2.0.0/16").Region = "eu-west-1"
	service := w.publish("orders", "far", "eu-west-1a", "10.2.0.5")
	e := w.endpoint("vpcs/far/endpoints/orders", service, "eu-west-1a", "10.2.0.6")
	hold(service, e, "orders.example.com")
	p := w.peering("p", "near", "far")
	opts := testOptions
	opts.zones = append(slices.Clip(opts.zones), Zone{"eu-west-1", "eu-west-1a"})

	seen := func() (exposed bool, names string) {
		w.revision = w.created
		r := compile(w.input, opts)
		if err := r.spec.Validate(); err != nil {
			t.Fatalf("compiled spec: %v", err)
		}
		d := r.spec.Domains[slices.IndexFunc(r.spec.Domains, func(d spec.Domain) bool { return strings.HasSuffix(d.Name, "/near") })]
		for _, n := range d.Resolver.Names {
			names += n.Name + " "
		}
		return len(d.Exposures) == 1 && d.Exposures[0].Via == p.GetName(), names
	}
	exposed, names := seen()
	if !exposed || !strings.Contains(names, ".eu-west-1.vpce.") || strings.Contains(names, "orders.example.com") {
		t.Errorf("exposed: %v, names %s; want the endpoint with the public names of its own region alone", exposed, names)
	}
	p.DnsResolution, p.PeerDnsResolution = pb.Peering_ALLOWED, pb.Peering_ALLOWED
	if _, names = seen(); !strings.Contains(names, "orders.example.com") {
		t.Errorf("with both owners' consent only %s", names)
	}
	p.State = pb.Peering_EXPIRED
	if exposed, names = seen(); exposed || names != "" {
		t.Errorf("expired, but exposed: %v, names %s", exposed, names)
	}
}
