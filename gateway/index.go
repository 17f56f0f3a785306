package gateway

import (
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
	uids       map[string]bool // of tunnel endpoints
	// addresses are all that the stacks have to own.
	addresses map[domainAddress]bool
}

// indexedInterface is a network interface with its endpoint, and the load balancer it uses: the first that has a node in
// its zone.
type indexedInterface struct {
	spec     spec.NetworkInterface
	endpoint *spec.Endpoint
	balancer *spec.LoadBalancer
	source   netip.Addr
}

// domainAddress is an address in a domain; addresses of different domains may be equal.
type domainAddress struct {
	domain  string
	address netip.Addr
}

func newIndex(s *spec.Gateway) *index {
	x := &index{
		domains: map[string]*spec.Domain{}, tunnels: map[string][]spec.TunnelEndpoint{},
		interfaces: map[string]*indexedInterface{}, uids: map[string]bool{}, addresses: map[domainAddress]bool{},
	}
	balancers := map[string]*spec.LoadBalancer{}
	for i := range s.LoadBalancers {
		lb := &s.LoadBalancers[i]
		balancers[lb.Name] = lb
		for _, n := range lb.Nodes {
			x.addresses[domainAddress{lb.Domain, n.Address}] = true
		}
	}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		for _, n := range e.Interfaces {
			found := &indexedInterface{spec: n, endpoint: e}
			found.balancer, found.source = balancerIn(n.Zone, e.LoadBalancers, balancers)
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
	}
	return x
}

func balancerIn(zone string, names []string, balancers map[string]*spec.LoadBalancer) (*spec.LoadBalancer, netip.Addr) {
	for _, name := range names {
		for _, n := range balancers[name].Nodes {
			if n.Zone == zone {
				return balancers[name], n.Address
			}
		}
	}
	return nil, netip.Addr{}
}

// missing says why an interface has no service at all, or nothing.
func (n *indexedInterface) missing() string {
	switch {
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
