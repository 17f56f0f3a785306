package e2e

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"causeway/e2e/lab"
	causewayv1 "causeway/proto/causeway/v1"
)

// TestKillAndRestart kills the daemon and starts it again: resources, addresses and keys are as
// before, and the new connections of a client that did nothing work within two seconds.
func TestKillAndRestart(t *testing.T) {
	w := newWorld(t, settings{})
	w.underlay.Nginx(lab.NginxConfig{Listen: w.underlayAddr.String() + ":8080", Body: "orders\n"})
	w.vpc("prod", "10.0.0.0/16")
	w.publish("vpcs/prod", "orders", 80, 8080, w.underlayAddr.String())
	app, site := w.client("app"), w.client("site")
	w.attach(app, "vpcs/prod/subnets/a", "app")
	w.join(site, "vpcs/prod", "office", "192.168.60.10", "192.168.60.0/24", w.NewKey())
	address := w.endpoint("vpcs/prod", "orders", "endpointServices/orders")
	url := "http://" + address + "/"
	w.fetch(app, url, "orders")
	w.fetch(site, url, "orders")
	before := w.resources()
	w.waitHandshakesOlder(time.Second)

	w.daemon.Kill()
	w.daemon.Restart()
	began := time.Now()
	for _, host := range []*lab.Host{app, site} {
		w.Eventually(2*time.Second-time.Since(began), "a new connection of "+host.Name, func() error { _, err := w.curl(host, url, 1); return err })
		t.Logf("%s is served again %v after readiness", host.Name, time.Since(began).Round(time.Millisecond))
	}
	if after := w.resources(); after != before {
		t.Fatalf("resources changed over the restart\nbefore: %s\nafter:  %s", before, after)
	}
}

// waitHandshakesOlder waits until no tunnel is younger: the gateway notes where its peers are soon
// after it has heard them, not before.
func (w *world) waitHandshakesOlder(age time.Duration) {
	w.t.Helper()
	w.Eventually(patience, "the tunnels to be no longer new", func() error {
		gateway := w.call("Gateways/GetGateway", `{"name":"gateways/local"}`).(*causewayv1.Gateway)
		for _, te := range gateway.GetTunnelEndpoints() {
			for _, p := range te.GetPeers() {
				if at := p.GetLastHandshakeTime(); at != nil && time.Since(at.AsTime()) < age {
					return fmt.Errorf("%s shook hands at %v", p.GetName(), at.AsTime())
				}
			}
		}
		return nil
	})
}

// resources is everything that must survive a restart, as text.
func (w *world) resources() string {
	w.t.Helper()
	var text string
	for _, get := range [][2]string{
		{"Vpcs/GetVpc", "vpcs/prod"},
		{"Vpcs/GetSubnet", "vpcs/prod/subnets/a"},
		{"Vpcs/GetAttachment", "vpcs/prod/subnets/a/attachments/app"},
		{"VpnConnections/GetVpnConnection", "vpnConnections/office"},
		{"LoadBalancers/GetLoadBalancer", "loadBalancers/orders"},
		{"LoadBalancers/GetTargetGroup", "targetGroups/orders"},
		{"EndpointServices/GetEndpointService", "endpointServices/orders"},
		{"Endpoints/GetEndpoint", "vpcs/prod/endpoints/orders"},
	} {
		m := proto.Clone(w.call(get[0], `{"name":"`+get[1]+`"}`))
		switch m := m.(type) {
		case *causewayv1.Attachment:
			m.LastHandshakeTime = nil
		case *causewayv1.VpnConnection:
			for _, tunnel := range m.GetTunnels() {
				tunnel.LastHandshakeTime, tunnel.ReceivedBytes, tunnel.TransmittedBytes, tunnel.PeerEndpoint = nil, 0, 0, ""
			}
		case *causewayv1.Endpoint:
			for _, ni := range m.GetNetworkInterfaces() {
				ni.Bandwidth, ni.ActiveFlows = nil, 0
			}
		}
		text += protojson.Format(m) + "\n"
	}
	return text
}
