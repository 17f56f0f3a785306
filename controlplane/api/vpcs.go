package api

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/emptypb"

	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// Sizes of VPCs and subnets, as in AWS:
// https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html
const (
	vpcShortest = 16
	vpcLongest  = 28
)

type vpcs struct {
	*kernel
	pb.UnsafeVpcsServer
}

func (s *vpcs) GetVpc(ctx context.Context, req *pb.GetVpcRequest) (*pb.Vpc, error) {
	return get(ctx, s.kernel, resource.Vpcs, req.GetName())
}

func (s *vpcs) ListVpcs(ctx context.Context, req *pb.ListVpcsRequest) (*pb.ListVpcsResponse, error) {
	items, next, err := list(ctx, s.kernel, resource.Vpcs, req.GetParent(), req.GetPageSize(), req.GetPageToken())
	return &pb.ListVpcsResponse{Vpcs: items, NextPageToken: next}, err
}

func (s *vpcs) CreateVpc(ctx context.Context, req *pb.CreateVpcRequest) (*pb.Vpc, error) {
	return create(ctx, s.kernel, resource.Vpcs, creation[*pb.Vpc]{
		request: req, parent: req.GetParent(), id: req.GetVpcId(), requestID: req.GetRequestId(),
		field: "vpc", value: req.GetVpc(), prepare: prepareVpc,
	})
}

// prepareVpc lets VPCs overlap: they are apart by design.
func prepareVpc(_ context.Context, c *change, vpc *pb.Vpc) error {
	if len(c.zonesOf(vpc.GetRegion())) == 0 {
		c.wrong.Add(c.path("region"), "%s is not served here; regions are %s", quote(vpc.GetRegion()), c.regions())
	}
	checkPrefix(&c.wrong, c.path("cidr_block"), vpc.GetCidrBlock(), vpcShortest, vpcLongest)
	vpc.State = pb.Vpc_PENDING
	return c.makeDefaultACL()
}

func (s *vpcs) UpdateVpc(ctx context.Context, req *pb.UpdateVpcRequest) (*pb.Vpc, error) {
	return update(ctx, s.kernel, resource.Vpcs, alteration[*pb.Vpc]{
		field: "vpc", value: req.GetVpc(), mask: req.GetUpdateMask(),
	})
}

// DeleteVpc deletes the default network ACL with the VPC. Whatever else there is, is in the way.
func (s *vpcs) DeleteVpc(ctx context.Context, req *pb.DeleteVpcRequest) (*emptypb.Empty, error) {
	return removeWith(ctx, s.kernel, resource.Vpcs, req.GetName(), req.GetEtag(),
		func(_ context.Context, c *change, _ store.Versioned[*pb.Vpc], dependents []resource.Entry) error {
			blocked := false
			var blockers []string
			for _, d := range dependents {
				if acl, ok := d.Message.(*pb.NetworkAcl); ok && isDefaultACL(d.Name) {
					writeDeleting(c, resource.NetworkAcls, store.Versioned[*pb.NetworkAcl]{Name: d.Name, Value: acl, Revision: d.Revision})
					continue
				}
				blocked = true
				if c.caller.sees(d.Message) {
					blockers = append(blockers, d.Name)
				}
			}
			if blocked {
				return hasChildren(resource.Vpcs.Info, req.GetName(), blockers)
			}
			return nil
		})
}

// zonesOf gives the zones served in a region, sorted.
func (k *kernel) zonesOf(region string) []string {
	var names []string
	for _, z := range k.zones {
		if z.Region == region {
			names = append(names, z.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (k *kernel) regions() string {
	var names []string
	for _, z := range k.zones {
		names = append(names, z.Region)
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}
