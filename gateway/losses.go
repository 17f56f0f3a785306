package gateway

import (
	"context"
	"net/netip"
	"sync"

	"causeway/gateway/balance"
	"causeway/gateway/endpoint"
)

// losses are the targets of which the flows are still to be reset. It takes them wherever they become known and hands
// them to one goroutine, for ending flows takes a while.
type losses struct {
	wake chan struct{}
	mu   sync.Mutex
	list []balance.Loss
}

func newLosses() *losses { return &losses{wake: make(chan struct{}, 1)} }

func (l *losses) add(loss balance.Loss) {
	l.mu.Lock()
	l.list = append(l.list, loss)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *losses) take() []balance.Loss {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.list
	l.list = nil
	return list
}

// groupTarget is a target as a member of a group.
type groupTarget struct {
	group  string
	target netip.AddrPort
}

// resetLost ends the flows of targets that are lost, until ctx ends.
func (g *Gateway) resetLost(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.lost.wake:
		}
		lost := map[endpoint.Reason]map[groupTarget]bool{endpoint.ReasonTargetRemoved: {}, endpoint.ReasonTargetUnhealthy: {}}
		for _, l := range g.lost.take() {
			why := endpoint.ReasonTargetUnhealthy
			if l.Deregistered {
				why = endpoint.ReasonTargetRemoved
			}
			lost[why][groupTarget{l.Group, l.Target}] = true
		}
		for why, targets := range lost {
			if len(targets) == 0 {
				continue
			}
			n := g.engine.Load().CloseWhere(func(f *endpoint.Flow) bool {
				return targets[groupTarget{f.TargetGroup(), f.Target()}]
			}, why)
			g.log.Info("flows of lost targets ended", "reason", why.String(), "targets", len(targets), "flows", n)
		}
	}
}
