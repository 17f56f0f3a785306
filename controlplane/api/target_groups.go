package api

import (
	"context"
	"errors"

	"google.golang.org/protobuf/types/known/emptypb"

	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

func (s *loadBalancers) GetTargetGroup(ctx context.Context, req *pb.GetTargetGroupRequest) (*pb.TargetGroup, error) {
	return get(ctx, s.kernel, resource.TargetGroups, req.GetName())
}

func (s *loadBalancers) ListTargetGroups(ctx context.Context, req *pb.ListTargetGroupsRequest) (*pb.ListTargetGroupsResponse, error) {
	items, next, err := list(ctx, s.kernel, resource.TargetGroups, req.GetParent(), req.GetPageSize(), req.GetPageToken())
	return &pb.ListTargetGroupsResponse{TargetGroups: items, NextPageToken: next}, err
}

func (s *loadBalancers) CreateTargetGroup(ctx context.Context, req *pb.CreateTargetGroupRequest) (*pb.TargetGroup, error) {
	return create(ctx, s.kernel, resource.TargetGroups, creation[*pb.TargetGroup]{
		request: req, parent: req.GetParent(), id: req.GetTargetGroupId(), requestID: req.GetRequestId(),
		field: "target_group", value: req.GetTargetGroup(), prepare: prepareTargetGroup,
	})
}

func prepareTargetGroup(ctx context.Context, c *change, group *pb.TargetGroup) error {
	group.State = pb.TargetGroup_PENDING
	completeTargetGroup(group, &c.wrong)
	_, err := reference(ctx, c, resource.Vpcs, "vpc", &group.Vpc)
	return err
}

func (s *loadBalancers) UpdateTargetGroup(ctx context.Context, req *pb.UpdateTargetGroupRequest) (*pb.TargetGroup, error) {
	return update(ctx, s.kernel, resource.TargetGroups, alteration[*pb.TargetGroup]{
		field: "target_group", value: req.GetTargetGroup(), mask: req.GetUpdateMask(),
		prepare: func(_ context.Context, c *change, _, after *pb.TargetGroup) error {
			completeTargetGroup(after, &c.wrong)
			return nil
		},
	})
}

// DeleteTargetGroup refuses while a listener uses the group. Its targets go with it.
func (s *loadBalancers) DeleteTargetGroup(ctx context.Context, req *pb.DeleteTargetGroupRequest) (*emptypb.Empty, error) {
	return removeWith(ctx, s.kernel, resource.TargetGroups, req.GetName(), req.GetEtag(),
		func(ctx context.Context, c *change, group store.Versioned[*pb.TargetGroup], listeners []resource.Entry) error {
			if len(listeners) > 0 {
				return hasChildren(resource.TargetGroups.Info, req.GetName(), names(listeners))
			}
			targets, err := resource.Targets.Get(ctx, c.store, group.Name)
			switch {
			case errors.Is(err, store.ErrNotFound):
				return nil
			case err != nil:
				return err
			}
			resource.Targets.Delete(c.tx, group.Name, targets.Revision)
			group.Value.TargetCount = 0
			return nil
		})
}

func names(entries []resource.Entry) []string {
	all := make([]string, len(entries))
	for n, e := range entries {
		all[n] = e.Name
	}
	return all
}
