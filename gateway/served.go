package gateway

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	"causeway/gateway/domain"
	"causeway/gateway/endpoint"
	"causeway/gateway/spec"
	"causeway/tunnel/link"
)

// served is everything that runs. Only the holder of Gateway.applying touches it.
type served struct {
	domains    map[string]*vpc
	interfaces map[string]*networkInterface
	services   map[serviceKey]*service
	tls        map[listenerKey]*tlsListener
	rules      *rules
	policies   map[string]*endpointPolicy // by endpoint name
	// complaints are what was logged last of each uid that is not served.
	complaints map[string]string
}

func newServed() served {
	return served{
		domains: map[string]*vpc{}, interfaces: map[string]*networkInterface{}, services: map[serviceKey]*service{},
		policies: map[string]*endpointPolicy{}, complaints: map[string]string{}, rules: &rules{},
	}
}

// complain reports whether a failure is news: trying again every few seconds must not fill the log.
func (s *served) complain(uid string, err error) bool {
	news := s.complaints[uid] != err.Error()
	s.complaints[uid] = err.Error()
	return news
}

// vpc is one domain with what leads into it and what is shown in it.
type vpc struct {
	uid       atomic.Pointer[string]
	domain    *domain.Domain
	flows     *endpoint.Domain
	tunnels   map[string]*tunnelEndpoint
	listeners map[serviceKey]*listener
	addresses map[netip.Addr]bool
	// ports counts the connections from the domain's nodes to targets.
	ports endpoint.SourcePorts
	// resolver is nil in a domain without one.
	resolver *vpcResolver
	// table is what was published last, to tell whether it is to be published again.
	table published
}

// serviceKey names one port of a network interface.
type serviceKey struct {
	iface string
	port  uint16
}

// listener is a service made reachable in one domain.
type listener struct {
	*endpoint.Listener
	want wantedListener
}

// wantedListener is all that a listener depends on: while it stays equal the listener is not touched.
type wantedListener struct {
	at       netip.AddrPort
	endpoint string
	uid      string // of the endpoint
	via      string
	provides string // the endpoint service
	idle     time.Duration
	receive  int  // bytes
	tls      bool // it ends TLS
	service  *service
	policy   *endpointPolicy
	zone     string
}

// published is what a domain's table is made from.
type published struct {
	tunnels   []spec.TunnelEndpoint
	exposures []spec.Exposure
	resolvers []domain.Resolver
	links     map[string]*link.Port // of open devices, by uid
	services  map[serviceKey]wantedListener
	// revoked are the addresses of interfaces that may no longer be used, by uid. Their flows may live on.
	revoked map[string]netip.Addr
	// borders are those of the exposures, by uid of the interface, subnets those of peers, by name.
	borders map[string]border
	subnets map[string]*domain.Subnet
	nodes   []domain.Node
}

func (p published) equal(o published) bool {
	return maps.Equal(p.links, o.links) && maps.Equal(p.services, o.services) && maps.Equal(p.revoked, o.revoked) &&
		maps.Equal(p.subnets, o.subnets) && maps.EqualFunc(p.borders, o.borders, border.equal) && slices.Equal(p.nodes, o.nodes) &&
		reflect.DeepEqual(p.tunnels, o.tunnels) && reflect.DeepEqual(p.exposures, o.exposures) &&
		slices.Equal(p.resolvers, o.resolvers)
}

// endings are the flows that have lost what they stood on.
type endings struct {
	listeners map[*endpoint.Listener]endpoint.Reason
	domains   map[*endpoint.Domain]*vpc
	// policies are the endpoints, by name, of which the policy changed.
	policies map[string]bool
	// changedHands tells of each domain whose table changed which addresses have other holders now.
	changedHands map[*domain.Domain]func(netip.Addr) bool
}

func newEndings() *endings {
	return &endings{
		listeners: map[*endpoint.Listener]endpoint.Reason{}, domains: map[*endpoint.Domain]*vpc{},
		policies: map[string]bool{}, changedHands: map[*domain.Domain]func(netip.Addr) bool{},
	}
}

// reason says why a flow must end, or ReasonNone.
func (e *endings) reason(f *endpoint.Flow) endpoint.Reason {
	if why, ended := e.listeners[f.Listener()]; ended {
		return why
	}
	consumer := f.Consumer().Addr()
	if v := e.domains[f.Domain()]; v != nil {
		if e.changedHands[v.domain](consumer) {
			return endpoint.ReasonPeerRemoved
		}
		if _, may := v.domain.MayUse(consumer, f.Exposure().Addr()); !may {
			return endpoint.ReasonPolicyChanged
		}
	}
	if e.policies[f.EndpointName()] && f.Denied() {
		return endpoint.ReasonPolicyChanged
	}
	target := f.Target().Addr()
	if !target.IsValid() {
		return endpoint.ReasonNone
	}
	r := f.Listener().Dialer().(*service).route.Load()
	if changed := e.changedHands[r.provider]; changed != nil && changed(target.Unmap()) {
		return endpoint.ReasonTargetRemoved
	}
	return endpoint.ReasonNone
}

// endFlows ends the flows that have lost what they stood on.
func (g *Gateway) endFlows(e *endings) {
	if len(e.listeners) == 0 && len(e.changedHands) == 0 && len(e.policies) == 0 {
		return
	}
	for _, why := range []endpoint.Reason{
		endpoint.ReasonEndpointDeleted, endpoint.ReasonServiceDeleted, endpoint.ReasonPeeringDeleted,
		endpoint.ReasonPeerRemoved, endpoint.ReasonPolicyChanged, endpoint.ReasonTargetRemoved,
	} {
		n := g.engine.Load().CloseWhere(func(f *endpoint.Flow) bool { return e.reason(f) == why }, why)
		if n > 0 {
			g.log.Info("live flows ended", "reason", why.String(), "flows", n)
		}
	}
}
