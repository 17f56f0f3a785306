package gateway

import (
	"context"
	"net/netip"
	"slices"
	"sync/atomic"

	"causeway/gateway/domain"
	"causeway/gateway/resolver"
	"causeway/gateway/spec"
)

// systemResolvers is where the host's own name servers are listed.
const systemResolvers = "/etc/resolv.conf"

// vpcResolver is a domain's DNS server.
type vpcResolver struct {
	*resolver.Resolver
	network *ruleNetwork
	serving map[netip.Addr]*resolverAddress
}

// resolverAddress is one address at which a resolver is asked.
type resolverAddress struct {
	stop func() // returns when nothing serves there any more
	// ended is set when it stopped by itself.
	ended atomic.Bool
}

// resolverAddresses are those at which a domain's resolver is asked, and whether tunnels may ask there. Subnets are by name.
func resolverAddresses(d *spec.Domain, subnets map[string]*domain.Subnet) []domain.Resolver {
	if d == nil || d.Resolver == nil {
		return nil
	}
	var list []domain.Resolver
	if d.Resolver.Address.IsValid() {
		list = append(list, domain.Resolver{Address: d.Resolver.Address})
	}
	for _, in := range d.Resolver.Inbound {
		list = append(list, domain.Resolver{Address: in.Address, Tunnels: true, Subnet: subnets[in.Subnet]})
	}
	return list
}

// closeResolver stops serving at addresses that are not the resolver's any more, or where it ended.
func (g *Gateway) closeResolver(v *vpc, d *spec.Domain) {
	if v.resolver == nil {
		return
	}
	keep := map[netip.Addr]bool{}
	for _, r := range resolverAddresses(d, nil) {
		keep[r.Address] = true
	}
	for a, s := range v.resolver.serving {
		if keep[a] && !s.ended.Load() {
			continue
		}
		s.stop()
		delete(v.resolver.serving, a)
	}
	if len(keep) == 0 {
		v.resolver = nil
	}
}

// openResolver puts a domain's resolver in force. An address that cannot be served is tried again later.
func (g *Gateway) openResolver(v *vpc, d *spec.Domain, x *index, problems *problems) {
	addresses := resolverAddresses(d, nil)
	if len(addresses) == 0 {
		return
	}
	if v.resolver == nil {
		r, err := g.newResolver(v.domain)
		if err != nil {
			g.log.Error("resolver is not served", "domain", d.Name, "error", err)
			return
		}
		v.resolver = r
	}
	v.resolver.network.from.Store(&resolverPlace{source: addresses[0].Address, prefixes: d.Prefixes})
	v.resolver.Publish(g.resolverTable(d, x))
	for _, a := range addresses {
		if v.resolver.serving[a.Address] != nil {
			continue
		}
		if err := g.serveResolver(v, a.Address); err != nil {
			problems.retry = true
			if g.served.complain(d.Name+" "+a.Address.String(), err) {
				g.log.Error("resolver is not served", "domain", d.Name, "address", a.Address, "error", err)
			}
		}
	}
}

func (g *Gateway) newResolver(d *domain.Domain) (*vpcResolver, error) {
	network := &ruleNetwork{domain: d, guard: g.guard}
	r, err := resolver.New(resolver.Config{
		Zone: "vpce." + g.cfg.DNSSuffix, Forwarders: g.forwarders, Host: hostNetwork{}, Rules: network,
	})
	if err != nil {
		return nil, err
	}
	return &vpcResolver{Resolver: r, network: network, serving: map[netip.Addr]*resolverAddress{}}, nil
}

// serveResolver answers over UDP and TCP at one address.
func (g *Gateway) serveResolver(v *vpc, a netip.Addr) error {
	if err := v.domain.AddAddress(a); err != nil {
		return err
	}
	v.addresses[a] = true
	at := netip.AddrPortFrom(a, domain.DNSPort)
	packets, err := v.domain.ListenPacket(at)
	if err != nil {
		return err
	}
	streams, err := v.domain.ListenStream(at)
	if err != nil {
		packets.Close()
		return err
	}
	ctx, cancel := context.WithCancel(g.serving)
	s := &resolverAddress{}
	done := make(chan struct{})
	end := func(err error) {
		if err != nil {
			g.log.Error("resolver stopped", "domain", v.domain.Name(), "address", a, "error", err)
			s.ended.Store(true)
		}
	}
	r, listening := v.resolver.Resolver, make(chan struct{})
	go func() {
		defer close(listening)
		end(r.ServeStream(ctx, streams))
	}()
	go func() {
		defer close(done)
		end(r.ServePacket(ctx, packets))
		<-listening
	}()
	s.stop = func() {
		cancel()
		<-done
	}
	v.resolver.serving[a] = s
	return nil
}

// resolverTable is what a domain's resolver goes by.
func (g *Gateway) resolverTable(d *spec.Domain, x *index) resolver.Table {
	var t resolver.Table
	for _, n := range d.Resolver.Names {
		name := resolver.Name{Name: n.Name}
		if n.Probed {
			name.Published = g.probed.name(nameKey{d.Name, n.Name, n.Endpoint}).answered
		}
		for _, uid := range n.Interfaces {
			services := g.servicesOf(x.interfaces[uid])
			name.Interfaces = append(name.Interfaces, resolver.Interface{
				Address: x.interfaces[uid].spec.Address,
				Serves:  func() bool { return slices.ContainsFunc(services, (*service).available) },
			})
		}
		t.Names = append(t.Names, name)
	}
	for _, r := range d.Resolver.Rules {
		t.Rules = append(t.Rules, resolver.Rule{Domain: r.Domain, Servers: r.Targets})
	}
	return t
}

// servicesOf are the ports of a network interface, none when its endpoint may not be used.
func (g *Gateway) servicesOf(n *indexedInterface) []*service {
	if n.balancer == nil || n.endpoint.Revocation != nil {
		return nil
	}
	var list []*service
	for _, l := range n.balancer.Listeners {
		list = append(list, g.served.services[serviceKey{n.spec.UID, l.Port}])
	}
	return list
}
