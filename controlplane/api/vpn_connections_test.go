package api

import (
	"fmt"
	"net/netip"
	"testing"

	"google.golang.org/grpc/codes"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

func (l *lab) site(id string) *pb.CustomerGateway {
	l.t.Helper()
	site, err := l.vpns().CreateCustomerGateway(l.as(l.a), &pb.CreateCustomerGatewayRequest{
		CustomerGatewayId: id, CustomerGateway: &pb.CustomerGateway{PublicKey: newKey()},
	})
	must(l.t, err)
	return site
}

func (l *lab) vpn(id, vpc, site string, routes ...string) (*pb.VpnConnection, error) {
	return l.vpns().CreateVpnConnection(l.as(l.a), &pb.CreateVpnConnectionRequest{
		VpnConnectionId: id, VpnConnection: &pb.VpnConnection{Vpc: vpc, CustomerGateway: site, StaticRoutes: routes},
	})
}

func TestVpnConnectionHasTwoTunnels(t *testing.T) {
	l := newLab(t)
	vpc := l.vpc(l.a, "prod", "10.0.0.0/16")
	site := l.site("hq")
	conn, err := l.vpn("hq", "vpcs/prod", site.GetUid(), "192.168.0.0/24", "192.168.0.128/25")
	must(t, err)
	if conn.GetVpc() != vpc.GetName() || conn.GetCustomerGateway() != site.GetName() {
		t.Errorf("references are not full names: %v", conn)
	}
	want := []string{
		conn.GetName() + "/tunnels/1 us-east-1a 169.254.0.6",
		conn.GetName() + "/tunnels/2 us-east-1b 169.254.0.10",
	}
	var got []string
	for _, tunnel := range conn.GetTunnels() {
		got = append(got, fmt.Sprintf("%s %s %s", tunnel.GetName(), tunnel.GetAvailabilityZone(), tunnel.GetIpAddress()))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("tunnels %v, want %v", got, want)
	}
	_, err = l.vpns().DeleteCustomerGateway(l.as(l.a), &pb.DeleteCustomerGatewayRequest{Name: "customerGateways/hq"})
	wantError(t, err, codes.FailedPrecondition, "HAS_CHILDREN", conn.GetName())
	_, err = l.vpns().DeleteVpnConnection(l.as(l.a), &pb.DeleteVpnConnectionRequest{Name: conn.GetUid()})
	must(t, err)
	_, err = l.vpns().DeleteCustomerGateway(l.as(l.a), &pb.DeleteCustomerGatewayRequest{Name: "customerGateways/hq"})
	wantError(t, err, codes.FailedPrecondition, "HAS_CHILDREN")
	must(t, resource.VpnConnections.Purge(t.Context(), sharedStore, conn.GetName()))
	_, err = l.vpns().DeleteCustomerGateway(l.as(l.a), &pb.DeleteCustomerGatewayRequest{Name: "customerGateways/hq"})
	must(t, err)
	_, err = l.vpns().GetCustomerGateway(l.as(l.a), &pb.GetCustomerGatewayRequest{Name: site.GetUid()})
	wantError(t, err, codes.NotFound, "CUSTOMER_GATEWAY_NOT_FOUND")
}

func TestBothTunnelsShareTheOnlyZone(t *testing.T) {
	l := newLab(t)
	_, err := l.vpcs().CreateVpc(l.as(l.a), &pb.CreateVpcRequest{VpcId: "eu", Vpc: &pb.Vpc{Region: "eu-west-1", CidrBlock: "10.0.0.0/16"}})
	must(t, err)
	conn, err := l.vpn("hq", "vpcs/eu", l.site("hq").GetName(), "192.168.0.0/24")
	must(t, err)
	for _, tunnel := range conn.GetTunnels() {
		if tunnel.GetAvailabilityZone() != "eu-west-1a" {
			t.Errorf("tunnel %v", tunnel)
		}
	}
}

func TestStaticRouteRules(t *testing.T) {
	l := newLab(t)
	l.vpc(l.a, "prod", "10.0.0.0/16")
	l.vpc(l.a, "test", "10.0.0.0/16")
	hq := l.site("hq")
	_, err := l.vpn("hq", "vpcs/prod", hq.GetName(), "192.168.0.0/16")
	must(t, err)
	cases := []struct {
		name   string
		routes []string
		fields []string
		texts  []string
	}{
		{"OK", []string{"172.16.0.0/12", "8.8.8.8/32"}, nil, nil},
		{"bad none", nil, []string{"vpn_connection.static_routes"}, nil},
		{"bad default route", []string{"0.0.0.0/0"}, []string{"vpn_connection.static_routes[0]"}, nil},
		{"bad host bits", []string{"172.16.0.0/16", "172.17.0.1/16"}, []string{"vpn_connection.static_routes[1]"}, nil},
		{"bad two", []string{"x", "127.0.0.0/8"}, []string{"vpn_connection.static_routes[0]", "vpn_connection.static_routes[1]"}, nil},
		{"bad link-local", []string{"169.254.0.0/24"}, []string{"vpn_connection.static_routes[0]"}, nil},
		{"bad overlaps the VPC", []string{"10.0.3.0/24"}, nil, []string{"10.0.3.0/24", "10.0.0.0/16"}},
		{"bad contains the VPC", []string{"10.0.0.0/8"}, nil, []string{"10.0.0.0/8", "10.0.0.0/16"}},
		{"bad overlaps another site", []string{"198.51.100.0/24", "192.168.7.0/24"}, nil, []string{"192.168.7.0/24", "vpnConnections/hq"}},
	}
	for n, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			conn, err := l.vpn(fmt.Sprintf("c%d", n), "vpcs/prod", l.site(fmt.Sprintf("s%d", n)).GetName(), tc.routes...)
			switch {
			case tc.fields != nil:
				wantField(t, err, tc.fields...)
			case tc.texts != nil:
				wantError(t, err, codes.FailedPrecondition, "CIDR_OVERLAP", tc.texts...)
			default:
				must(t, err)
				if len(conn.GetStaticRoutes()) != len(tc.routes) {
					t.Errorf("created %v", conn)
				}
			}
		})
	}
	_, err = l.vpn("again", "vpcs/prod", hq.GetName(), "198.51.100.0/24")
	wantError(t, err, codes.FailedPrecondition, "SITE_CONNECTED", "vpnConnections/hq")
	_, err = l.vpn("elsewhere", "vpcs/test", hq.GetName(), "192.168.0.0/16")
	must(t, err)
	_, err = l.vpns().UpdateVpnConnection(l.as(l.a), &pb.UpdateVpnConnectionRequest{
		VpnConnection: &pb.VpnConnection{Name: "vpnConnections/c0", StaticRoutes: []string{"192.168.1.0/24"}},
	})
	wantError(t, err, codes.FailedPrecondition, "CIDR_OVERLAP", "192.168.1.0/24")
	got, err := l.vpns().UpdateVpnConnection(l.as(l.a), &pb.UpdateVpnConnectionRequest{
		VpnConnection: &pb.VpnConnection{
			Name: "vpnConnections/c0", Vpc: "vpcs/prod", CustomerGateway: "customerGateways/s0", StaticRoutes: []string{"172.16.0.0/13"},
		},
	})
	must(t, err)
	if fmt.Sprint(got.GetStaticRoutes()) != "[172.16.0.0/13]" || len(got.GetTunnels()) != 2 {
		t.Errorf("updated to %v", got)
	}
	_, err = l.vpns().UpdateVpnConnection(l.as(l.a), &pb.UpdateVpnConnectionRequest{
		VpnConnection: &pb.VpnConnection{Name: "vpnConnections/c0", Vpc: "vpcs/test"},
	})
	wantField(t, err, "vpn_connection.vpc")
}

