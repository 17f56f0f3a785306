package api

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"

	"google.golang.org/protobuf/types/known/emptypb"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

// Sizes of static routes: anything but the default route, down to one host.
const (
	routeShortest = 1
	routeLongest  = 32
)

type vpnConnections struct {
	*kernel
	pb.UnsafeVpnConnectionsServer
}

func (s *vpnConnections) GetVpnConnection(ctx context.Context, req *pb.GetVpnConnectionRequest) (*pb.VpnConnection, error) {
	return get(ctx, s.kernel, resource.VpnConnections, req.GetName())
}

func (s *vpnConnections) ListVpnConnections(ctx context.Context, req *pb.ListVpnConnectionsRequest) (*pb.ListVpnConnectionsResponse, error) {
	items, next, err := list(ctx, s.kernel, resource.VpnConnections, req.GetParent(), req.GetPageSize(), req.GetPageToken())
	return &pb.ListVpnConnectionsResponse{VpnConnections: items, NextPageToken: next}, err
}

func (s *vpnConnections) CreateVpnConnection(ctx context.Context, req *pb.CreateVpnConnectionRequest) (*pb.VpnConnection, error) {
	return create(ctx, s.kernel, resource.VpnConnections, creation[*pb.VpnConnection]{
		request: req, parent: req.GetParent(), id: req.GetVpnConnectionId(), requestID: req.GetRequestId(),
		field: "vpn_connection", value: req.GetVpnConnection(), prepare: prepareVpnConnection,
	})
}

func prepareVpnConnection(ctx context.Context, c *change, conn *pb.VpnConnection) error {
	conn.State = pb.VpnConnection_PENDING
	vpc, err := reference(ctx, c, resource.Vpcs, "vpc", &conn.Vpc)
	if err != nil {
		return err
	}
	if _, err := reference(ctx, c, resource.CustomerGateways, "customer_gateway", &conn.CustomerGateway); err != nil {
		return err
	}
	if err := c.checkRoutes(ctx, nil, conn, vpc.Value); err != nil {
		return err
	}
	zones := c.zonesOf(vpc.Value.GetRegion())
	if len(zones) == 0 {
		c.wrong.Add(c.path("vpc"), "lies in region %s, which is not served here", vpc.Value.GetRegion())
		return errViolations
	}
	return c.addTunnels(ctx, conn, zones)
}

// addTunnels gives a connection its two tunnels, in two zones where the region has them.
func (c *change) addTunnels(ctx context.Context, conn *pb.VpnConnection, zones []string) error {
	pool, err := readInsidePool(ctx, c.store, conn.GetVpc())
	if err != nil {
		return err
	}
	for n := range 2 {
		addr, err := pool.take(allocationSkip(c.name, c.try))
		if err != nil {
			return insideExhausted(conn.GetVpc())
		}
		conn.Tunnels = append(conn.Tunnels, &pb.Tunnel{
			Name:             c.name + "/tunnels/" + strconv.Itoa(n+1),
			AvailabilityZone: zones[n%len(zones)],
			IpAddress:        addr.String(),
		})
	}
	return nil
}

// checkRoutes refuses routes that overlap the VPC or another connection to it, also one made at this
// moment: an address must lead to one place.
func (c *change) checkRoutes(ctx context.Context, before, conn *pb.VpnConnection, vpc *pb.Vpc) error {
	var routes []netip.Prefix
	for n, text := range conn.GetStaticRoutes() {
		route, ok := checkPrefix(&c.wrong, c.path("static_routes")+"["+strconv.Itoa(n)+"]", text, routeShortest, routeLongest)
		if ok {
			routes = append(routes, route)
		}
	}
	if c.wrong.Len() > 0 {
		return errViolations
	}
	if err := c.within(ctx, quotaStaticRoutes, c.name, len(before.GetStaticRoutes()), len(routes)); err != nil {
		return err
	}
	if err := c.noOverlap(routes, conn.GetVpc(), vpc.GetCidrBlock()); err != nil {
		return err
	}
	account := resource.AccountName(resource.Account(c.name))
	others, revision, err := resource.VpnConnections.ReadAll(ctx, c.store, account)
	if err != nil {
		return err
	}
	resource.VpnConnections.RequireUnchanged(c.tx, account, revision)
	for _, other := range others {
		o := other.Message.(*pb.VpnConnection)
		if other.Name == c.name || o.GetVpc() != conn.GetVpc() {
			continue
		}
		if err := c.noOverlap(routes, other.Name, o.GetStaticRoutes()...); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) noOverlap(routes []netip.Prefix, other string, taken ...string) error {
	for _, text := range taken {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("stored %s: %w", other, err)
		}
		for _, route := range routes {
			if route.Overlaps(p) {
				return cidrOverlap(resource.VpnConnections.Info, c.name, route.String(), other, text)
			}
		}
	}
	return nil
}

func (s *vpnConnections) UpdateVpnConnection(ctx context.Context, req *pb.UpdateVpnConnectionRequest) (*pb.VpnConnection, error) {
	return update(ctx, s.kernel, resource.VpnConnections, alteration[*pb.VpnConnection]{
		field: "vpn_connection", value: req.GetVpnConnection(), mask: req.GetUpdateMask(),
		prepare: func(ctx context.Context, c *change, before, after *pb.VpnConnection) error {
			vpc, err := resource.Vpcs.Get(ctx, c.store, after.GetVpc())
			if err != nil {
				return err
			}
			return c.checkRoutes(ctx, before, after, vpc.Value)
		},
	})
}

func (s *vpnConnections) DeleteVpnConnection(ctx context.Context, req *pb.DeleteVpnConnectionRequest) (*emptypb.Empty, error) {
	return remove(ctx, s.kernel, resource.VpnConnections, req.GetName(), req.GetEtag())
}
