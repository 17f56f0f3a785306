package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"causeway/e2e/userspace"
	pb "causeway/proto/causeway/v1"
)

// shop makes two VPCs with the same addresses, a service that an attachment of the one serves, and
// an endpoint of it in the other.
type shop struct {
	*site
	conn         *grpc.ClientConn
	web, app     wgtypes.Key
	peers        []*userspace.Peer
	consumer     *userspace.Peer
	endpointAddr string
}

const greeting = "hello from a private service"

func openShop(s *site) *shop {
	s.t.Helper()
	shop := &shop{site: s, conn: s.dialSocket(), web: newKey(s.t), app: newKey(s.t)}
	for _, vpc := range []string{"prod", "partner"} {
		must(s, pb.NewVpcsClient(shop.conn).CreateVpc, &pb.CreateVpcRequest{
			VpcId: vpc, Vpc: &pb.Vpc{Region: "us-east-1", CidrBlock: "10.0.0.0/16"},
		})
		must(s, pb.NewVpcsClient(shop.conn).CreateSubnet, &pb.CreateSubnetRequest{
			Parent: "vpcs/" + vpc, SubnetId: "a",
			Subnet: &pb.Subnet{AvailabilityZone: "us-east-1a", CidrBlock: "10.0.1.0/24"},
		})
	}
	for id, key := range map[string]wgtypes.Key{"prod": shop.app, "partner": shop.web} {
		must(s, pb.NewVpcsClient(shop.conn).CreateAttachment, &pb.CreateAttachmentRequest{
			Parent: "vpcs/" + id + "/subnets/a", AttachmentId: "app",
			Attachment: &pb.Attachment{PublicKey: key.PublicKey().String()},
		})
	}
	shop.publish()
	endpoint := must(s, pb.NewEndpointsClient(shop.conn).CreateEndpoint, &pb.CreateEndpointRequest{
		Parent: "vpcs/prod", EndpointId: "orders",
		Endpoint: &pb.Endpoint{ServiceName: "endpointServices/orders", Subnets: []string{"vpcs/prod/subnets/a"}},
	})
	shop.endpointAddr = endpoint.GetNetworkInterfaces()[0].GetIpAddress()
	return shop
}

func (s *shop) publish() {
	s.t.Helper()
	balancers := pb.NewLoadBalancersClient(s.conn)
	must(s.site, balancers.CreateTargetGroup, &pb.CreateTargetGroupRequest{
		TargetGroupId: "orders",
		TargetGroup: &pb.TargetGroup{Vpc: "vpcs/partner", Port: 8080, HealthCheck: &pb.HealthCheck{
			Interval: durationpb.New(5 * time.Second), Timeout: durationpb.New(2 * time.Second),
		}},
	})
	must(s.site, balancers.RegisterTargets, &pb.RegisterTargetsRequest{
		Name: "targetGroups/orders", Targets: []*pb.Target{{IpAddress: "10.0.1.4"}},
	})
	must(s.site, balancers.CreateLoadBalancer, &pb.CreateLoadBalancerRequest{
		LoadBalancerId: "orders", LoadBalancer: &pb.LoadBalancer{Subnets: []string{"vpcs/partner/subnets/a"}},
	})
	must(s.site, balancers.CreateListener, &pb.CreateListenerRequest{
		Parent:   "loadBalancers/orders",
		Listener: &pb.Listener{Port: 80, Protocol: pb.Listener_TCP, TargetGroup: "targetGroups/orders"},
	})
	must(s.site, pb.NewEndpointServicesClient(s.conn).CreateEndpointService, &pb.CreateEndpointServiceRequest{
		EndpointServiceId: "orders",
		EndpointService:   &pb.EndpointService{LoadBalancers: []string{"loadBalancers/orders"}},
	})
}

// connect has both attachments connect, the provider's serving HTTP.
func (s *shop) connect() {
	s.t.Helper()
	provider := s.attach("partner", s.web)
	s.consumer = s.attach("prod", s.app)
	listener, err := provider.Net.ListenTCP(&net.TCPAddr{Port: 8080})
	if err != nil {
		s.t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, greeting)
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	s.t.Cleanup(func() {
		_ = server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			s.t.Errorf("serve: %v", err)
		}
		for _, p := range s.peers {
			p.Close()
		}
	})
}

func (s *shop) attach(vpc string, key wgtypes.Key) *userspace.Peer {
	s.t.Helper()
	var a *pb.Attachment
	s.eventually("attachment of "+vpc, func() (err error) {
		a, err = pb.NewVpcsClient(s.conn).GetAttachment(s.t.Context(), &pb.GetAttachmentRequest{
			Name: "vpcs/" + vpc + "/subnets/a/attachments/app",
		})
		if err == nil && a.GetState() != pb.Attachment_AVAILABLE {
			err = fmt.Errorf("%v: %s", a.GetState(), a.GetStateMessage())
		}
		return err
	})
	peer, err := userspace.Connect(key, a.GetIpAddress(), a.GetGateway(), conn.NewDefaultBind())
	if err != nil {
		s.t.Fatal(err)
	}
	s.peers = append(s.peers, peer)
	return peer
}

// fetch gets the service's page through the endpoint, from inside the consumer's tunnel.
func (s *shop) fetch() error {
	client := &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{
		DialContext: s.consumer.Net.DialContext, DisableKeepAlives: true,
	}}
	resp, err := client.Get("http://" + s.endpointAddr + "/")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && string(body) != greeting {
		err = fmt.Errorf("got %q", body)
	}
	return err
}

