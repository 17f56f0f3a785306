package api

import (
	"context"
	"net/netip"
	"slices"

	"google.golang.org/protobuf/types/known/emptypb"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

type resolver struct {
	*kernel
	pb.UnsafeResolverServer
}

func (s *resolver) GetResolverEndpoint(ctx context.Context, req *pb.GetResolverEndpointRequest) (*pb.ResolverEndpoint, error) {
	return get(ctx, s.kernel, resource.ResolverEndpoints, req.GetName())
}

func (s *resolver) ListResolverEndpoints(ctx context.Context, req *pb.ListResolverEndpointsRequest) (*pb.ListResolverEndpointsResponse, error) {
	items, next, err := list(ctx, s.kernel, resource.ResolverEndpoints, req.GetParent(), req.GetPageSize(), req.GetPageToken())
	return &pb.ListResolverEndpointsResponse{ResolverEndpoints: items, NextPageToken: next}, err
}

func (s *resolver) CreateResolverEndpoint(ctx context.Context, req *pb.CreateResolverEndpointRequest) (*pb.ResolverEndpoint, error) {
	return create(ctx, s.kernel, resource.ResolverEndpoints, creation[*pb.ResolverEndpoint]{
		request: req, parent: req.GetParent(), id: req.GetResolverEndpointId(), requestID: req.GetRequestId(),
		field: "resolver_endpoint", value: req.GetResolverEndpoint(),
		prepare: func(ctx context.Context, c *change, endpoint *pb.ResolverEndpoint) error {
			endpoint.State = pb.ResolverEndpoint_PENDING
			return c.resolverAddresses(ctx, nil, endpoint)
		},
	})
}

// UpdateResolverEndpoint gives added subnets addresses; those of kept subnets stay as they are.
func (s *resolver) UpdateResolverEndpoint(ctx context.Context, req *pb.UpdateResolverEndpointRequest) (*pb.ResolverEndpoint, error) {
	return update(ctx, s.kernel, resource.ResolverEndpoints, alteration[*pb.ResolverEndpoint]{
		field: "resolver_endpoint", value: req.GetResolverEndpoint(), mask: req.GetUpdateMask(),
		prepare: func(ctx context.Context, c *change, before, after *pb.ResolverEndpoint) error {
			return c.resolverAddresses(ctx, before, after)
		},
	})
}

func (s *resolver) DeleteResolverEndpoint(ctx context.Context, req *pb.DeleteResolverEndpointRequest) (*emptypb.Empty, error) {
	return remove(ctx, s.kernel, resource.ResolverEndpoints, req.GetName(), req.GetEtag())
}

// resolverAddresses gives a resolver endpoint an address in each of its subnets, as an endpoint gets its network
// interfaces: see [change.interfaces].
func (c *change) resolverAddresses(ctx context.Context, before, after *pb.ResolverEndpoint) error {
	vpc := resource.Parent(c.name)
	subnets, err := c.placement(ctx, vpc, after.GetSubnets())
	if err != nil {
		return err
	}
	designated, err := c.designations(ctx, after.GetSubnets(), after.GetSubnetConfigurations())
	if err != nil {
		return err
	}
	asked, err := c.forwardedTo(ctx, vpc)
	if err != nil {
		return err
	}
	after.SubnetConfigurations, after.Addresses = nil, nil
	for _, subnet := range subnets {
		kept := before.GetAddresses()
		if at := slices.IndexFunc(kept, func(a *pb.ResolverAddress) bool { return a.GetSubnet() == subnet.Name }); at >= 0 {
			after.Addresses = append(after.Addresses, kept[at])
			continue
		}
		eni, err := c.newInterface(ctx, subnet.Value, designated[subnet.Name], asked)
		if err != nil {
			return err
		}
		after.Addresses = append(after.Addresses, &pb.ResolverAddress{
			Uid: eni.GetUid(), Subnet: eni.GetSubnet(), AvailabilityZone: eni.GetAvailabilityZone(), IpAddress: eni.GetIpAddress(),
		})
	}
	return nil
}

// forwardedTo gives the addresses that resolver rules of a VPC send questions to, each with the name of a rule. An
// inbound address among them would get its own questions back. No rule is written in the VPC until the commit.
func (c *change) forwardedTo(ctx context.Context, vpc string) (map[netip.Addr]string, error) {
	rules, revision, err := resource.ResolverRules.ReadAll(ctx, c.store, vpc)
	if err != nil {
		return nil, err
	}
	resource.ResolverRules.RequireUnchanged(c.tx, vpc, revision)
	addrs := make(map[netip.Addr]string)
	for _, rule := range rules {
		for _, target := range rule.Message.(*pb.ResolverRule).GetTargetIps() {
			if addr, err := netip.ParseAddr(target.GetIpAddress()); err == nil {
				addrs[addr] = rule.Name
			}
		}
	}
	return addrs, nil
}
