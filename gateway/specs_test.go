package gateway

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"causeway/gateway/domain"
	"causeway/gateway/spec"
	"causeway/tunnel/link"
)

// port2peer lets everything through a host's uplink: 80 and 8080 are served, the rest is refused.
func port2peer(p *link.Port) domain.Peer {
	return domain.Peer{Name: "gateway", Port: p, Prefixes: []netip.Prefix{prefix("0.0.0.0/0")}}
}

// serves opens all ports that tests listen on.
func (h *host) serves(p domain.Peer) {
	always := func() bool { return true }
	h.domain.Publish(domain.Table{
		Peers: []domain.Peer{p},
		Exposures: []domain.Exposure{{
			Address: h.addr, Tunnels: true,
			Services: []domain.Service{{Port: 80, Available: always}, {Port: 8080, Available: always}, {Port: 8443, Available: always}},
		}},
	})
}

// world builds specs of pairs: a consumer's VPC whose endpoint 10.0.1.10 leads to a provider's service. All VPCs have the
// same addresses: 10.0.0.0/16, the attachment at 10.0.1.4.
type world struct{ spec.Gateway }

const (
	endpointIP = "10.0.1.10"
	serviceAt  = "10.0.1.10:443"
	nodeIP     = "10.0.1.200"
	zone       = "us-east-1a"
)

func consumer(i int) string         { return fmt.Sprintf("accounts/c%d/vpcs/c", i) }
func provider(i int) string         { return fmt.Sprintf("accounts/p%d/vpcs/p", i) }
func uid(kind string, i int) string { return fmt.Sprintf("%s-%04d", kind, i) }

// addDomain adds a VPC with one tunnel endpoint.
func (w *world) addDomain(t testing.TB, name, tunnelEndpoint string, peers ...spec.Peer) {
	t.Helper()
	w.Domains = append(w.Domains, spec.Domain{
		Name: name, Prefixes: []netip.Prefix{prefix("10.0.0.0/16")},
		TunnelEndpoints: []spec.TunnelEndpoint{{UID: tunnelEndpoint, Zone: zone, Port: freePort(t), Peers: peers}},
	})
}

// domain finds a VPC.
func (w *world) domain(name string) *spec.Domain {
	for i := range w.Domains {
		if w.Domains[i].Name == name {
			return &w.Domains[i]
		}
	}
	return nil
}

// addService adds a load balancer of a provider's VPC with one target.
func (w *world) addService(i int, target netip.AddrPort) {
	group := fmt.Sprintf("accounts/p%d/targetGroups/g", i)
	w.TargetGroups = append(w.TargetGroups, spec.TargetGroup{
		Name: group, Domain: provider(i), FailOpen: true,
		Targets:     []spec.Registration{registration(target.Addr(), target.Port())},
		HealthCheck: spec.HealthCheck{Protocol: spec.TCP, Interval: time.Second, Timeout: time.Second, HealthyThreshold: 2, UnhealthyThreshold: 2},
	})
	w.LoadBalancers = append(w.LoadBalancers, spec.LoadBalancer{
		Name: fmt.Sprintf("accounts/p%d/loadBalancers/lb", i), Domain: provider(i),
		Nodes:     []spec.Node{{Zone: zone, Address: addr(nodeIP)}},
		Listeners: []spec.Listener{{Port: 443, Protocol: spec.TCP, TargetGroup: group, IdleTimeout: 350 * time.Second}},
	})
}

// addEndpoint adds consumer i's endpoint to service of provider i and shows it in the consumer's VPC.
func (w *world) addEndpoint(i int) {
	w.addEndpointAt(i, fmt.Sprintf("%s/endpoints/e", consumer(i)), uid("eni", i), endpointIP)
	d := w.domain(consumer(i))
	d.Exposures = append(d.Exposures, spec.Exposure{Interface: uid("eni", i), Tunnels: true})
}

func (w *world) addEndpointAt(i int, name, iface, at string) {
	w.Endpoints = append(w.Endpoints, spec.Endpoint{
		Name: name, UID: "vpce-" + iface, Service: "accounts/p/endpointServices/s",
		LoadBalancers: []string{fmt.Sprintf("accounts/p%d/loadBalancers/lb", i)},
		Bandwidth:     spec.Bandwidth{BaselineBPS: 10e9, MaximumBPS: 40e9},
		Interfaces:    []spec.NetworkInterface{{UID: iface, Zone: zone, Address: addr(at)}},
	})
}

// pair adds consumer and provider i with one attachment each, the provider's being the target.
func (w *world) pair(t testing.TB, i int) (client, server *host) {
	t.Helper()
	client, server = newHost("10.0.1.4"), newHost("10.0.1.4")
	w.addDomain(t, consumer(i), uid("tepc", i), client.peer(consumer(i)+"/subnets/a/attachments/app", spec.Attachment))
	w.addDomain(t, provider(i), uid("tepp", i), server.peer(provider(i)+"/subnets/a/attachments/backend", spec.Attachment))
	w.addService(i, netip.MustParseAddrPort("10.0.1.4:8080"))
	w.addEndpoint(i)
	return client, server
}

// connectPair brings both tunnels of a pair up and the service behind it.
func connectPair(t testing.TB, g gatewayUnderTest, i int, client, server *host) (name string) {
	t.Helper()
	name = fmt.Sprintf("service-%04d", i)
	server.connect(t, g, uid("tepp", i))
	answer(t, server.listen(t, 8080), name)
	client.connect(t, g, uid("tepc", i))
	return name
}

func registration(a netip.Addr, port uint16) spec.Registration {
	return spec.Registration{Target: spec.Target{Address: a, Port: port}, Weight: 1}
}
