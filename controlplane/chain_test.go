package controlplane

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionalpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"

	"causeway/controlplane/api"
	pb "causeway/proto/causeway/v1"
)

func containsAll(text string, all []string) bool {
	for _, part := range all {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

func TestSocketCallerIsTheOperator(t *testing.T) {
	var got api.Caller
	r := startRig(t, &services{vpcs: vpcs{get: func(ctx context.Context, _ string) (*pb.Vpc, error) {
		got, _ = api.CallerFrom(ctx)
		return &pb.Vpc{}, nil
	}}}, nil)
	if _, err := pb.NewVpcsClient(r.socket()).GetVpc(t.Context(), &pb.GetVpcRequest{}); err != nil {
		t.Fatal(err)
	}
	if got.Account != api.DefaultAccount || !got.Operator || got.Role != pb.Token_ADMIN || !strings.HasPrefix(got.Name, "unix socket") {
		t.Errorf("caller %+v", got)
	}
}

func TestPanicTellsNothing(t *testing.T) {
	r := startRig(t, &services{vpcs: vpcs{get: func(context.Context, string) (*pb.Vpc, error) { panic("secret plan") }}}, nil)
	var header metadata.MD
	_, err := pb.NewVpcsClient(r.socket()).GetVpc(t.Context(), &pb.GetVpcRequest{}, grpc.Header(&header))
	st := status.Convert(err)
	if st.Code() != codes.Internal || strings.Contains(st.Message(), "secret") {
		t.Errorf("a panic shows as %v", err)
	}
	id := header.Get(requestIDHeader)
	if len(id) != 1 || !strings.Contains(st.Message(), id[0]) {
		t.Errorf("request id %q, message %q", id, st.Message())
	}
	r.await("api call failed", "secret plan", id[0])
}

func TestErrorIsMapped(t *testing.T) {
	r := startRig(t, &services{vpcs: vpcs{get: func(context.Context, string) (*pb.Vpc, error) {
		return nil, errors.New("disk /dev/sda on fire")
	}}}, nil)
	_, err := pb.NewVpcsClient(r.socket()).GetVpc(t.Context(), &pb.GetVpcRequest{})
	if st := status.Convert(err); st.Code() != codes.Internal || strings.Contains(st.Message(), "sda") {
		t.Errorf("an error shows as %v", err)
	}
	r.await("api call failed", "/dev/sda")
}

// raw is a codec that sends bytes as they are.
type raw struct{}

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}
func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}
func (raw) Name() string { return "proto" }

