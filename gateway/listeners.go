package gateway

import (
	"errors"
	"fmt"
	"net/netip"

	"causeway/gateway/endpoint"
)

// errNotAdmitted refuses a connection that became inadmissible between its first packet and its acceptance.
var errNotAdmitted = errors.New("peer may not use the exposure")

// maxReceiveBuffer is what a consumer's connection begins with at most; it grows with use.
const maxReceiveBuffer = 1 << 20

// gate asks once more whether a flow may be, now that CloseWhere knows it: one that was accepted under an old table
// and escaped the closing that followed is refused here.
type gate struct {
	*service
	admit func(endpoint.FlowKey) error
}

// Pick implements endpoint.Targets.
func (t gate) Pick(f endpoint.FlowKey, tried []netip.AddrPort) (endpoint.Target, error) {
	if err := t.admit(f); err != nil {
		return endpoint.Target{}, err
	}
	return t.service.Pick(f, tried)
}

// planListeners is what shall listen in a domain: every port of the load balancer behind every exposure. Why an
// interface has none is noted in problems.
func (g *Gateway) planListeners(x *index, name string, problems *problems) map[serviceKey]wantedListener {
	plan := map[serviceKey]wantedListener{}
	d := x.domains[name]
	if d == nil {
		return plan
	}
	for _, e := range d.Exposures {
		n := x.interfaces[e.Interface]
		if n.endpoint.Revocation != nil {
			continue // nothing new
		}
		if why := n.missing(); why != "" {
			problems.interfaces[e.Interface] = why
			continue
		}
		for _, l := range n.balancer.Listeners {
			key := serviceKey{e.Interface, l.Port}
			plan[key] = wantedListener{
				at: netip.AddrPortFrom(n.spec.Address, l.Port), endpoint: n.endpoint.Name, uid: n.endpoint.UID, via: e.Via,
				provides: n.endpoint.Service,
				idle:     l.IdleTimeout, service: g.served.services[key], tls: l.TLS != nil,
				policy: g.served.policies[n.endpoint.Name], zone: n.spec.Zone,
				receive: int(min(endpoint.ReceiveBuffer(n.endpoint.Bandwidth.BaselineBPS), maxReceiveBuffer)),
			}
		}
	}
	return plan
}

// closeListeners closes those that are not planned as they are, and notes why their flows end. Flows of one that only
// gets another idle timeout or buffer stay.
func (g *Gateway) closeListeners(v *vpc, plan map[serviceKey]wantedListener, x *index, end *endings) {
	for key, l := range v.listeners {
		want, planned := plan[key]
		if planned && want == l.want {
			continue
		}
		delete(v.listeners, key)
		if err := l.Close(); err != nil {
			g.log.Error("closing a listener", "address", l.want.at, "error", err)
		}
		same := l.want
		same.idle, same.receive = want.idle, want.receive
		if planned && same == want {
			continue
		}
		if n := x.interfaces[key.iface]; n != nil && n.endpoint.UID == l.want.uid && n.endpoint.Revocation != nil {
			continue // what becomes of its flows, the revocation says
		}
		end.listeners[l.Listener] = endReason(key, l.want, x)
	}
}

// endReason tells why the flows of a listener that is not wanted any more end.
func endReason(key serviceKey, had wantedListener, x *index) endpoint.Reason {
	n := x.interfaces[key.iface]
	if n == nil || n.endpoint.Name != had.endpoint || n.endpoint.UID != had.uid {
		return endpoint.ReasonEndpointDeleted
	}
	if n.balancer == nil {
		return endpoint.ReasonServiceDeleted
	}
	for _, l := range n.balancer.Listeners {
		if l.Port == key.port && had.via != "" {
			return endpoint.ReasonPeeringDeleted
		}
		if l.Port == key.port {
			return endpoint.ReasonEndpointDeleted
		}
	}
	return endpoint.ReasonServiceDeleted
}

// openListeners opens those that are missing. Each that cannot be opened is noted in problems and tried again later.
func (g *Gateway) openListeners(v *vpc, plan map[serviceKey]wantedListener, problems *problems) {
	for key, want := range plan {
		if v.listeners[key] != nil {
			continue
		}
		l, err := g.listen(v, key, want)
		if err != nil {
			problems.interfaces[key.iface], problems.retry = err.Error(), true
			if g.served.complain(key.iface, err) {
				g.log.Error("exposure is not served", "domain", v.domain.Name(), "network_interface", key.iface, "error", err)
			}
			continue
		}
		v.listeners[key] = &listener{Listener: l, want: want}
	}
}

func (g *Gateway) listen(v *vpc, key serviceKey, want wantedListener) (*endpoint.Listener, error) {
	if err := v.domain.AddAddress(want.at.Addr()); err != nil {
		return nil, err
	}
	v.addresses[want.at.Addr()] = true
	ep, queue, err := v.domain.Listen(want.at, want.receive)
	if err != nil {
		return nil, err
	}
	admit := func(f endpoint.FlowKey) error {
		if _, ok := v.domain.MayUse(f.Consumer.Addr(), f.Exposure.Addr()); !ok {
			return errNotAdmitted
		}
		return nil
	}
	cfg := endpoint.ListenerConfig{
		Endpoint: ep, Queue: queue,
		Exposure: want.at, NetworkInterface: key.iface, Zone: want.zone, Via: want.via,
		EndpointName: want.endpoint, EndpointUID: want.uid, Service: want.provides,
		Peer: func(consumer netip.Addr) (endpoint.Peer, bool) {
			p, ok := v.domain.PeerOf(consumer)
			return endpoint.Peer{Name: p.Name, KeyFingerprint: p.KeyFingerprint, Tunnel: p.Tunnel}, ok
		},
		Admit: admit, Policy: policyOf(v, want), Preface: prefaceOf(want, v.domain.Name()),
		Domain: v.flows, Targets: gate{want.service, admit}, Dialer: want.service, Guard: want.service.check,
		Budget: g.served.interfaces[key.iface].budget, IdleTimeout: want.idle,
	}
	if want.tls {
		cfg.TLS = want.service.settings
	}
	l, err := g.engine.Load().Listen(cfg)
	if err != nil {
		ep.Close()
		return nil, fmt.Errorf("expose %v: %w", want.at, err)
	}
	return l, nil
}
