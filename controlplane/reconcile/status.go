package reconcile

import (
	"time"

	"causeway/gateway/spec"
)

// statusLife is how old the gateway's status may be for a reader. Counters change all the time.
const statusLife = 200 * time.Millisecond

// statusIndex is a gateway's status, found by name.
type statusIndex struct {
	at              time.Time
	status          spec.Status
	tunnelEndpoints map[string]*spec.TunnelEndpointStatus // by uid
	peers           map[string]*spec.PeerStatus           // by name
	interfaces      map[string]*spec.InterfaceStatus      // by uid
	groups          map[string]*spec.TargetGroupStatus    // by name
	names           map[nameIn]*spec.NameStatus
}

// refresh reads the gateway's status for readers.
func (r *Reconciler) refresh() *statusIndex {
	s := r.cfg.Gateway.Status()
	index := &statusIndex{
		at:              r.cfg.Now(),
		status:          s,
		tunnelEndpoints: make(map[string]*spec.TunnelEndpointStatus, len(s.TunnelEndpoints)),
		peers:           map[string]*spec.PeerStatus{},
		interfaces:      make(map[string]*spec.InterfaceStatus, len(s.Interfaces)),
		groups:          make(map[string]*spec.TargetGroupStatus, len(s.TargetGroups)),
		names:           make(map[nameIn]*spec.NameStatus, len(s.Names)),
	}
	for i := range s.TunnelEndpoints {
		te := &s.TunnelEndpoints[i]
		index.tunnelEndpoints[te.UID] = te
		for j := range te.Peers {
			index.peers[te.Peers[j].Name] = &te.Peers[j]
		}
	}
	for i := range s.Interfaces {
		index.interfaces[s.Interfaces[i].UID] = &s.Interfaces[i]
	}
	for i := range s.TargetGroups {
		index.groups[s.TargetGroups[i].Name] = &s.TargetGroups[i]
	}
	for i := range s.Names {
		index.names[nameIn{s.Names[i].Domain, s.Names[i].Name}] = &s.Names[i]
	}
	r.status.Store(index)
	return index
}

// current gives a status young enough to be shown, or the last one while another reader gets it.
func (r *Reconciler) current() *statusIndex {
	index := r.status.Load()
	if index != nil && r.cfg.Now().Sub(index.at) < statusLife {
		return index
	}
	if index != nil && !r.refreshing.TryLock() {
		return index
	}
	if index == nil {
		r.refreshing.Lock()
	}
	defer r.refreshing.Unlock()
	return r.refresh()
}