func TestHostileMessages(t *testing.T) {
	r := startRig(t, &services{}, nil)
	tests := []struct {
		name, method string
		message      []byte
		want         codes.Code
	}{
		{"bad wire type", "/causeway.v1.Vpcs/GetVpc", []byte{0x0f}, codes.InvalidArgument},
		{"bad truncated", "/causeway.v1.Vpcs/GetVpc", []byte{0x0a, 0x7f}, codes.InvalidArgument},
		{"bad UTF-8", "/causeway.v1.Vpcs/GetVpc", []byte{0x0a, 0x01, 0xff}, codes.InvalidArgument},
		{"bad too large", "/causeway.v1.Vpcs/GetVpc", append([]byte{0x0a, 0x80, 0x80, 0x80, 0x01}, make([]byte, 1<<21)...), codes.ResourceExhausted},
		{"bad for the schema", "/causeway.v1.Vpcs/GetVpc", []byte{0x0a, 0x03, 'b', 'a', 'd'}, codes.InvalidArgument},
		{"bad method", "/causeway.v1.Vpcs/Nothing", nil, codes.Unimplemented},
		{"bad service", "/x/Y", nil, codes.Unimplemented},
		{"bad health request", "/grpc.health.v1.Health/Check", []byte{0x0f}, codes.InvalidArgument},
		{"OK", "/causeway.v1.Vpcs/GetVpc", nil, codes.OK},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var answer []byte
			err := r.socket().Invoke(t.Context(), tt.method, tt.message, &answer, grpc.ForceCodecV2(raw{}))
			if status.Code(err) != tt.want {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
}

func TestUndecodableMessageStillNeedsACredential(t *testing.T) {
	r := startRig(t, &services{}, nil)
	var answer []byte
	err := r.tls("").Invoke(t.Context(), "/causeway.v1.Vpcs/GetVpc", []byte{0x0f}, &answer, grpc.ForceCodecV2(raw{}))
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("%v, want UNAUTHENTICATED", err)
	}
	r.await("audit.method=/causeway.v1.Vpcs/GetVpc", "audit.code=Unauthenticated")
}

func TestRateLimit(t *testing.T) {
	r := startRig(t, &services{}, func(c *Config) { c.Rate, c.Burst = 0.001, 3 })
	client := pb.NewVpcsClient(r.tls("viewer"))
	for range 3 {
		if _, err := client.GetVpc(t.Context(), &pb.GetVpcRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := client.GetVpc(t.Context(), &pb.GetVpcRequest{})
	st := status.Convert(err)
	if st.Code() != codes.ResourceExhausted {
		t.Fatalf("fourth of three calls: %v", err)
	}
	var retry time.Duration
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			retry = info.GetRetryDelay().AsDuration()
		}
	}
	if retry <= 0 {
		t.Errorf("no RetryInfo in %v", st.Details())
	}
	if _, err := pb.NewVpcsClient(r.tls("admin")).GetVpc(t.Context(), &pb.GetVpcRequest{}); err != nil {
		t.Errorf("another caller: %v", err)
	}
}

func TestAuditLine(t *testing.T) {
	r := startRig(t, &services{}, nil)
	ctx := metadata.AppendToOutgoingContext(t.Context(), requestIDHeader, "my-id-1")
	var header metadata.MD
	if _, err := pb.NewVpcsClient(r.tls("viewer")).GetVpc(ctx, &pb.GetVpcRequest{Name: "vpcs/prod"}, grpc.Header(&header)); err != nil {
		t.Fatal(err)
	}
	if got := header.Get(requestIDHeader); len(got) != 1 || got[0] != "my-id-1" {
		t.Errorf("request id %q came back", got)
	}
	line := r.await("audit.caller=accounts/a/tokens/viewer", "audit.method=/causeway.v1.Vpcs/GetVpc",
		"audit.resource=vpcs/prod", "audit.code=OK", "audit.duration=", "audit.request_id=my-id-1")
	if strings.Contains(line, "Bearer") {
		t.Errorf("the line has a secret: %s", line)
	}
}

func TestResourceName(t *testing.T) {
	tests := []struct {
		request any
		want    string
	}{
		{&pb.GetVpcRequest{Name: "vpcs/a"}, "vpcs/a"},
		{&pb.CreateVpcRequest{VpcId: "a", RequestId: "x", Vpc: &pb.Vpc{Name: "ignored"}}, "a"},
		{&pb.CreateSubnetRequest{Parent: "vpcs/a", SubnetId: "s"}, "vpcs/a/s"},
		{&pb.UpdateVpcRequest{Vpc: &pb.Vpc{Name: "vpcs/a"}}, "vpcs/a"},
		{&pb.ListSubnetsRequest{Parent: "vpcs/a"}, "vpcs/a"},
		{&pb.CreateTokenRequest{TokenId: "t", Token: &pb.Token{Secret: "s"}}, "t"},
		{&pb.GetVpcRequest{Name: strings.Repeat("x", 600)}, strings.Repeat("x", 512)},
		{nil, ""},
	}
	for _, tt := range tests {
		if got := resourceName(tt.request); got != tt.want {
			t.Errorf("%T: %q, want %q", tt.request, got, tt.want)
		}
	}
}

func TestReflectionNeedsAToken(t *testing.T) {
	r := startRig(t, &services{}, nil)
	for token, want := range map[string]codes.Code{"": codes.Unauthenticated, "viewer": codes.OK} {
		stream, err := reflectionv1.NewServerReflectionClient(r.tls(token)).ServerReflectionInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_ = stream.Send(&reflectionv1.ServerReflectionRequest{
			MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{},
		})
		if _, err := stream.Recv(); status.Code(err) != want {
			t.Errorf("v1 with token %q: %v", token, err)
		}
		_ = stream.CloseSend()
		alpha, err := reflectionalpha.NewServerReflectionClient(r.tls(token)).ServerReflectionInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_ = alpha.Send(&reflectionalpha.ServerReflectionRequest{ //nolint:staticcheck // deprecated, and what older grpcurl speaks
			MessageRequest: &reflectionalpha.ServerReflectionRequest_ListServices{},
		})
		if _, err := alpha.Recv(); status.Code(err) != want {
			t.Errorf("v1alpha with token %q: %v", token, err)
		}
		_ = alpha.CloseSend()
	}
}

func TestHealthPassesItsOwnErrors(t *testing.T) {
	r := startRig(t, &services{}, nil)
	client := grpc_health_v1.NewHealthClient(r.tls(""))
	if resp, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil || resp.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", resp, err)
	}
	if _, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "x"}); status.Code(err) != codes.NotFound {
		t.Errorf("health of an unknown service: %v", err)
	}
}

func TestMetrics(t *testing.T) {
	r := startRig(t, &services{}, nil)
	if _, err := pb.NewVpcsClient(r.socket()).GetVpc(t.Context(), &pb.GetVpcRequest{}); err != nil {
		t.Fatal(err)
	}
	registry := newRegistry(t, r.server.Collector())
	if !bytes.Contains(registry, []byte(`causeway_grpc_server_handled_total{grpc_code="OK",grpc_method="GetVpc"`)) {
		t.Errorf("no metric of the call in\n%s", registry)
	}
}

func TestStopGivesCallsTime(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	r := startRig(t, &services{vpcs: vpcs{get: func(context.Context, string) (*pb.Vpc, error) {
		close(entered)
		<-leave
		return &pb.Vpc{Name: "done"}, nil
	}}}, nil)
	type result struct {
		vpc *pb.Vpc
		err error
	}
	answered := make(chan result, 1)
	client := pb.NewVpcsClient(r.socket())
	go func() {
		vpc, err := client.GetVpc(context.WithoutCancel(t.Context()), &pb.GetVpcRequest{})
		answered <- result{vpc, err}
	}()
	<-entered
	stopped := make(chan struct{})
	go func() { r.server.stop(); close(stopped) }()
	select {
	case <-stopped:
		t.Error("stopped with a call under way")
	case <-time.After(20 * time.Millisecond):
	}
	close(leave)
	<-stopped
	if got := <-answered; got.err != nil || got.vpc.GetName() != "done" {
		t.Errorf("the call under way got %v, %v", got.vpc, got.err)
	}
}
