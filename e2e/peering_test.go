package e2e

import (
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"causeway/e2e/lab"
	causewayv1 "causeway/proto/causeway/v1"
)

// TestPeering reaches an endpoint of a peered VPC from an attachment and from a tunnel; the
// endpoint's owner then denies tunnels, and deletes the peering.
func TestPeering(t *testing.T) {
	w := newWorld(t, settings{})
	w.underlay.Nginx(lab.NginxConfig{Listen: w.underlayAddr.String() + ":8080", Body: "shared\n"})
	w.vpc("shared", "10.1.0.0/16")
	w.vpc("branch", "10.2.0.0/16")
	w.vpc("third", "10.3.0.0/16")
	w.publish("vpcs/shared", "web", 80, 8080, w.underlayAddr.String())
	address := w.endpoint("vpcs/shared", "web", "endpointServices/web")
	url := "http://" + address + "/"
	w.peer("shared-branch", "vpcs/shared", "vpcs/branch")
	w.peer("branch-third", "vpcs/branch", "vpcs/third")

	app, site, far := w.client("app"), w.client("site"), w.client("far")
	w.attach(app, "vpcs/branch/subnets/a", "app")
	w.join(site, "vpcs/branch", "office", "192.168.60.10", "192.168.60.0/24", w.NewKey())
	w.attach(far, "vpcs/third/subnets/a", "far")

	w.fetch(app, url, "shared")
	w.fetch(site, url, "shared")
	far.Run("ip", "route", "replace", "10.1.0.0/16", "dev", wgInterface(far))
	if out, err := w.curl(far, url, 2); err == nil {
		t.Fatalf("a VPC two peerings away got %q: peering must not be transitive", out)
	}

	fromSite, fromApp := w.hold(site, address), w.hold(app, address)
	w.call("Peerings/UpdatePeering", `{"peering":{"name":"peerings/shared-branch","tunnel_access":"DENIED"}}`)
	wantReset(t, "a tunnel's connection after tunnel_access was denied", fromSite)
	if out, err := w.curl(site, url, 2); err == nil {
		t.Fatalf("with tunnel_access denied the tunnel got %q", out)
	}
	if got := ask(t, fromApp); got != "shared" {
		t.Fatalf("the attachment's connection answers %q after tunnels were denied", got)
	}
	w.fetch(app, url, "shared")

	w.call("Peerings/UpdatePeering", `{"peering":{"name":"peerings/shared-branch","tunnel_access":"ALLOWED"}}`)
	w.Eventually(patience, "the tunnel to be allowed again", func() error { _, err := w.curl(site, url, 1); return err })

	fromSite = w.hold(site, address)
	w.call("Peerings/DeletePeering", `{"name":"peerings/shared-branch"}`)
	wantReset(t, "a tunnel's connection after the peering was deleted", fromSite)
	wantReset(t, "an attachment's connection after the peering was deleted", fromApp)
	if out, err := w.curl(app, url, 2); err == nil {
		t.Fatalf("after the peering was deleted the attachment got %q", out)
	}
}

// TestPeeringOverlap refuses VPCs whose ranges overlap, naming both.
func TestPeeringOverlap(t *testing.T) {
	w := newWorld(t, settings{})
	w.vpc("one", "10.0.0.0/16")
	w.vpc("two", "10.0.0.0/20")
	w.refused(codes.FailedPrecondition, []string{"10.0.0.0/16", "10.0.0.0/20"}, "Peerings/CreatePeering",
		`{"peering_id":"p","peering":{"vpc":"vpcs/one","peer_vpc":"vpcs/two"}}`)
}

