package api

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/emptypb"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

func (s *vpcs) GetSubnet(ctx context.Context, req *pb.GetSubnetRequest) (*pb.Subnet, error) {
	return get(ctx, s.kernel, resource.Subnets, req.GetName())
}

func (s *vpcs) ListSubnets(ctx context.Context, req *pb.ListSubnetsRequest) (*pb.ListSubnetsResponse, error) {
	items, next, err := list(ctx, s.kernel, resource.Subnets, req.GetParent(), req.GetPageSize(), req.GetPageToken())
	return &pb.ListSubnetsResponse{Subnets: items, NextPageToken: next}, err
}

func (s *vpcs) CreateSubnet(ctx context.Context, req *pb.CreateSubnetRequest) (*pb.Subnet, error) {
	return create(ctx, s.kernel, resource.Subnets, creation[*pb.Subnet]{
		request: req, parent: req.GetParent(), id: req.GetSubnetId(), requestID: req.GetRequestId(),
		field: "subnet", value: req.GetSubnet(), prepare: prepareSubnet,
	})
}

func prepareSubnet(ctx context.Context, c *change, subnet *pb.Subnet) error {
	subnet.State = pb.Subnet_PENDING
	vpc, err := resource.Vpcs.Get(ctx, c.store, resource.Parent(c.name))
	if err != nil {
		return err
	}
	if zones := c.zonesOf(vpc.Value.GetRegion()); !slices.Contains(zones, subnet.GetAvailabilityZone()) {
		c.wrong.Add(c.path("availability_zone"), "%s is not a zone of region %s served here; zones are %s",
			quote(subnet.GetAvailabilityZone()), vpc.Value.GetRegion(), strings.Join(zones, ", "))
	}
	prefix, ok := checkPrefix(&c.wrong, c.path("cidr_block"), subnet.GetCidrBlock(), vpcShortest, vpcLongest)
	if !ok {
		return errViolations
	}
	outer, err := netip.ParsePrefix(vpc.Value.GetCidrBlock())
	if err != nil {
		return fmt.Errorf("stored %s: %w", vpc.Name, err)
	}
	if prefix.Bits() < outer.Bits() || !outer.Contains(prefix.Addr()) {
		c.wrong.Add(c.path("cidr_block"), "%s is not within the VPC's %s", quote(subnet.GetCidrBlock()), outer)
		return errViolations
	}
	if err := c.filter(ctx, subnet); err != nil {
		return err
	}
	return c.noSubnetIn(ctx, vpc.Name, prefix)
}

// noSubnetIn refuses a prefix that overlaps a subnet of the VPC, also one made at this moment.
func (c *change) noSubnetIn(ctx context.Context, vpc string, prefix netip.Prefix) error {
	siblings, revision, err := resource.Subnets.ReadAll(ctx, c.store, vpc)
	if err != nil {
		return err
	}
	resource.Subnets.RequireUnchanged(c.tx, vpc, revision)
	for _, sibling := range siblings {
		other := sibling.Message.(*pb.Subnet).GetCidrBlock()
		if p, err := netip.ParsePrefix(other); err == nil && p.Overlaps(prefix) && sibling.Name != c.name {
			return cidrOverlap(resource.Subnets.Info, c.name, prefix.String(), sibling.Name, other)
		}
	}
	return nil
}

func (s *vpcs) UpdateSubnet(ctx context.Context, req *pb.UpdateSubnetRequest) (*pb.Subnet, error) {
	return update(ctx, s.kernel, resource.Subnets, alteration[*pb.Subnet]{
		field: "subnet", value: req.GetSubnet(), mask: req.GetUpdateMask(),
		prepare: func(ctx context.Context, c *change, _, after *pb.Subnet) error { return c.filter(ctx, after) },
	})
}

func (s *vpcs) DeleteSubnet(ctx context.Context, req *pb.DeleteSubnetRequest) (*emptypb.Empty, error) {
	return remove(ctx, s.kernel, resource.Subnets, req.GetName(), req.GetEtag())
}
