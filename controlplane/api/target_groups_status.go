package api

import (
	"context"
	"net/netip"
	"slices"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

// TargetHealth gives the health of a target group's targets as the gateways last probed them. An
// [Observer] that knows it has this method as well; without it targets stay INITIAL. It is called
// from many goroutines and must not block. The caller may change the messages.
type TargetHealth interface {
	TargetHealth(ctx context.Context, group string) []*pb.TargetHealth
}

// Reason codes of Network Load Balancers:
// https://docs.aws.amazon.com/elasticloadbalancing/latest/network/target-group-health-checks.html
const (
	reasonNotInUse = "Target.NotInUse"
	reasonInitial  = "Elb.InitialHealthChecking"
)

// ListTargetHealth shows every registered target, also those that no gateway has heard of yet.
func (s *loadBalancers) ListTargetHealth(ctx context.Context, req *pb.ListTargetHealthRequest) (*pb.ListTargetHealthResponse, error) {
	health, err := s.targetHealth(ctx, req.GetName())
	return &pb.ListTargetHealthResponse{TargetHealth: health}, err
}

func (k *kernel) targetHealth(ctx context.Context, text string) ([]*pb.TargetHealth, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	group, err := find(ctx, k, who, resource.TargetGroups, "name", text)
	if err != nil {
		return nil, err
	}
	targets, err := k.targets(ctx, group.Name)
	if err != nil {
		return nil, err
	}
	used, err := k.inUse(ctx, group.Name)
	if err != nil {
		return nil, err
	}
	probed := k.probed(ctx, group.Name, used)
	health := make([]*pb.TargetHealth, len(targets))
	for n, message := range targetMessages(targets) {
		switch known := probed[targets[n].AddrPort]; {
		case !used:
			health[n] = &pb.TargetHealth{State: pb.TargetHealth_UNUSED, Reason: reasonNotInUse,
				Description: "no listener uses the target group"}
		case known != nil:
			health[n] = known
		default:
			health[n] = &pb.TargetHealth{State: pb.TargetHealth_INITIAL, Reason: reasonInitial,
				Description: "not probed yet"}
		}
		health[n].Target = message
	}
	return withDraining(health, targets, probed), nil
}

// withDraining adds the targets that have left the group and still have connections.
func withDraining(health []*pb.TargetHealth, targets []registration, probed map[netip.AddrPort]*pb.TargetHealth) []*pb.TargetHealth {
	for at, h := range probed {
		_, registered := slices.BinarySearchFunc(targets, registration{AddrPort: at}, registration.compare)
		if !registered && h.GetState() == pb.TargetHealth_DRAINING {
			health = append(health, h)
		}
	}
	slices.SortFunc(health, func(a, b *pb.TargetHealth) int { return targetOf(a).Compare(targetOf(b)) })
	return health
}

// targetOf gives what a health is of; the zero value if it is no address.
func targetOf(h *pb.TargetHealth) netip.AddrPort {
	addr, err := netip.ParseAddr(h.GetTarget().GetIpAddress())
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(addr, uint16(h.GetTarget().GetPort()))
}

// inUse says whether a listener sends connections to a target group.
func (k *kernel) inUse(ctx context.Context, group string) (bool, error) {
	listeners, _, err := resource.Listeners.ReadAll(ctx, k.store, resource.Parent(group))
	if err != nil {
		return false, err
	}
	for _, l := range listeners {
		if l.Message.(*pb.Listener).GetTargetGroup() == group && !resource.Deleting(l.Message) {
			return true, nil
		}
	}
	return false, nil
}

// probed gives what the gateways know of a group's targets.
func (k *kernel) probed(ctx context.Context, group string, used bool) map[netip.AddrPort]*pb.TargetHealth {
	source, ok := k.observer.(TargetHealth)
	if !ok || !used {
		return nil
	}
	known := make(map[netip.AddrPort]*pb.TargetHealth)
	for _, h := range source.TargetHealth(ctx, group) {
		if at := targetOf(h); at.IsValid() {
			known[at] = h
		}
	}
	return known
}
