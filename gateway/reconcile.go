package gateway

import (
	"maps"
	"net/netip"

	"causeway/gateway/domain"
	"causeway/gateway/endpoint"
	"causeway/gateway/spec"
	"causeway/tunnel/link"
)

// reconcile makes what is served equal to s, which is valid, and touches nothing that is so already. Called with applying
// held.
//
// The order matters. What leaves stops accepting first, so that its address and port are free for what comes. A
// new table is published before flows end, so that no new one of the same kind begins; flows end before their peers
// and addresses go, so that their resets still find the way.
func (g *Gateway) reconcile(s *spec.Gateway) {
	end := newEndings()
	index := newIndex(s)
	g.served.rules = g.served.rules.next(s)
	for i := range s.Domains {
		g.openDomain(&s.Domains[i])
	}
	for name, v := range g.served.domains {
		g.closeTunnels(v, index.tunnels[name])
	}
	g.applyInterfaces(s)
	g.applyRoutes(s, index)
	problems := &problems{interfaces: map[string]string{}}
	g.applyPolicies(s, end, problems)
	plans := map[string]map[serviceKey]wantedListener{}
	for name, v := range g.served.domains {
		plans[name] = g.planListeners(index, name, problems)
		g.closeListeners(v, plans[name], index, end)
		g.closeResolver(v, index.domains[name])
	}
	g.applyNames(s, index)
	for i := range s.Domains {
		d := &s.Domains[i]
		v := g.served.domains[d.Name]
		g.openTunnels(v, d.TunnelEndpoints)
		g.openListeners(v, plans[d.Name], problems)
		g.openResolver(v, d, index, problems)
	}
	for name, v := range g.served.domains {
		g.publish(v, index.domains[name], index, end)
	}
	g.endFlows(end)
	g.revoked.set(s)
	for i := range s.Domains {
		d := &s.Domains[i]
		g.setPeers(g.served.domains[d.Name], d.TunnelEndpoints)
	}
	g.removeLeftovers(index)
	g.publishView(s, index, problems)
}

// openDomain creates the domain's stack if it is missing.
func (g *Gateway) openDomain(d *spec.Domain) {
	if v := g.served.domains[d.Name]; v != nil {
		v.uid.Store(&d.UID)
		return
	}
	flows := endpoint.NewDomain(d.Name, endpoint.DomainLimits{})
	stack, err := domain.New(domain.Config{
		Name: d.Name, MTU: g.cfg.MTU,
		Busy: func(netip.Addr) bool { return flows.Usage().Dials >= endpoint.DefaultDials },
	})
	if err != nil {
		panic(err) // only for an MTU that New has checked
	}
	v := &vpc{
		domain: stack, flows: flows, tunnels: map[string]*tunnelEndpoint{},
		listeners: map[serviceKey]*listener{}, addresses: map[netip.Addr]bool{},
	}
	v.uid.Store(&d.UID)
	g.served.domains[d.Name] = v
}

// applyRoutes puts target groups, their health checks and the routes of services in force.
func (g *Gateway) applyRoutes(s *spec.Gateway, x *index) {
	probes := map[string]*route{}
	for i := range s.LoadBalancers {
		lb := &s.LoadBalancers[i]
		r := g.route(x, lb, spec.Node{})
		if len(lb.Nodes) > 0 {
			r = g.route(x, lb, lb.Nodes[0])
		}
		for _, l := range lb.Listeners {
			if have := probes[l.TargetGroup]; have == nil || len(have.sources) == 0 {
				probes[l.TargetGroup] = r
			}
		}
	}
	g.applyTLS(s)
	g.addNodes(s)
	g.probes.Store(&probes)
	g.pool.Apply(s.TargetGroups, func(name string) bool { return probes[name] != nil })
	keep := map[serviceKey]bool{}
	for uid, n := range x.interfaces {
		if n.balancer == nil {
			continue
		}
		for _, l := range n.balancer.Listeners {
			key := serviceKey{uid, l.Port}
			keep[key] = true
			r := g.route(x, n.balancer, n.node)
			r.group = g.pool.Group(l.TargetGroup)
			r.tls = g.tlsConfig(n.balancer.Name, l.Port)
			r.proxyProtocol = x.groups[l.TargetGroup].ProxyProtocol
			g.setRoute(key, r)
		}
	}
	for key := range g.served.services {
		if !keep[key] {
			delete(g.served.services, key)
		}
	}
}