func TestOverlappingSitesAtOnce(t *testing.T) {
	l := newLab(t)
	l.vpc(l.a, "prod", "10.0.0.0/16")
	for n := range 20 {
		l.site(fmt.Sprintf("s%d", n))
	}
	counts := atOnce(20, func(n int) error {
		_, err := l.vpn(fmt.Sprintf("c%d", n), "vpcs/prod", fmt.Sprintf("customerGateways/s%d", n), "192.168.0.0/16")
		return err
	})
	wantCounts(t, counts, map[codes.Code]int{codes.OK: 1, codes.FailedPrecondition: 19})
}

func TestInsidePool(t *testing.T) {
	pool := newInsidePool()
	if got := pool.slots.free(); got != 1<<14-7 {
		t.Errorf("%d prefixes free, want all but seven", got)
	}
	pool.mark(netip.MustParseAddr("169.254.0.14"))
	seen := map[netip.Addr]bool{}
	for {
		addr, err := pool.take(0)
		if err != nil {
			break
		}
		prefix := netip.PrefixFrom(addr, 30).Masked()
		if addr != prefix.Addr().Next().Next() || seen[addr] || addr == netip.MustParseAddr("169.254.0.14") {
			t.Fatalf("gave %v", addr)
		}
		for _, not := range insideReserved {
			if not.Overlaps(prefix) {
				t.Fatalf("gave %v of the reserved %v", addr, not)
			}
		}
		seen[addr] = true
	}
	if len(seen) != 1<<14-8 {
		t.Errorf("gave %d prefixes", len(seen))
	}
}
