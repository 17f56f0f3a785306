package controlplane

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"causeway/controlplane/api"
	"causeway/controlplane/apierr"
	pb "causeway/proto/causeway/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// vpcs is a service of which a test decides what it does.
type vpcs struct {
	pb.UnimplementedVpcsServer
	get func(ctx context.Context, name string) (*pb.Vpc, error)
}

func (v *vpcs) GetVpc(ctx context.Context, r *pb.GetVpcRequest) (*pb.Vpc, error) {
	return v.get(ctx, r.GetName())
}

// diagnostics is a service with a stream that does not end by itself.
type diagnostics struct {
	pb.UnimplementedDiagnosticsServer
}

// WatchFlows implements pb.DiagnosticsServer.
func (*diagnostics) WatchFlows(_ *pb.WatchFlowsRequest, stream grpc.ServerStreamingServer[pb.WatchFlowsResponse]) error {
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	<-stream.Context().Done()
	return stream.Context().Err()
}

// services register all of the API, of which only GetVpc is implemented.
type services struct {
	vpcs
	diagnostics
	register func(grpc.ServiceRegistrar) // in addition
}

func (s *services) Register(r grpc.ServiceRegistrar) {
	pb.RegisterVpcsServer(r, &s.vpcs)
	pb.RegisterAccountsServer(r, pb.UnimplementedAccountsServer{})
	pb.RegisterPeeringsServer(r, pb.UnimplementedPeeringsServer{})
	pb.RegisterLoadBalancersServer(r, pb.UnimplementedLoadBalancersServer{})
	pb.RegisterEndpointServicesServer(r, pb.UnimplementedEndpointServicesServer{})
	pb.RegisterEndpointsServer(r, pb.UnimplementedEndpointsServer{})
	pb.RegisterVpnConnectionsServer(r, pb.UnimplementedVpnConnectionsServer{})
	pb.RegisterGatewaysServer(r, pb.UnimplementedGatewaysServer{})
	pb.RegisterDiagnosticsServer(r, &s.diagnostics)
	if s.register != nil {
		s.register(r)
	}
}

var tokens = map[string]api.Caller{
	"viewer":   {Account: "a", Role: pb.Token_VIEWER, Name: "accounts/a/tokens/viewer"},
	"tunneler": {Account: "a", Role: pb.Token_TUNNEL_OPERATOR, Name: "accounts/a/tokens/tunneler"},
	"admin":    {Account: "a", Role: pb.Token_ADMIN, Name: "accounts/a/tokens/admin"},
	"operator": {Account: api.OperatorAccount, Operator: true, Role: pb.Token_ADMIN, Name: "accounts/operator/tokens/root"},
	"watcher":  {Account: api.OperatorAccount, Operator: true, Role: pb.Token_VIEWER, Name: "accounts/operator/tokens/watcher"},
	"nobody":   {Account: "a", Name: "a role that is not given"},
}

func (s *services) Authenticate(_ context.Context, token string) (api.Caller, error) {
	if caller, ok := tokens[token]; ok {
		return caller, nil
	}
	return api.Caller{}, api.ErrUnauthenticated
}

func (s *services) CheckRequest(m proto.Message) error {
	if r, ok := m.(*pb.GetVpcRequest); ok && r.GetName() == "bad" {
		return apierr.Invalid("name", "is bad")
	}
	return nil
}

// logs keeps what is logged.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// rig is a running server.
type rig struct {
	t      *testing.T
	dir    string
	server *Server
	logs   *logs
	stop   func() // the server, and waits for that
}

func startRig(t *testing.T, s *services, change func(*Config)) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "cw") //nolint:usetesting // t.TempDir is too long for the path of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if s.get == nil {
		s.get = func(context.Context, string) (*pb.Vpc, error) { return &pb.Vpc{}, nil }
	}
	r := &rig{t: t, dir: dir, logs: &logs{}}
	cfg := Config{
		Services: s, Socket: filepath.Join(dir, "run", "api.sock"), Listen: "127.0.0.1:0",
		TLS:    TLSConfig{Dir: filepath.Join(dir, "tls")},
		Logger: slog.New(slog.NewTextHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&cfg)
	}
	if r.server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.server.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.stop)
	select {
	case <-r.server.Listening():
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	return r
}

func (r *rig) dial(target string, opts ...grpc.DialOption) *grpc.ClientConn {
	r.t.Helper()
	conn, err := grpc.NewClient(target, opts...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	return conn
}

func (r *rig) socket(opts ...grpc.DialOption) *grpc.ClientConn {
	return r.dial("unix:"+filepath.Join(r.dir, "run", "api.sock"),
		append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
}

func (r *rig) tls(token string) *grpc.ClientConn {
	return r.dial(r.server.Addr().String(),
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: r.roots()})),
		grpc.WithPerRPCCredentials(bearer(token)))
}

func (r *rig) roots() *x509.CertPool {
	r.t.Helper()
	authority, err := os.ReadFile(filepath.Join(r.dir, "tls", "ca.crt"))
	if err != nil {
		r.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	return roots
}

// await waits until the log says all of the texts in one line, and gives the line.
func (r *rig) await(texts ...string) string {
	r.t.Helper()
	deadline, tick := time.After(5*time.Second), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		for line := range bytes.Lines([]byte(r.logs.String())) {
			if containsAll(string(line), texts) {
				return string(line)
			}
		}
		select {
		case <-deadline:
			r.t.Fatalf("the log has no line with %q:\n%s", texts, r.logs.String())
		case <-tick.C:
		}
	}
}

type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	if b == "" {
		return nil, nil
	}
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearer) RequireTransportSecurity() bool { return true }
