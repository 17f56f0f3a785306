package api

import (
	"context"
	"strings"

	"causeway/controlplane/apierr"
	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

// gateways shows what the gateways report. They are no resources of the store and belong to no
// account.
type gateways struct {
	*kernel
	pb.UnsafeGatewaysServer
}

func (s *gateways) GetGateway(ctx context.Context, req *pb.GetGatewayRequest) (*pb.Gateway, error) {
	all, err := s.all(ctx)
	if err != nil {
		return nil, err
	}
	id, found := strings.CutPrefix(req.GetName(), "gateways/")
	if !found || !resource.IsID(id) {
		return nil, malformed("name", req.GetName(), "gateway", "gateways/{gateway}")
	}
	for _, g := range all {
		if g.GetName() == req.GetName() {
			return g, nil
		}
	}
	return nil, apierr.NotFound("gateway", req.GetName())
}

func (s *gateways) ListGateways(ctx context.Context, req *pb.ListGatewaysRequest) (*pb.ListGatewaysResponse, error) {
	all, err := s.all(ctx)
	if err != nil {
		return nil, err
	}
	size, err := pageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	after, ok := decodePosition("", req.GetPageToken())
	if !ok {
		return nil, apierr.Invalid("page_token", "was not issued for this list; leave it out to start again")
	}
	resp := &pb.ListGatewaysResponse{}
	for _, g := range all {
		if g.GetName() <= after {
			continue
		}
		if len(resp.Gateways) == size {
			resp.NextPageToken = encodePosition("", after)
			break
		}
		resp.Gateways = append(resp.Gateways, g)
		after = g.GetName()
	}
	return resp, nil
}

func (s *gateways) all(ctx context.Context) ([]*pb.Gateway, error) {
	if _, err := caller(ctx); err != nil {
		return nil, err
	}
	if s.gateways == nil {
		return nil, nil
	}
	return s.gateways.Gateways(ctx), nil
}