// route is that of a load balancer's node, which may be none.
func (g *Gateway) route(x *index, lb *spec.LoadBalancer, node spec.Node) *route {
	v := g.served.domains[lb.Domain]
	return &route{
		guard: g.guard, provider: v.domain, prefixes: x.domains[lb.Domain].Prefixes,
		sources: node.Addresses(), zone: node.Zone, ports: &v.ports, underlay: g.cfg.UnderlaySources,
	}
}

func (g *Gateway) setRoute(key serviceKey, r *route) {
	s := g.served.services[key]
	if s == nil {
		s = &service{}
		g.served.services[key] = s
	}
	s.route.Store(r)
}

// addNodes makes the nodes' addresses known to their stacks; those that are gone are removed last.
func (g *Gateway) addNodes(s *spec.Gateway) {
	for _, lb := range s.LoadBalancers {
		v := g.served.domains[lb.Domain]
		for _, n := range lb.Nodes {
			for _, a := range n.Addresses() {
				if err := v.domain.AddAddress(a); err != nil {
					g.log.Error("load balancer node is not served", "load_balancer", lb.Name, "error", err)
					continue
				}
				v.addresses[a] = true
			}
		}
	}
}

// publish puts the domain's table in force if it would differ; a domain that is gone gets an empty one.
func (g *Gateway) publish(v *vpc, d *spec.Domain, x *index, end *endings) {
	want := published{links: map[string]*link.Port{}, services: map[serviceKey]wantedListener{}}
	table := domain.Table{}
	if d != nil {
		for uid, t := range v.tunnels {
			want.links[uid] = t.link
		}
		want.tunnels, want.exposures = d.TunnelEndpoints, d.Exposures
		want.revoked = x.revokedIn(d)
		r := g.served.rules
		want.borders, want.nodes, want.subnets = x.bordersIn(d, r), x.nodesIn(d, r), r.subnetsOf(d)
		table.Peers = v.peers(d.TunnelEndpoints, want.subnets)
		want.resolvers = resolverAddresses(d, r.subnets)
		table.Resolvers = want.resolvers
	}
	for key, l := range v.listeners {
		want.services[key] = l.want
	}
	if want.equal(v.table) {
		return
	}
	table.Exposures, table.Nodes = want.compile(), want.nodes
	v.table = want
	end.domains[v.flows] = v
	end.changedHands[v.domain] = v.domain.Publish(table)
}

// compile makes the table's exposures: those whose services listen, and those that only have flows of before.
func (p published) compile() []domain.Exposure {
	services := map[string][]domain.Service{}
	addresses := map[string]netip.Addr{}
	maps.Copy(addresses, p.revoked)
	for key, w := range p.services {
		services[key.iface] = append(services[key.iface], domain.Service{Port: key.port, Available: w.service.available})
		addresses[key.iface] = w.at.Addr()
	}
	var list []domain.Exposure
	for _, x := range p.exposures {
		if a, ok := addresses[x.Interface]; ok {
			b := p.borders[x.Interface]
			list = append(list, domain.Exposure{
				Address: a, Tunnels: x.Tunnels, Services: services[x.Interface],
				Endpoint: b.endpoint, Subnet: b.subnet, SecurityGroups: b.groups,
			})
		}
	}
	return list
}

// removeLeftovers takes away what nothing refers to any more: addresses, domains, keys.
func (g *Gateway) removeLeftovers(x *index) {
	for name, v := range g.served.domains {
		for a := range v.addresses {
			if x.addresses[domainAddress{name, a}] {
				continue
			}
			delete(v.addresses, a)
			if err := v.domain.RemoveAddress(a); err != nil {
				g.log.Error("address is not removed", "domain", name, "address", a, "error", err)
			}
		}
		if x.domains[name] == nil {
			v.domain.Close()
			delete(g.served.domains, name)
		}
	}
	if err := g.keys.keep(func(uid string) bool { return x.uids[uid] }); err != nil {
		g.log.Error("keys of removed tunnel endpoints are not removed", "error", err)
	}
}

// closeAll ends everything when Run ends; the engine has ended all flows before.
func (g *Gateway) closeAll() {
	for _, v := range g.served.domains {
		for _, t := range v.tunnels {
			g.closeTunnel(t)
		}
	}
	g.devices.Wait()
	for _, v := range g.served.domains {
		g.closeResolver(v, nil)
		v.domain.Close()
	}
}
