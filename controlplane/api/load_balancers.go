package api

import (
	"context"
	"net/netip"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// loadBalancers serves load balancers, their listeners, and target groups.
type loadBalancers struct {
	*kernel
	pb.UnsafeLoadBalancersServer
}

// registerServices makes a gRPC server serve what providers publish and consumers connect to.
func (a *API) registerServices(s grpc.ServiceRegistrar) {
	pb.RegisterLoadBalancersServer(s, &loadBalancers{kernel: a.kernel})
	pb.RegisterCertificatesServer(s, &certificates{kernel: a.kernel})
	pb.RegisterEndpointServicesServer(s, &endpointServices{kernel: a.kernel})
	pb.RegisterSubscriptionsServer(s, &subscriptions{kernel: a.kernel})
	pb.RegisterNotificationsServer(s, &notifications{kernel: a.kernel})
	pb.RegisterEndpointsServer(s, &endpoints{kernel: a.kernel})
	pb.RegisterResolverServer(s, &resolver{kernel: a.kernel})
}

func (s *loadBalancers) GetLoadBalancer(ctx context.Context, req *pb.GetLoadBalancerRequest) (*pb.LoadBalancer, error) {
	return get(ctx, s.kernel, resource.LoadBalancers, req.GetName())
}

func (s *loadBalancers) ListLoadBalancers(ctx context.Context, req *pb.ListLoadBalancersRequest) (*pb.ListLoadBalancersResponse, error) {
	items, next, err := list(ctx, s.kernel, resource.LoadBalancers, req.GetParent(), req.GetPageSize(), req.GetPageToken())
	return &pb.ListLoadBalancersResponse{LoadBalancers: items, NextPageToken: next}, err
}

func (s *loadBalancers) CreateLoadBalancer(ctx context.Context, req *pb.CreateLoadBalancerRequest) (*pb.LoadBalancer, error) {
	return create(ctx, s.kernel, resource.LoadBalancers, creation[*pb.LoadBalancer]{
		request: req, parent: req.GetParent(), id: req.GetLoadBalancerId(), requestID: req.GetRequestId(),
		field: "load_balancer", value: req.GetLoadBalancer(), prepare: prepareLoadBalancer,
	})
}

// prepareLoadBalancer gives the load balancer a node, with an address, in each of its subnets.
func prepareLoadBalancer(ctx context.Context, c *change, lb *pb.LoadBalancer) error {
	lb.State = pb.LoadBalancer_PENDING
	subnets, err := c.placement(ctx, "", lb.GetSubnets())
	if err != nil {
		return err
	}
	lb.Vpc = resource.Parent(subnets[0].Name)
	if lb.SecondaryIpAddressesPerZone == nil {
		lb.SecondaryIpAddressesPerZone = new(int32(0))
	}
	for _, subnet := range subnets {
		node := &pb.LoadBalancer_Node{Subnet: subnet.Name, AvailabilityZone: subnet.Value.GetAvailabilityZone()}
		if err := c.addressNode(ctx, node, subnet.Value, lb.GetSecondaryIpAddressesPerZone()); err != nil {
			return err
		}
		lb.Nodes = append(lb.Nodes, node)
	}
	return nil
}

// addressNode gives a node the addresses that it does not have yet.
func (c *change) addressNode(ctx context.Context, node *pb.LoadBalancer_Node, subnet *pb.Subnet, secondary int32) error {
	taken := map[netip.Addr]string{}
	next := func() (string, error) {
		addr, err := c.lowestFree(ctx, subnet, taken)
		taken[addr] = c.name
		return addr.String(), err
	}
	var err error
	if node.GetIpAddress() == "" {
		if node.IpAddress, err = next(); err != nil {
			return err
		}
	}
	for len(node.GetSecondaryIpAddresses()) < int(secondary) {
		addr, err := next()
		if err != nil {
			return err
		}
		node.SecondaryIpAddresses = append(node.SecondaryIpAddresses, addr)
	}
	return nil
}

// reviseLoadBalancer gives the nodes more addresses. Those they have may be in use.
func reviseLoadBalancer(ctx context.Context, c *change, before, after *pb.LoadBalancer) error {
	have, want := before.GetSecondaryIpAddressesPerZone(), after.GetSecondaryIpAddressesPerZone()
	if want < have {
		c.wrong.Add(c.path("secondary_ip_addresses_per_zone"), "%d is less than the %d that each node has; it may be raised only", want, have)
		return errViolations
	}
	if want == have {
		return nil
	}
	for _, node := range after.GetNodes() {
		subnet, err := resource.Subnets.Get(ctx, c.store, node.GetSubnet())
		if err != nil {
			return err
		}
		resource.Subnets.Require(c.tx, subnet.Name, subnet.Revision)
		if err := c.addressNode(ctx, node, subnet.Value, want); err != nil {
			return err
		}
	}
	return nil
}

func (s *loadBalancers) UpdateLoadBalancer(ctx context.Context, req *pb.UpdateLoadBalancerRequest) (*pb.LoadBalancer, error) {
	return update(ctx, s.kernel, resource.LoadBalancers, alteration[*pb.LoadBalancer]{
		field: "load_balancer", value: req.GetLoadBalancer(), mask: req.GetUpdateMask(), prepare: reviseLoadBalancer,
	})
}

// DeleteLoadBalancer deletes its listeners with it, as AWS does:
// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DeleteLoadBalancer.html
func (s *loadBalancers) DeleteLoadBalancer(ctx context.Context, req *pb.DeleteLoadBalancerRequest) (*emptypb.Empty, error) {
	return removeWith(ctx, s.kernel, resource.LoadBalancers, req.GetName(), req.GetEtag(),
		func(_ context.Context, c *change, _ store.Versioned[*pb.LoadBalancer], dependents []resource.Entry) error {
			var services []string
			for _, d := range dependents {
				listener, ok := d.Message.(*pb.Listener)
				if !ok {
					services = append(services, d.Name)
					continue
				}
				c.markDeleting(listener)
				resource.Listeners.Update(c.tx, d.Name, listener, d.Revision)
			}
			if len(services) > 0 {
				return hasChildren(resource.LoadBalancers.Info, req.GetName(), services)
			}
			return nil
		})
}
