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

func (s *loadBalancers) RegisterTargets(ctx context.Context, req *pb.RegisterTargetsRequest) (*pb.RegisterTargetsResponse, error) {
	targets, err := s.changeTargets(ctx, req.GetName(), req.GetTargets(), addTargets)
	return &pb.RegisterTargetsResponse{Targets: targets}, err
}

func (s *loadBalancers) DeregisterTargets(ctx context.Context, req *pb.DeregisterTargetsRequest) (*pb.DeregisterTargetsResponse, error) {
	targets, err := s.changeTargets(ctx, req.GetName(), req.GetTargets(), dropTargets)
	return &pb.DeregisterTargetsResponse{Targets: targets}, err
}

// registration is a target of a group.
type registration struct {
	netip.AddrPort
	// weight is its share; noWeight in a request that gives none.
	weight int32
}

const (
	noWeight      int32 = -1
	defaultWeight int32 = 1
)

func (r registration) compare(o registration) int { return r.AddrPort.Compare(o.AddrPort) }

// editTargets makes a group's new list of targets out of the present one and those in the request.
type editTargets func(ctx context.Context, c *change, group *pb.TargetGroup, have, asked []registration) ([]registration, error)

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
func (k *kernel) targets(ctx context.Context, group string) ([]registration, error) {
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
func readTargets(targets []*pb.Target, port int32, wrong *apierr.Violations) []registration {
	read := make([]registration, 0, len(targets))
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
		weight := noWeight
		if target.Weight != nil {
			weight = target.GetWeight()
		}
		read = append(read, registration{AddrPort: t, weight: weight})
	}
	return read
}

func addTargets(ctx context.Context, c *change, group *pb.TargetGroup, have, asked []registration) ([]registration, error) {
	if c.wrong.Len() > 0 {
		return nil, errViolations
	}
	if err := c.refuseLoops(ctx, group.GetVpc(), asked); err != nil {
		return nil, err
	}
	after := slices.Clone(have)
	for _, target := range asked {
		n, registered := slices.BinarySearchFunc(after, target, registration.compare)
		switch {
		case !registered:
			target.weight = weightOr(target.weight, defaultWeight)
			after = slices.Insert(after, n, target)
		default:
			after[n].weight = weightOr(target.weight, after[n].weight)
		}
	}
	return after, c.within(ctx, quotaTargets, c.name, len(have), len(after))
}

// weightOr gives the weight, or what stands for one that was not given.
func weightOr(weight, unset int32) int32 {
	if weight == noWeight {
		return unset
	}
	return weight
}

func dropTargets(_ context.Context, c *change, _ *pb.TargetGroup, have, asked []registration) ([]registration, error) {
	if c.wrong.Len() > 0 {
		return nil, errViolations
	}
	drop := make(map[netip.AddrPort]bool, len(asked))
	for _, target := range asked {
		if _, registered := slices.BinarySearchFunc(have, target, registration.compare); !registered {
			return nil, apierr.NotFound("target", target.String())
		}
		drop[target.AddrPort] = true
	}
	return slices.DeleteFunc(slices.Clone(have), func(t registration) bool { return drop[t.AddrPort] }), nil
}

func targetMessages(targets []registration) []*pb.Target {
	messages := make([]*pb.Target, len(targets))
	for n, t := range targets {
		messages[n] = &pb.Target{
			IpAddress: t.Addr().String(), Port: int32(t.Port()), Weight: new(weightOr(t.weight, defaultWeight)),
		}
	}
	return messages
}