// TestPeeringBetweenRegions has one gateway serve two regions: what overlaps is refused and named, a
// service is of its own region alone, and an endpoint of it is reached from the other over the peering,
// as far as its owner lets tunnels in and until the peering is deleted.
func TestPeeringBetweenRegions(t *testing.T) {
	w := newWorld(t, settings{})
	w.underlay.Nginx(lab.NginxConfig{Listen: w.underlayAddr.String() + ":8080", Body: "shared\n"})
	w.vpcIn("eu-west-1", "shared", "10.1.0.0/16")
	w.vpc("branch", "10.2.0.0/16")
	w.vpc("inside", "10.1.128.0/20")
	w.publish("vpcs/shared", "web", 80, 8080, w.underlayAddr.String())
	address := w.endpoint("vpcs/shared", "web", "endpointServices/web")
	url := "http://" + address + "/"

	w.refused(codes.FailedPrecondition, []string{"10.1.128.0/20", "10.1.0.0/16"}, "Peerings/CreatePeering",
		`{"peering_id":"p","peering":{"vpc":"vpcs/inside","peer_vpc":"vpcs/shared"}}`)
	w.refused(codes.InvalidArgument, []string{"eu-west-1", "us-east-1"}, "Endpoints/CreateEndpoint",
		`{"parent":"vpcs/branch","endpoint_id":"web","endpoint":{"service_name":"endpointServices/web","subnets":["vpcs/branch/subnets/a"]}}`)

	app, site := w.client("app"), w.client("site")
	w.peer("shared-branch", "vpcs/branch", "vpcs/shared")
	w.attach(app, "vpcs/branch/subnets/a", "app")
	w.join(site, "vpcs/branch", "office", "192.168.60.10", "192.168.60.0/24", w.NewKey())
	w.fetch(app, url, "shared")
	w.fetch(site, url, "shared")

	fromSite, fromApp := w.hold(site, address), w.hold(app, address)
	w.call("Peerings/UpdatePeering", `{"peering":{"name":"peerings/shared-branch","peer_tunnel_access":"DENIED"}}`)
	wantReset(t, "a tunnel's connection after peer_tunnel_access was denied", fromSite)
	if out, err := w.curl(site, url, 2); err == nil {
		t.Fatalf("with peer_tunnel_access denied the tunnel got %q", out)
	}
	if got := ask(t, fromApp); got != "shared" {
		t.Fatalf("the attachment's connection answers %q after tunnels were denied", got)
	}
	w.call("Peerings/DeletePeering", `{"name":"peerings/shared-branch"}`)
	wantReset(t, "an attachment's connection after the peering was deleted", fromApp)
	if out, err := w.curl(app, url, 2); err == nil {
		t.Fatalf("after the peering was deleted the attachment got %q", out)
	}
}

// peer requests and accepts a peering.
func (w *world) peer(id, vpc, peerVPC string) {
	w.t.Helper()
	w.call("Peerings/CreatePeering", `{"peering_id":%q,"peering":{"vpc":%q,"peer_vpc":%q}}`, id, vpc, peerVPC)
	w.call("Peerings/AcceptPeering", `{"name":"peerings/%s"}`, id)
	await(w, "Peerings/GetPeering", "peerings/"+id, func(p *causewayv1.Peering) bool { return p.GetState() == causewayv1.Peering_ACTIVE })
}

// hold opens a connection to port 80 of an endpoint and sees it answer.
func (w *world) hold(host *lab.Host, address string) net.Conn {
	w.t.Helper()
	var c net.Conn
	w.Eventually(patience, "connect to "+address, func() (err error) {
		c, err = host.Dial(w.Context(), "tcp", address+":80")
		return err
	})
	w.t.Cleanup(func() { _ = c.Close() })
	ask(w.t, c)
	return c
}

// wantReset fails unless an idle connection ends by a reset within a second.
func wantReset(t *testing.T, what string, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(time.Second))
	_, err := c.Read(make([]byte, 1))
	if err == nil || !strings.Contains(err.Error(), "connection reset") {
		t.Fatalf("%s: got %v; want it reset within a second", what, err)
	}
}

// wgInterface returns the name of a host's only WireGuard interface.
func wgInterface(h *lab.Host) string {
	for line := range strings.Lines(h.Run("ip", "-brief", "link", "show", "type", "tun")) {
		return strings.Fields(line)[0]
	}
	return ""
}
