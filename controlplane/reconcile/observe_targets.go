package reconcile

import (
	"context"

	"causeway/gateway/spec"
	pb "causeway/proto/causeway/v1"
)

var targetStates = map[spec.TargetState]pb.TargetHealth_State{
	spec.TargetInitial:   pb.TargetHealth_INITIAL,
	spec.TargetHealthy:   pb.TargetHealth_HEALTHY,
	spec.TargetUnhealthy: pb.TargetHealth_UNHEALTHY,
	spec.TargetUnused:    pb.TargetHealth_UNUSED,
	spec.TargetDraining:  pb.TargetHealth_DRAINING,
}

// TargetHealth gives the health of a target group's targets as the gateway last probed them. It
// implements api.TargetHealth.
func (r *Reconciler) TargetHealth(_ context.Context, group string) []*pb.TargetHealth {
	status := r.current().groups[group]
	if status == nil {
		return nil
	}
	health := make([]*pb.TargetHealth, 0, len(status.Targets))
	for _, t := range status.Targets {
		health = append(health, &pb.TargetHealth{
			Target:      &pb.Target{IpAddress: t.Address.String(), Port: int32(t.Port)},
			State:       targetStates[t.State],
			Reason:      t.Reason,
			Description: t.Description,
			SinceTime:   timestamp(t.Since),
		})
	}
	return health
}
