package gateway

import (
	"maps"
	"slices"
	"strings"

	"causeway/gateway/domain"
	"causeway/gateway/endpoint"
	"causeway/gateway/resolver"
	"causeway/gateway/shape"
	"causeway/gateway/spec"
	"causeway/tunnel"
)

// problems are why parts of a spec are not served.
type problems struct {
	interfaces map[string]string
	// retry is set if trying again may help.
	retry bool
}

// view is what is served, for those who only look. It is immutable; what it points to is safe for concurrent use.
type view struct {
	spec       *spec.Gateway
	domains    []*domain.Domain
	tunnels    []tunnelView
	interfaces []interfaceView
	resolvers  []resolverView
	policies   map[string]*compiledPolicy // by endpoint name
	paths      paths
	// retry is set if a part of the spec could not be served and trying again may help.
	retry bool
}

type tunnelView struct {
	domain  string
	uid     string
	running *tunnelEndpoint
	// device, public and problem are running's at the time of the view.
	device  *tunnel.Device
	public  tunnel.Key
	problem string
	spec    *spec.TunnelEndpoint
}

type resolverView struct {
	domain   string
	resolver *resolver.Resolver
	serving  []*resolverAddress
}

type interfaceView struct {
	iface   *networkInterface
	problem string
}

// publishView lets others see what is served now.
func (g *Gateway) publishView(s *spec.Gateway, x *index, p *problems) {
	v := &view{spec: s, paths: g.paths(x, p), retry: p.retry, policies: map[string]*compiledPolicy{}}
	for name, e := range g.served.policies {
		v.policies[name] = e.current.Load()
	}
	for i := range s.Domains {
		d := &s.Domains[i]
		running := g.served.domains[d.Name]
		v.domains = append(v.domains, running.domain)
		if r := running.resolver; r != nil {
			v.resolvers = append(v.resolvers, resolverView{d.Name, r.Resolver, slices.Collect(maps.Values(r.serving))})
		}
		for j := range d.TunnelEndpoints {
			w := &d.TunnelEndpoints[j]
			t := running.tunnels[w.UID]
			v.tunnels = append(v.tunnels, tunnelView{
				domain: d.Name, uid: w.UID, running: t, device: t.device, public: t.public, problem: t.problem, spec: w,
			})
		}
	}
	for _, n := range g.served.interfaces {
		v.interfaces = append(v.interfaces, interfaceView{iface: n, problem: p.interfaces[n.uid]})
	}
	slices.SortFunc(v.tunnels, func(a, b tunnelView) int { return strings.Compare(a.uid, b.uid) })
	slices.SortFunc(v.interfaces, func(a, b interfaceView) int { return strings.Compare(a.iface.uid, b.iface.uid) })
	if !v.incomplete() {
		clear(g.served.complaints)
	}
	g.view.Store(v)
}

// incomplete reports whether reconciling the same spec again may serve more of it.
func (v *view) incomplete() bool {
	return v.retry || slices.ContainsFunc(v.tunnels, func(t tunnelView) bool { return t.trouble() != "" }) ||
		slices.ContainsFunc(v.resolvers, resolverView.ended)
}

// ended reports whether the resolver stopped by itself somewhere.
func (r resolverView) ended() bool {
	return slices.ContainsFunc(r.serving, func(s *resolverAddress) bool { return s.ended.Load() })
}

func (t tunnelView) trouble() string {
	if err := t.running.ended.Load(); err != nil {
		return "stopped: " + (*err).Error()
	}
	return t.problem
}

// Status tells what is served and how. Its lists are sorted by uid or name.
func (g *Gateway) Status() spec.Status {
	v := g.view.Load()
	status := spec.Status{Revision: v.spec.Revision, Refused: g.refusal.Load()}
	for _, t := range v.tunnels {
		status.TunnelEndpoints = append(status.TunnelEndpoints, g.tunnelStatus(t))
	}
	stats := g.stats()
	for _, n := range v.interfaces {
		status.Interfaces = append(status.Interfaces, spec.InterfaceStatus{
			UID: n.iface.uid, Health: health(n.problem),
			Ingress: n.iface.status(shape.Ingress), Egress: n.iface.status(shape.Egress),
			ActiveFlows: stats.Interfaces[n.iface.uid].Active,
		})
	}
	for _, tg := range v.spec.TargetGroups {
		if group := g.pool.Group(tg.Name); group != nil {
			status.TargetGroups = append(status.TargetGroups, spec.TargetGroupStatus{Name: tg.Name, Targets: slices.Clone(group.Status())})
		}
	}
	slices.SortFunc(status.TargetGroups, func(a, b spec.TargetGroupStatus) int { return strings.Compare(a.Name, b.Name) })
	status.Names = g.nameStatus()
	return status
}

// stats are the engine's counters, all zero before Run.
func (g *Gateway) stats() endpoint.Stats {
	if e := g.engine.Load(); e != nil {
		return e.Stats()
	}
	return endpoint.Stats{}
}

func (g *Gateway) tunnelStatus(t tunnelView) spec.TunnelEndpointStatus {
	status := spec.TunnelEndpointStatus{
		UID: t.uid, Health: health(t.trouble()), PublicKey: spec.Key(t.public), Endpoint: g.advertised(t.spec.Port),
	}
	if t.device == nil {
		return status
	}
	s, err := t.device.Status()
	if err != nil {
		status.Health = health(err.Error())
		return status
	}
	for _, p := range s.Peers {
		status.Peers = append(status.Peers, spec.PeerStatus{
			Name: p.Name, LastHandshake: p.LastHandshake, Endpoint: p.Endpoint,
			ReceivedBytes: int64(p.ReceivedBytes), TransmittedBytes: int64(p.SentBytes),
		})
	}
	slices.SortFunc(status.Peers, func(a, b spec.PeerStatus) int { return strings.Compare(a.Name, b.Name) })
	return status
}

// health is serving unless there is a problem.
func health(problem string) spec.Health { return spec.Health{Serving: problem == "", Reason: problem} }
