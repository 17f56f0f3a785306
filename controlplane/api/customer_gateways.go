package api

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

func (s *vpnConnections) GetCustomerGateway(ctx context.Context, req *pb.GetCustomerGatewayRequest) (*pb.CustomerGateway, error) {
	return get(ctx, s.kernel, resource.CustomerGateways, req.GetName())
}

func (s *vpnConnections) ListCustomerGateways(ctx context.Context, req *pb.ListCustomerGatewaysRequest) (*pb.ListCustomerGatewaysResponse, error) {
	items, next, err := list(ctx, s.kernel, resource.CustomerGateways, req.GetParent(), req.GetPageSize(), req.GetPageToken())
	return &pb.ListCustomerGatewaysResponse{CustomerGateways: items, NextPageToken: next}, err
}

func (s *vpnConnections) CreateCustomerGateway(ctx context.Context, req *pb.CreateCustomerGatewayRequest) (*pb.CustomerGateway, error) {
	return create(ctx, s.kernel, resource.CustomerGateways, creation[*pb.CustomerGateway]{
		request: req, parent: req.GetParent(), id: req.GetCustomerGatewayId(), requestID: req.GetRequestId(),
		field: "customer_gateway", value: req.GetCustomerGateway(),
		prepare: func(_ context.Context, c *change, g *pb.CustomerGateway) error {
			if err := checkPublicKey(g.GetPublicKey()); err != nil {
				c.wrong.Add(c.path("public_key"), "%v", err)
			}
			return nil
		},
	})
}

func (s *vpnConnections) UpdateCustomerGateway(ctx context.Context, req *pb.UpdateCustomerGatewayRequest) (*pb.CustomerGateway, error) {
	return update(ctx, s.kernel, resource.CustomerGateways, alteration[*pb.CustomerGateway]{
		field: "customer_gateway", value: req.GetCustomerGateway(), mask: req.GetUpdateMask(),
	})
}

func (s *vpnConnections) DeleteCustomerGateway(ctx context.Context, req *pb.DeleteCustomerGatewayRequest) (*emptypb.Empty, error) {
	return remove(ctx, s.kernel, resource.CustomerGateways, req.GetName(), req.GetEtag())
}
