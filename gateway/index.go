package gateway

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"causeway/gateway/spec"
)

// index finds the objects of a spec by name.
type index struct {
	domains    map[string]*spec.Domain
	tunnels    map[string][]spec.TunnelEndpoint // by domain
	interfaces map[string]*indexedInterface
	groups     map[string]*spec.TargetGroup
	nodes      map[string][]spec.Node // by domain
	uids       map[string]bool        // of tunnel endpoints
	// addresses are all that the stacks have to own.
	addresses map[domainAddress]bool
}

// indexedInterface is a network interface with its endpoint, and the load balancer it uses with its node.
type indexedInterface struct {
	spec     spec.NetworkInterface
	endpoint *spec.Endpoint
	balancer *spec.LoadBalancer
	node     spec.Node
}

// domainAddress is an address in a domain; addresses of different domains may be equal.
type domainAddress struct {
	domain  string
	address netip.Addr
}

func newIndex(s *spec.Gateway) *index {
	x := &index{
		domains: map[string]*spec.Domain{}, tunnels: map[string][]spec.TunnelEndpoint{},
		interfaces: map[string]*indexedInterface{}, groups: map[string]*spec.TargetGroup{}, nodes: map[string][]spec.Node{}, uids: map[string]bool{}, addresses: map[domainAddress]bool{},
	}
	balancers := map[string]*spec.LoadBalancer{}
	for i := range s.LoadBalancers {
		lb := &s.LoadBalancers[i]
		balancers[lb.Name] = lb
		x.nodes[lb.Domain] = append(x.nodes[lb.Domain], lb.Nodes...)
		for _, n := range lb.Nodes {
			for _, a := range n.Addresses() {
				x.addresses[domainAddress{lb.Domain, a}] = true
			}
		}
	}
	for i := range s.TargetGroups {
		x.groups[s.TargetGroups[i].Name] = &s.TargetGroups[i]
	}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		for _, n := range e.Interfaces {
			found := &indexedInterface{spec: n, endpoint: e}
			found.choose(balancers)
			x.interfaces[n.UID] = found
		}
	}
	for i := range s.Domains {
		d := &s.Domains[i]
		x.domains[d.Name] = d
		x.tunnels[d.Name] = d.TunnelEndpoints
		for _, t := range d.TunnelEndpoints {
			x.uids[t.UID] = true
		}
		for _, e := range d.Exposures {
			x.addresses[domainAddress{d.Name, x.interfaces[e.Interface].spec.Address}] = true
		}
		for _, r := range resolverAddresses(d, nil) {
			x.addresses[domainAddress{d.Name, r.Address}] = true
		}
	}
	return x
}

// choose takes one of the service's load balancers for the interface: one that has a node in its zone or, if there is none
// and the endpoint may cross zones, a node of any zone. Of several it is the one with the highest random weight for the
// interface, so that the interfaces spread over them, and each keeps its own while the others come and go.
func (n *indexedInterface) choose(balancers map[string]*spec.LoadBalancer) {
	var best [sha256.Size]byte
	consider := func(fits func(zone string) bool) {
		for _, name := range n.endpoint.LoadBalancers {
			for _, node := range balancers[name].Nodes {
				if !fits(node.Zone) {
					continue
				}
				weight := sha256.Sum256([]byte(n.spec.UID + "\x00" + name + "\x00" + node.Zone))
				if n.balancer == nil || bytes.Compare(weight[:], best[:]) > 0 {
					n.balancer, n.node, best = balancers[name], node, weight
				}
			}
		}
	}
	consider(func(zone string) bool { return zone == n.spec.Zone })
	if n.balancer == nil && n.endpoint.CrossZone {
		consider(func(string) bool { return true })
	}
}

// revokedIn gives the addresses of interfaces shown in a domain that may no longer be used.
func (x *index) revokedIn(d *spec.Domain) map[string]netip.Addr {
	revoked := map[string]netip.Addr{}
	for _, e := range d.Exposures {
		if n := x.interfaces[e.Interface]; n.endpoint.Revocation != nil {
			revoked[e.Interface] = n.spec.Address
		}
	}
	return revoked
}

// missing says why an interface has no service at all, or nothing.
func (n *indexedInterface) missing() string {
	switch {
	case n.balancer == nil && n.endpoint.CrossZone:
		return "no load balancer of the service has a node"
	case n.balancer == nil:
		return fmt.Sprintf("no load balancer of the service has a node in zone %q", n.spec.Zone)
	case len(n.balancer.Listeners) == 0:
		return fmt.Sprintf("load balancer %q has no listener", n.balancer.Name)
	}
	return ""
}

func joinHostPort(host string, port uint16) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}
