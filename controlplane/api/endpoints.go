package api

import (
	"context"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	"causeway/gateway/policy"
	pb "causeway/proto/causeway/v1"
)

type endpoints struct {
	*kernel
	pb.UnsafeEndpointsServer
}

func (s *endpoints) GetEndpoint(ctx context.Context, req *pb.GetEndpointRequest) (*pb.Endpoint, error) {
	return get(ctx, s.kernel, resource.Endpoints, req.GetName())
}

func (s *endpoints) ListEndpoints(ctx context.Context, req *pb.ListEndpointsRequest) (*pb.ListEndpointsResponse, error) {
	items, next, err := list(ctx, s.kernel, resource.Endpoints, req.GetParent(), req.GetPageSize(), req.GetPageToken())
	return &pb.ListEndpointsResponse{Endpoints: items, NextPageToken: next}, err
}

func (s *endpoints) CreateEndpoint(ctx context.Context, req *pb.CreateEndpointRequest) (*pb.Endpoint, error) {
	return create(ctx, s.kernel, resource.Endpoints, creation[*pb.Endpoint]{
		request: req, parent: req.GetParent(), id: req.GetEndpointId(), requestID: req.GetRequestId(),
		field: "endpoint", value: req.GetEndpoint(), prepare: prepareEndpoint,
	})
}

func prepareEndpoint(ctx context.Context, c *change, endpoint *pb.Endpoint) error {
	if err := c.bound(ctx, &pb.Endpoint{}, endpoint); err != nil {
		return err
	}
	if err := c.guardEndpoint(ctx, &pb.Endpoint{}, endpoint); err != nil {
		return err
	}
	service, err := c.consumed(ctx, endpoint.GetServiceName())
	if err != nil {
		return err
	}
	c.connect(endpoint, service)
	vpc, err := resource.Vpcs.Get(ctx, c.store, resource.Parent(c.name))
	if err != nil {
		return err
	}
	if own, other := vpc.Value.GetRegion(), service.GetRegion(); own != other {
		c.wrong.Add(c.path("service_name"), "%s is offered in region %s and VPC %s lies in %s; both must be of one region",
			quote(endpoint.GetServiceName()), other, quote(vpc.Name), own)
	}
	if err := c.interfaces(ctx, endpoint, nil, service); err != nil {
		return err
	}
	if err := c.holdNames(ctx, nil, endpoint, service); err != nil {
		return err
	}
	if endpoint.Uid, err = c.uidAhead(resource.Endpoints.Prefix); err != nil {
		return err
	}
	return c.notify(ctx, service, pb.Notification_CONNECT, endpoint)
}

// guardEndpoint checks what says who may use an endpoint. The default policy is stored as none.
func (c *change) guardEndpoint(ctx context.Context, before, after *pb.Endpoint) error {
	if after.GetPolicy() == policy.Default {
		after.Policy = ""
	}
	if text := after.GetPolicy(); text != "" && text != before.GetPolicy() {
		if _, err := policy.Parse(text); err != nil {
			c.wrong.Add(c.path("policy"), "%s", strings.TrimPrefix(err.Error(), "policy: "))
		}
	}
	return c.joinGroups(ctx, resource.Parent(c.name), quotaEndpointGroups, before.GetSecurityGroups(), after.GetSecurityGroups())
}

// connect makes a new endpoint one of a service, in the state it begins in.
func (c *change) connect(endpoint *pb.Endpoint, service *pb.EndpointService) {
	endpoint.ServiceName, endpoint.ServiceUid = service.GetServiceName(), service.GetUid()
	if service.GetAcceptanceRequired() {
		endpoint.State = pb.Endpoint_PENDING_ACCEPTANCE
		endpoint.ExpireTime = timestamppb.New(c.now.Add(acceptanceLife))
		return
	}
	endpoint.State = pb.Endpoint_PENDING
	endpoint.AcceptTime = timestamppb.New(c.now)
}

// UpdateEndpoint takes the service in any spelling, as long as it is the endpoint's.
func (s *endpoints) UpdateEndpoint(ctx context.Context, req *pb.UpdateEndpointRequest) (*pb.Endpoint, error) {
	value := proto.Clone(req.GetEndpoint()).(*pb.Endpoint)
	if err := s.spellService(ctx, value); err != nil {
		return nil, err
	}
	return update(ctx, s.kernel, resource.Endpoints, alteration[*pb.Endpoint]{
		field: "endpoint", value: value, mask: req.GetUpdateMask(),
		prepare: func(ctx context.Context, c *change, before, after *pb.Endpoint) error {
			return reviseEndpoint(ctx, c, before, after, asksForNames(value, req.GetUpdateMask()))
		},
	})
}

// reviseEndpoint gives added subnets interfaces; those of kept subnets stay as they are, and so do private DNS names
// unless they are asked for. An endpoint whose account may no longer choose the service goes on being its.
func reviseEndpoint(ctx context.Context, c *change, before, after *pb.Endpoint, names bool) error {
	if err := c.bound(ctx, before, after); err != nil {
		return err
	}
	if err := c.guardEndpoint(ctx, before, after); err != nil {
		return err
	}
	service, err := c.provided(ctx, before)
	if err != nil {
		return err
	}
	if err := c.interfaces(ctx, after, before, service); err != nil || !names {
		return err
	}
	return c.holdNames(ctx, before, after, service)
}

func (s *endpoints) DeleteEndpoint(ctx context.Context, req *pb.DeleteEndpointRequest) (*emptypb.Empty, error) {
	return removeWith(ctx, s.kernel, resource.Endpoints, req.GetName(), req.GetEtag(),
		func(ctx context.Context, c *change, endpoint store.Versioned[*pb.Endpoint], dependents []resource.Entry) error {
			if len(dependents) > 0 {
				return hasChildren(resource.Endpoints.Info, req.GetName(), names(dependents))
			}
			return c.notifyByName(ctx, pb.Notification_DELETE, endpoint.Value)
		})
}
