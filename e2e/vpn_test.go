package e2e

import (
	"fmt"
	"testing"
	"time"

	"causeway/e2e/lab"
	causewayv1 "causeway/proto/causeway/v1"
)

// TestVpnConnection joins a site by both of its tunnels, which carry the same prefixes and end on two
// tunnel endpoints in two zones. The site moves from one to the other and answers follow it; the
// inside addresses of the tunnels reach endpoints too.
func TestVpnConnection(t *testing.T) {
	w := newWorld(t, settings{})
	w.underlay.Nginx(lab.NginxConfig{Listen: w.underlayAddr.String() + ":8080", Body: "orders\n"})
	w.vpc("prod", "10.0.0.0/16")
	w.publish("vpcs/prod", "orders", 80, 8080, w.underlayAddr.String())
	address := w.endpoint("vpcs/prod", "orders", "endpointServices/orders")
	site := w.client("site")
	site.Run("ip", "addr", "add", "192.168.60.10/32", "dev", "lo")
	key := w.NewKey()
	vpn, first := w.join(site, "vpcs/prod", "office", "192.168.60.10", "192.168.60.0/24", key)
	tunnels := vpn.GetTunnels()
	if tunnels[0].GetAvailabilityZone() == tunnels[1].GetAvailabilityZone() || tunnels[0].GetGateway().GetEndpoint() == tunnels[1].GetGateway().GetEndpoint() {
		t.Fatalf("both tunnels end at the same place: %v", tunnels)
	}
	w.fetch(site, "http://"+address+"/", "orders")

	held := w.hold(site, address)
	second := w.connect(site, key, tunnels[1].GetIpAddress(), tunnels[1].GetGateway())
	for range 2 {
		for _, by := range []*lab.WireGuard{second, first} {
			site.Run("ip", "route", "replace", "10.0.0.0/16", "dev", by.Interface, "src", "192.168.60.10")
			w.fetch(site, "http://"+address+"/", "orders")
			if got := ask(t, held); got != "orders" {
				t.Fatalf("the connection over the move answers %q", got)
			}
		}
	}
	site.Run("ip", "route", "replace", "10.0.0.0/16", "dev", second.Interface, "src", tunnels[1].GetIpAddress())
	w.fetch(site, "http://"+address+"/", "orders")

	w.call("VpnConnections/DeleteVpnConnection", `{"name":"vpnConnections/office"}`)
	w.Eventually(time.Second, "the connection over the deleted VPN connection to end", func() error {
		if n := w.sum("causeway_flows_active"); n != 0 {
			return fmt.Errorf("%v flows are active", n)
		}
		return nil
	})
	_ = held.SetDeadline(time.Now().Add(time.Second))
	if n, err := held.Read(make([]byte, 1)); err == nil {
		t.Fatalf("%d bytes came over the deleted VPN connection", n)
	}
	if out, err := w.curl(site, "http://"+address+"/", 2); err == nil {
		t.Fatalf("the deleted VPN connection carries %q", out)
	}
	w.Eventually(patience, "the VPN connection to be gone", func() error {
		list := w.call("VpnConnections/ListVpnConnections", `{}`).(*causewayv1.ListVpnConnectionsResponse)
		if n := len(list.GetVpnConnections()); n != 0 {
			return fmt.Errorf("%d are listed", n)
		}
		return nil
	})
}
