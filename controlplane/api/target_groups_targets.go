package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"causeway/controlplane/apierr"
	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// maxTargets is how many targets a group may have, as in AWS:
// https://docs.aws.amazon.com/elasticloadbalancing/latest/network/load-balancer-limits.html
const maxTargets = 1000

func (s *loadBalancers) RegisterTargets(ctx context.Context, req *pb.RegisterTargetsRequest) (*pb.RegisterTargetsResponse, error) {
	targets, err := s.changeTargets(ctx, req.GetName(), req.GetTargets(), addTargets)
	return &pb.RegisterTargetsResponse{Targets: targets}, err
}

func (s *loadBalancers) DeregisterTargets(ctx context.Context, req *pb.DeregisterTargetsRequest) (*pb.DeregisterTargetsResponse, error) {
	targets, err := s.changeTargets(ctx, req.GetName(), req.GetTargets(), dropTargets)
	return &pb.DeregisterTargetsResponse{Targets: targets}, err
}

// editTargets makes a group's new list of targets out of the present one and those in the request.
type editTargets func(ctx context.Context, c *change, group *pb.TargetGroup, have, asked []netip.AddrPort) ([]netip.AddrPort, error)

// changeTargets writes a group's list of targets and its count in one transaction.
func (k *kernel) changeTargets(ctx context.Context, text string, asked []*pb.Target, edit editTargets) ([]*pb.Target, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	var result []*pb.Target
	err = k.attempt(change{caller: who, word: resource.TargetGroups.Word}, func(c *change) error {
		group, err := find(ctx, k, who, resource.TargetGroups, "name", text)
		if err != nil {
			return err
		}
		c.name = group.Name
		if resource.Deleting(group.Value) {
			return beingDeleted(resource.TargetGroups.Info, text)
		}
		have, err := k.targets(ctx, group.Name)
		if err != nil {
			return err
		}
		after, err := edit(ctx, c, group.Value, have, readTargets(asked, group.Value.GetPort(), &c.wrong))
		if err != nil {
			return err
		}
		result = targetMessages(after)
		if slices.Equal(have, after) {
			return nil
		}
		group.Value.TargetCount = int32(len(after))
		group.Value.UpdateTime = timestamppb.New(c.now)
		resource.TargetGroups.Update(c.tx, group.Name, group.Value, group.Revision)
		resource.Targets.Put(c.tx, group.Name, &pb.RegisterTargetsRequest{Name: group.Name, Targets: result})
		_, err = c.tx.Commit(ctx)
		return err
	})
	return result, err
}

// targets gives the registered targets of a group, in order.
func (k *kernel) targets(ctx context.Context, group string) ([]netip.AddrPort, error) {
	stored, err := resource.Targets.Get(ctx, k.store, group)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	}
	var wrong apierr.Violations
	targets := readTargets(stored.Value.GetTargets(), 0, &wrong)
	if wrong.Len() > 0 {
		return nil, fmt.Errorf("stored targets of %s: %w", group, store.ErrCorrupt)
	}
	return targets, nil
}

// readTargets checks targets as they are written and fills in the group's port.
func readTargets(targets []*pb.Target, port int32, wrong *apierr.Violations) []netip.AddrPort {
	read := make([]netip.AddrPort, 0, len(targets))
	seen := make(map[netip.AddrPort]int, len(targets))
	for n, target := range targets {
		addr, refusal := targetAddress(target.GetIpAddress())
		if refusal != "" {
			wrong.Add(fmt.Sprintf("targets[%d].ip_address", n), "%s %s", quote(target.GetIpAddress()), refusal)
			continue
		}
		own := cmp.Or(target.GetPort(), port)
		if own < 1 || own > 65535 {
			wrong.Add(fmt.Sprintf("targets[%d].port", n), "%d is outside 1 to 65535", own)
			continue
		}
		t := netip.AddrPortFrom(addr, uint16(own))
		if first, twice := seen[t]; twice {
			wrong.Add(fmt.Sprintf("targets[%d]", n), "%s repeats targets[%d]", t, first)
			continue
		}
		seen[t] = n
		read = append(read, t)
	}
	return read
}

func addTargets(ctx context.Context, c *change, group *pb.TargetGroup, have, asked []netip.AddrPort) ([]netip.AddrPort, error) {
	if c.wrong.Len() > 0 {
		return nil, errViolations
	}
	if err := c.refuseLoops(ctx, group.GetVpc(), asked); err != nil {
		return nil, err
	}
	after := append(slices.Clone(have), asked...)
	slices.SortFunc(after, netip.AddrPort.Compare)
	after = slices.Compact(after)
	if len(after) > maxTargets {
		return nil, quotaExceeded("targets per target group", maxTargets, group.GetName())
	}
	return after, nil
}

func dropTargets(_ context.Context, c *change, _ *pb.TargetGroup, have, asked []netip.AddrPort) ([]netip.AddrPort, error) {
	if c.wrong.Len() > 0 {
		return nil, errViolations
	}
	drop := make(map[netip.AddrPort]bool, len(asked))
	for _, target := range asked {
		if _, registered := slices.BinarySearchFunc(have, target, netip.AddrPort.Compare); !registered {
			return nil, apierr.NotFound("target", target.String())
		}
		drop[target] = true
	}
	return slices.DeleteFunc(slices.Clone(have), func(t netip.AddrPort) bool { return drop[t] }), nil
}

func targetMessages(targets []netip.AddrPort) []*pb.Target {
	messages := make([]*pb.Target, len(targets))
	for n, t := range targets {
		messages[n] = &pb.Target{IpAddress: t.Addr().String(), Port: int32(t.Port())}
	}
	return messages
}