// durable gives what must survive: names, uids, addresses, keys and endpoints.
func (s *shop) durable() []byte {
	s.t.Helper()
	var text bytes.Buffer
	for _, vpc := range []string{"prod", "partner"} {
		a := must(s.site, pb.NewVpcsClient(s.conn).GetAttachment, &pb.GetAttachmentRequest{
			Name: "vpcs/" + vpc + "/subnets/a/attachments/app",
		})
		a.LastHandshakeTime = nil
		fmt.Fprintln(&text, encode(s.t, a))
	}
	e := must(s.site, pb.NewEndpointsClient(s.conn).GetEndpoint, &pb.GetEndpointRequest{Name: "vpcs/prod/endpoints/orders"})
	for _, ni := range e.GetNetworkInterfaces() {
		ni.Bandwidth, ni.ActiveFlows = nil, 0
	}
	fmt.Fprintln(&text, encode(s.t, e))
	fmt.Fprintln(&text, encode(s.t, must(s.site, pb.NewLoadBalancersClient(s.conn).ListListeners, &pb.ListListenersRequest{Parent: "loadBalancers/orders"})))
	return text.Bytes()
}

func encode(t *testing.T, m proto.Message) string {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", b)
}

func newKey(t *testing.T) wgtypes.Key {
	t.Helper()
	key, err := wgtypes.GeneratePrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func must[Q, A any](s *site, call func(context.Context, Q, ...grpc.CallOption) (A, error), request Q) A {
	s.t.Helper()
	answer, err := call(s.t.Context(), request)
	if err != nil {
		s.t.Fatalf("%T: %v", request, err)
	}
	return answer
}

// TestStory is the daemon's life as its administrator knows it.
func TestStory(t *testing.T) {
	s := newSite(t)
	daemon := s.start()
	shop := openShop(s)
	shop.connect()
	s.eventually("fetch through the endpoint", shop.fetch)
	shop.checkTLS()
	shop.checkFiles()

	s.eventually("where the peers are is on disk", func() error {
		saved, err := filepath.Glob(filepath.Join(s.dir, "data", "gateway", "peers", "*.endpoints.json"))
		if err == nil && len(saved) != 2 {
			err = fmt.Errorf("of two peers, %q are", saved)
		}
		return err
	})
	before := shop.durable()
	if err := daemon.end(syscall.SIGKILL); err == nil {
		t.Error("SIGKILL ended the daemon in order")
	}
	daemon = s.start()
	s.eventually("the same resources", func() error {
		if after := shop.durable(); !bytes.Equal(before, after) {
			return fmt.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
		return nil
	})
	s.eventually("fetch after the restart", shop.fetch)

	status, metrics := s.get("/metrics")
	for _, want := range []string{
		"causeway_grpc_server_handled_total", "causeway_store_operation_duration_seconds_bucket", "causeway_spec_revision", "go_goroutines",
	} {
		if status != http.StatusOK || !strings.Contains(metrics, want) {
			t.Errorf("/metrics, status %d, lacks %s", status, want)
		}
	}
	if err := daemon.end(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
	if _, err := os.Stat(s.socket); err == nil {
		t.Error("the socket is left behind")
	}
}

func (s *shop) checkTLS() {
	s.t.Helper()
	ctx := s.t.Context()
	token := must(s.site, pb.NewAccountsClient(s.conn).CreateToken, &pb.CreateTokenRequest{
		TokenId: "viewer", Token: &pb.Token{Role: pb.Token_VIEWER},
	})
	viewer := s.dialTLS(token.GetSecret())
	if list := must(s.site, pb.NewVpcsClient(viewer).ListVpcs, &pb.ListVpcsRequest{}); len(list.GetVpcs()) != 2 {
		s.t.Errorf("over TLS there are VPCs %v, want two", list.GetVpcs())
	}
	_, err := pb.NewVpcsClient(viewer).DeleteVpc(ctx, &pb.DeleteVpcRequest{Name: "vpcs/prod"})
	if status.Code(err) != codes.PermissionDenied {
		s.t.Errorf("a viewer deletes: %v", err)
	}
	for _, wrong := range []string{"", "cwt_x", token.GetSecret() + "x"} {
		nobody := s.dialTLS(wrong)
		if _, err := pb.NewVpcsClient(nobody).ListVpcs(ctx, &pb.ListVpcsRequest{}); status.Code(err) != codes.Unauthenticated {
			s.t.Errorf("token %q: %v", wrong, err)
		}
		if _, err := grpc_health_v1.NewHealthClient(nobody).Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil {
			s.t.Errorf("health without a token: %v", err)
		}
	}
}

// checkFiles wants secrets for nobody else's eyes.
func (s *shop) checkFiles() {
	s.t.Helper()
	for path, want := range map[string]os.FileMode{
		"data": 0o700, "data/tls/ca.key": 0o600, "data/tls/server.key": 0o600, "run/api.sock": 0o660,
	} {
		info, err := os.Stat(filepath.Join(s.dir, path))
		if err != nil {
			s.t.Error(err)
		} else if got := info.Mode().Perm(); got != want {
			s.t.Errorf("%s has mode %v, want %v", path, got, want)
		}
	}
}

// TestInProcess starts and ends the daemon here, where leaks and races show.
func TestInProcess(t *testing.T) {
	s := newSite(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, []string{"--config", s.config}, io.Discard) }()
	s.awaitReady()
	shop := openShop(s)
	shop.connect()
	s.eventually("fetch through the endpoint", shop.fetch)
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the daemon does not end")
	}
}

func TestRunRefuses(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("zone: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"bad key", []string{"--config", bad}, "zone"},
		{"bad file", []string{"--config", bad + "x"}, "no such file"},
		{"bad flag", []string{"--x"}, "not defined"},
		{"bad argument", []string{"x"}, "unexpected argument"},
		{"bad level", []string{"--log-level", "loud"}, "log-level"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := run(t.Context(), tt.args, io.Discard); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}
