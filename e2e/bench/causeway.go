package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"causeway/e2e/lab"
	causewayv1 "causeway/proto/causeway/v1"
)

// causeway is the daemon as it ships, set up as an administrator would.
type causeway struct{}

func (causeway) name() string { return ours }

// causewayConf serves one zone and lets targets be on the wire to the backend.
const causewayConf = `data_dir: %[1]s/data
zones:
  - {region: bench, zone: bench-a}
api:
  socket: %[1]s/api.sock
wireguard:
  advertise: %[2]s
underlay:
  allow: [%[3]s]
`

func (causeway) start(r *rig) service {
	dir := r.lab.Dir()
	daemon := r.gateway.Daemon(lab.DaemonConfig{YAML: fmt.Sprintf(causewayConf, dir, r.access, backendWire)})
	conn, err := grpc.NewClient("unix:"+filepath.Join(dir, "api.sock"),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		r.report.Fatalf("open API: %v", err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(r.lab.Context(), time.Minute)
	defer cancel()
	s, err := provision(ctx, conn, r)
	if err != nil {
		r.report.Fatalf("provision causeway: %v", err)
	}
	s.pids = []int{daemon.PID()}
	return s
}

// provision makes a consumer with an attachment, a provider with the backend's two servers, and an
// endpoint between them. It returns when the endpoint serves.
func provision(ctx context.Context, conn *grpc.ClientConn, r *rig) (service, error) {
	if err := createVpc(ctx, conn, "consumer", "10.66.0.0/16", "10.66.0.0/24"); err != nil {
		return service{}, err
	}
	if err := createVpc(ctx, conn, "provider", "10.67.0.0/16", "10.67.0.0/24"); err != nil {
		return service{}, err
	}
	if err := publish(ctx, conn, r); err != nil {
		return service{}, err
	}
	s, err := attach(ctx, conn, r.clientKey.PublicKey())
	if err != nil {
		return service{}, err
	}
	addr, err := createEndpoint(ctx, conn)
	if err != nil {
		return service{}, err
	}
	for _, id := range []string{"iperf", "echo"} {
		if err := waitHealthy(ctx, causewayv1.NewLoadBalancersClient(conn), "targetGroups/"+id); err != nil {
			return service{}, err
		}
	}
	s.iperf, s.echo = netip.AddrPortFrom(addr, iperfPort), netip.AddrPortFrom(addr, echoPort)
	return s, nil
}

// createVpc makes a VPC with one subnet, "a".
func createVpc(ctx context.Context, conn *grpc.ClientConn, id, prefix, subnet string) error {
	vpcs := causewayv1.NewVpcsClient(conn)
	_, err := vpcs.CreateVpc(ctx, &causewayv1.CreateVpcRequest{
		VpcId: id, Vpc: &causewayv1.Vpc{Region: "bench", CidrBlock: prefix},
	})
	if err != nil {
		return fmt.Errorf("create VPC %q: %w", id, err)
	}
	_, err = vpcs.CreateSubnet(ctx, &causewayv1.CreateSubnetRequest{
		Parent: "vpcs/" + id, SubnetId: "a",
		Subnet: &causewayv1.Subnet{AvailabilityZone: "bench-a", CidrBlock: subnet},
	})
	if err != nil {
		return fmt.Errorf("create subnet of VPC %q: %w", id, err)
	}
	return nil
}

// publish makes an endpoint service of the backend's two servers.
func publish(ctx context.Context, conn *grpc.ClientConn, r *rig) error {
	balancers := causewayv1.NewLoadBalancersClient(conn)
	_, err := balancers.CreateLoadBalancer(ctx, &causewayv1.CreateLoadBalancerRequest{
		LoadBalancerId: "backend",
		LoadBalancer:   &causewayv1.LoadBalancer{Subnets: []string{"vpcs/provider/subnets/a"}},
	})
	if err != nil {
		return fmt.Errorf("create load balancer: %w", err)
	}
	for id, server := range map[string]netip.AddrPort{"iperf": r.iperf, "echo": r.echo} {
		if err := listen(ctx, balancers, id, server); err != nil {
			return fmt.Errorf("create listener %q: %w", id, err)
		}
	}
	_, err = causewayv1.NewEndpointServicesClient(conn).CreateEndpointService(ctx,
		&causewayv1.CreateEndpointServiceRequest{
			EndpointServiceId: "backend",
			EndpointService:   &causewayv1.EndpointService{LoadBalancers: []string{"loadBalancers/backend"}},
		})
	if err != nil {
		return fmt.Errorf("create endpoint service: %w", err)
	}
	return nil
}

// listen has the load balancer serve a server's port.
func listen(ctx context.Context, balancers causewayv1.LoadBalancersClient, id string, server netip.AddrPort) error {
	_, err := balancers.CreateTargetGroup(ctx, &causewayv1.CreateTargetGroupRequest{
		TargetGroupId: id,
		TargetGroup: &causewayv1.TargetGroup{
			Vpc: "vpcs/provider", Port: int32(server.Port()),
			// iperf3 serves one client at a time: a check of its own port would disturb a measurement.
			HealthCheck: &causewayv1.HealthCheck{Protocol: causewayv1.HealthCheck_TCP, Port: echoPort},
		},
	})
	if err != nil {
		return err
	}
	_, err = balancers.RegisterTargets(ctx, &causewayv1.RegisterTargetsRequest{
		Name:    "targetGroups/" + id,
		Targets: []*causewayv1.Target{{IpAddress: server.Addr().String()}},
	})
	if err != nil {
		return err
	}
	_, err = balancers.CreateListener(ctx, &causewayv1.CreateListenerRequest{
		Parent: "loadBalancers/backend",
		Listener: &causewayv1.Listener{
			Port: int32(server.Port()), Protocol: causewayv1.Listener_TCP, TargetGroup: "targetGroups/" + id,
		},
	})
	return err
}

// attach gives the client a place in the consumer's VPC.
func attach(ctx context.Context, conn *grpc.ClientConn, key wgtypes.Key) (service, error) {
	vpcs := causewayv1.NewVpcsClient(conn)
	a, err := vpcs.CreateAttachment(ctx, &causewayv1.CreateAttachmentRequest{
		Parent: "vpcs/consumer/subnets/a", AttachmentId: "client",
		Attachment: &causewayv1.Attachment{PublicKey: key.String()},
	})
	if err != nil {
		return service{}, fmt.Errorf("create attachment: %w", err)
	}
	err = until(ctx, "attachment", func() (done bool, err error) {
		a, err = vpcs.GetAttachment(ctx, &causewayv1.GetAttachmentRequest{Name: a.GetName()})
		return a.GetState() == causewayv1.Attachment_AVAILABLE, err
	})
	if err != nil {
		return service{}, err
	}
	s := service{peer: lab.WireGuardPeer{Endpoint: a.GetGateway().GetEndpoint()}}
	var errs [2]error
	s.peer.PublicKey, errs[0] = wgtypes.ParseKey(a.GetGateway().GetPublicKey())
	s.address, errs[1] = netip.ParsePrefix(a.GetIpAddress() + "/32")
	if err := errors.Join(errs[:]...); err != nil {
		return service{}, fmt.Errorf("read attachment: %w", err)
	}
	for _, text := range a.GetGateway().GetAllowedIps() {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return service{}, fmt.Errorf("read attachment: %w", err)
		}
		s.peer.AllowedIPs = append(s.peer.AllowedIPs, prefix)
	}
	return s, nil
}

// createEndpoint makes the consumer's endpoint and returns its address.
func createEndpoint(ctx context.Context, conn *grpc.ClientConn) (netip.Addr, error) {
	endpoints := causewayv1.NewEndpointsClient(conn)
	e, err := endpoints.CreateEndpoint(ctx, &causewayv1.CreateEndpointRequest{
		Parent: "vpcs/consumer", EndpointId: "backend",
		Endpoint: &causewayv1.Endpoint{
			ServiceName: "endpointServices/backend", Subnets: []string{"vpcs/consumer/subnets/a"},
		},
	})
	if err != nil {
		return netip.Addr{}, fmt.Errorf("create endpoint: %w", err)
	}
	err = until(ctx, "endpoint", func() (done bool, err error) {
		e, err = endpoints.GetEndpoint(ctx, &causewayv1.GetEndpointRequest{Name: e.GetName()})
		return e.GetState() == causewayv1.Endpoint_AVAILABLE && len(e.GetNetworkInterfaces()) > 0, err
	})
	if err != nil {
		return netip.Addr{}, err
	}
	return netip.ParseAddr(e.GetNetworkInterfaces()[0].GetIpAddress())
}

// waitHealthy waits until every target of a group is healthy.
func waitHealthy(ctx context.Context, balancers causewayv1.LoadBalancersClient, group string) error {
	return until(ctx, "targets of "+group, func() (bool, error) {
		health, err := balancers.ListTargetHealth(ctx, &causewayv1.ListTargetHealthRequest{Name: group})
		for _, target := range health.GetTargetHealth() {
			if target.GetState() != causewayv1.TargetHealth_HEALTHY {
				return false, err
			}
		}
		return len(health.GetTargetHealth()) > 0, err
	})
}

// until polls check until it says done, says an error, or ctx ends.
func until(ctx context.Context, what string, check func() (done bool, err error)) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		done, err := check()
		if done || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		}
	}
}
