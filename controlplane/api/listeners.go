package api

import (
	"context"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

// idleTimeoutDefault is that of TCP listeners of Network Load Balancers:
// https://docs.aws.amazon.com/elasticloadbalancing/latest/network/update-idle-timeout.html
const idleTimeoutDefault = 350 * time.Second

func (s *loadBalancers) GetListener(ctx context.Context, req *pb.GetListenerRequest) (*pb.Listener, error) {
	return get(ctx, s.kernel, resource.Listeners, req.GetName())
}

func (s *loadBalancers) ListListeners(ctx context.Context, req *pb.ListListenersRequest) (*pb.ListListenersResponse, error) {
	items, next, err := list(ctx, s.kernel, resource.Listeners, req.GetParent(), req.GetPageSize(), req.GetPageToken())
	return &pb.ListListenersResponse{Listeners: items, NextPageToken: next}, err
}

func (s *loadBalancers) CreateListener(ctx context.Context, req *pb.CreateListenerRequest) (*pb.Listener, error) {
	id := req.GetListenerId()
	if id == "" {
		id = strings.ToLower(req.GetListener().GetProtocol().String()) + "-" + strconv.Itoa(int(req.GetListener().GetPort()))
	}
	return create(ctx, s.kernel, resource.Listeners, creation[*pb.Listener]{
		request: req, parent: req.GetParent(), id: id, requestID: req.GetRequestId(),
		field: "listener", value: req.GetListener(), prepare: prepareListener,
	})
}

func prepareListener(ctx context.Context, c *change, listener *pb.Listener) error {
	listener.State = pb.Listener_PENDING
	return c.completeListener(ctx, listener)
}

// completeListener checks what may change of a listener, and fills in what was not given.
func (c *change) completeListener(ctx context.Context, listener *pb.Listener) error {
	if listener.GetIdleTimeout() == nil {
		listener.IdleTimeout = durationpb.New(idleTimeoutDefault)
	}
	if err := c.completeTLS(ctx, listener); err != nil {
		return err
	}
	spelled := listener.GetTargetGroup()
	group, err := reference(ctx, c, resource.TargetGroups, "target_group", &listener.TargetGroup)
	if err != nil {
		return err
	}
	lb, err := resource.LoadBalancers.Get(ctx, c.store, resource.Parent(c.name))
	if err != nil {
		return err
	}
	if group.Value.GetVpc() != lb.Value.GetVpc() {
		c.wrong.Add(c.path("target_group"), "%s belongs to VPC %s, the load balancer to %s; both must be of one VPC",
			quote(spelled), quote(group.Value.GetVpc()), quote(lb.Value.GetVpc()))
	}
	return nil
}

func (s *loadBalancers) UpdateListener(ctx context.Context, req *pb.UpdateListenerRequest) (*pb.Listener, error) {
	return update(ctx, s.kernel, resource.Listeners, alteration[*pb.Listener]{
		field: "listener", value: req.GetListener(), mask: req.GetUpdateMask(),
		prepare: func(ctx context.Context, c *change, _, after *pb.Listener) error {
			return c.completeListener(ctx, after)
		},
	})
}

func (s *loadBalancers) DeleteListener(ctx context.Context, req *pb.DeleteListenerRequest) (*emptypb.Empty, error) {
	return remove(ctx, s.kernel, resource.Listeners, req.GetName(), req.GetEtag())
}
