package reconcile

import (
	"math"
	"slices"

	"causeway/gateway/spec"
	pb "causeway/proto/causeway/v1"
)

// decided says that an endpoint's stored state is the true one, whatever the gateway has of it.
func decided(state pb.Endpoint_State) bool {
	switch state {
	case pb.Endpoint_PENDING_ACCEPTANCE, pb.Endpoint_REJECTED, pb.Endpoint_EXPIRED:
		return true
	}
	return false
}

func (r *Reconciler) observeEndpoint(m *pb.Endpoint, c condition) condition {
	status := r.current()
	for _, ni := range m.GetNetworkInterfaces() {
		s := status.interfaces[ni.GetUid()]
		if s == nil {
			if c.state == stateAvailable {
				c = condition{state: statePending}
			}
			continue
		}
		if !s.Serving && c.state == stateAvailable {
			c = condition{state: stateFailed, message: s.Reason}
		}
		ni.ActiveFlows = s.ActiveFlows
		ni.Bandwidth = bandwidthStatus(s)
	}
	return c
}

func bandwidthStatus(s *spec.InterfaceStatus) *pb.InterfaceBandwidth {
	steps := slices.Concat(
		budgetSteps(pb.InterfaceBandwidth_INGRESS, s.Ingress.Steps),
		budgetSteps(pb.InterfaceBandwidth_EGRESS, s.Egress.Steps),
	)
	slices.SortStableFunc(steps, func(a, b *pb.InterfaceBandwidth_Step) int {
		return a.GetTime().AsTime().Compare(b.GetTime().AsTime())
	})
	return &pb.InterfaceBandwidth{
		LimitMbps:        mbps(max(s.Ingress.LimitBPS, s.Egress.LimitBPS)),
		IngressMbps:      mbps(s.Ingress.UsedBPS),
		EgressMbps:       mbps(s.Egress.UsedBPS),
		IngressLimitMbps: mbps(s.Ingress.LimitBPS),
		EgressLimitMbps:  mbps(s.Egress.LimitBPS),
		Steps:            steps,
	}
}

func budgetSteps(direction pb.InterfaceBandwidth_Direction, steps []spec.BudgetStep) []*pb.InterfaceBandwidth_Step {
	shown := make([]*pb.InterfaceBandwidth_Step, 0, len(steps))
	for _, step := range steps {
		shown = append(shown, &pb.InterfaceBandwidth_Step{
			Time: timestamp(step.Time), Direction: direction,
			FromMbps: mbps(step.FromBPS), ToMbps: mbps(step.ToBPS),
		})
	}
	return shown
}

// mbps rounds to the nearest Mbit/s.
func mbps(bps int64) int32 {
	return int32(min((bps+megabit/2)/megabit, math.MaxInt32))
}
