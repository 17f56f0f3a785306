package gateway

import (
	"sync"

	"causeway/gateway/shape"
	"causeway/gateway/spec"
)

// keptSteps is how many steps of each direction's limit a status shows.
const keptSteps = 16

// networkInterface is the address of an endpoint with its zone budget. All exposures of it, in whatever domains, share the
// one budget.
type networkInterface struct {
	uid      string
	budget   *shape.Budget
	reported func()

	mu    sync.Mutex
	steps [2][]spec.BudgetStep // by shape.Direction
}

// applyInterfaces creates, updates and removes zone budgets.
func (g *Gateway) applyInterfaces(s *spec.Gateway) {
	keep := map[string]bool{}
	for _, e := range s.Endpoints {
		limits := shape.Limits{BaselineBitsPerSecond: e.Bandwidth.BaselineBPS, MaximumBitsPerSecond: e.Bandwidth.MaximumBPS}
		for _, n := range e.Interfaces {
			keep[n.UID] = true
			if err := g.applyInterface(n.UID, limits); err != nil {
				// The spec's validation allows no other limits than the budget's.
				g.log.Error("zone budget is not applied", "network_interface", n.UID, "error", err)
			}
		}
	}
	for uid := range g.served.interfaces {
		if !keep[uid] {
			delete(g.served.interfaces, uid)
		}
	}
}

func (g *Gateway) applyInterface(uid string, limits shape.Limits) error {
	if n := g.served.interfaces[uid]; n != nil {
		return n.budget.SetLimits(limits)
	}
	n := &networkInterface{uid: uid, reported: g.notify}
	var err error
	n.budget, err = shape.New(shape.Config{Limits: limits, GrowAfter: g.cfg.GrowAfter, ShrinkAfter: g.cfg.ShrinkAfter, OnStep: n.stepped})
	if err != nil {
		return err
	}
	g.served.interfaces[uid] = n
	return nil
}

// stepped notes a change of a limit.
func (n *networkInterface) stepped(s shape.Step) {
	n.mu.Lock()
	list := append(n.steps[s.Direction], spec.BudgetStep{Time: s.Time, FromBPS: s.FromBitsPerSecond, ToBPS: s.ToBitsPerSecond})
	if len(list) > keptSteps {
		list = list[len(list)-keptSteps:]
	}
	n.steps[s.Direction] = list
	n.mu.Unlock()
	n.reported()
}

// status is one direction of the budget.
func (n *networkInterface) status(d shape.Direction) spec.BudgetStatus {
	u := n.budget.Usage(d)
	n.mu.Lock()
	defer n.mu.Unlock()
	steps := append([]spec.BudgetStep(nil), n.steps[d]...)
	return spec.BudgetStatus{LimitBPS: u.LimitBitsPerSecond, UsedBPS: u.UsedBitsPerSecond, Steps: steps}
}
