package balance

import (
	"net/netip"

	"causeway/gateway/spec"
)

// Loss tells that the flows of a target are to be reset.
type Loss struct {
	// Group is the target group's name.
	Group  string
	Target netip.AddrPort
	// Deregistered tells that the target left the group and its deregistration delay is over. Otherwise it became
	// unhealthy.
	Deregistered bool
}

// news is what others are told once Pool.mu is released.
type news struct {
	changes []change
	lost    []Loss
	// changed is set when the status changed in another way.
	changed bool
}

// change is one of a target's health.
type change struct {
	group    string
	target   netip.AddrPort
	from, to spec.TargetState
	why      string
}

// tell tells news. Called without mu held.
func (p *Pool) tell(n *news) {
	for _, c := range n.changes {
		p.cfg.Logger.Info("target health changed", "target_group", c.group, "target", c.target,
			"from", string(c.from), "to", string(c.to), "error", c.why)
	}
	for _, l := range n.lost {
		p.cfg.Lost(l)
	}
	if n.changed || len(n.changes) > 0 {
		p.cfg.Changed()
	}
}
