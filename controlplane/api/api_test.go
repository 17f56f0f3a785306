package api

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	middleware "github.com/grpc-ecosystem/go-grpc-middleware/v2"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"causeway/controlplane/apierr"
	"causeway/controlplane/resource"
	"causeway/controlplane/secret"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// sharedSecrets is the key of what is sealed in sharedStore.
var sharedSecrets *secret.Box

// sharedDir is where sharedStore lies.
var sharedDir string

// sharedStore is one embedded store for all tests, which keep apart by their accounts.
var sharedStore *store.Store

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "causeway-api-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	sharedDir = dir
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if sharedStore, err = store.OpenEmbedded(ctx, dir, slog.New(slog.DiscardHandler)); err != nil {
		panic(err)
	}
	if sharedSecrets, err = secret.OpenFile(filepath.Join(dir, "secrets.key")); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := sharedStore.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "close store:", err)
		return 1
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// lab is the services behind a real gRPC connection, with a clock and two accounts of its own.
type lab struct {
	t    *testing.T
	api  *API
	conn *grpc.ClientConn
	// a and b are accounts that nobody else uses.
	a, b string
	// ahead is how far the lab's clock is ahead of time.Now.
	ahead atomic.Int64
	// txt are the TXT records that there are.
	txt txtRecords
	// observe is called as the Observer if it is not nil.
	observe func(proto.Message)
	flows   fakeFlows
	// explainer answers for the gateways.
	explainer fakeExplainer
}

var labs atomic.Int64

var testZones = []Zone{
	{"us-east-1", "us-east-1a"}, {"us-east-1", "us-east-1b"}, {"eu-west-1", "eu-west-1a"},
}

func newLab(t *testing.T) *lab {
	t.Helper()
	n := labs.Add(1)
	l := &lab{t: t, a: fmt.Sprintf("a%d", n), b: fmt.Sprintf("b%d", n)}
	var err error
	l.api, err = New(Config{
		Store: sharedStore, Zones: testZones, Observer: l, Secrets: sharedSecrets, TXT: &l.txt, Flows: &l.flows, Explainer: &l.explainer,
		Now: func() time.Time { return time.Now().Add(time.Duration(l.ahead.Load())) },
	})
	must(t, err)
	l.serve()
	for _, id := range []string{l.a, l.b} {
		_, err := pb.NewAccountsClient(l.conn).CreateAccount(l.operator(), &pb.CreateAccountRequest{AccountId: id, Account: &pb.Account{}})
		must(t, err)
	}
	return l
}

// Observe implements Observer.
func (l *lab) Observe(_ context.Context, m proto.Message) {
	if l.observe != nil {
		l.observe(m)
	}
}

// serve runs the services on an in-memory listener, with what the real server's interceptors do.
func (l *lab) serve() {
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(grpc.UnaryInterceptor(l.intercept), grpc.StreamInterceptor(l.interceptStream))
	l.api.Register(server)
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(listener) })
	conn, err := grpc.NewClient("passthrough:///lab", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	must(l.t, err)
	l.conn = conn
	l.t.Cleanup(func() {
		_ = conn.Close()
		server.Stop()
		running.Wait()
	})
}

func (l *lab) intercept(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := l.api.CheckRequest(req.(proto.Message)); err != nil {
		return nil, err
	}
	resp, err := next(identified(ctx), req)
	return resp, l.status(err)
}

func (l *lab) interceptStream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	return l.status(next(srv, &middleware.WrappedServerStream{ServerStream: ss, WrappedContext: identified(ss.Context())}))
}

func identified(ctx context.Context) context.Context {
	md, _ := metadata.FromIncomingContext(ctx)
	if account := md.Get("account"); len(account) == 1 {
		ctx = WithCaller(ctx, Caller{Account: account[0], Operator: len(md.Get("operator")) > 0, Role: pb.Token_ADMIN})
	}
	return ctx
}

func (l *lab) status(err error) error {
	st, cause := apierr.ToStatus(err, "test")
	if cause != nil {
		l.t.Logf("cause of %v: %v", st.Code(), cause)
	}
	return st.Err()
}

// as gives the context of an administrator of an account.
func (l *lab) as(account string) context.Context {
	return metadata.AppendToOutgoingContext(l.t.Context(), "account", account)
}

func (l *lab) operator() context.Context {
	return metadata.AppendToOutgoingContext(l.t.Context(), "account", OperatorAccount, "operator", "yes")
}

func (l *lab) advance(d time.Duration) { l.ahead.Add(int64(d)) }

func (l *lab) vpcs() pb.VpcsClient         { return pb.NewVpcsClient(l.conn) }
func (l *lab) accounts() pb.AccountsClient { return pb.NewAccountsClient(l.conn) }
func (l *lab) peerings() pb.PeeringsClient { return pb.NewPeeringsClient(l.conn) }
func (l *lab) vpns() pb.VpnConnectionsClient {
	return pb.NewVpnConnectionsClient(l.conn)
}

// vpc makes a VPC in the account.
func (l *lab) vpc(account, id, cidr string) *pb.Vpc {
	l.t.Helper()
	vpc, err := l.vpcs().CreateVpc(l.as(account), &pb.CreateVpcRequest{VpcId: id, Vpc: &pb.Vpc{Region: "us-east-1", CidrBlock: cidr}})
	must(l.t, err)
	return vpc
}

// subnet makes a subnet of a VPC in zone us-east-1a.
func (l *lab) subnet(vpc *pb.Vpc, id, cidr string) *pb.Subnet {
	l.t.Helper()
	subnet, err := l.vpcs().CreateSubnet(l.operator(), &pb.CreateSubnetRequest{
		Parent: vpc.GetName(), SubnetId: id, Subnet: &pb.Subnet{AvailabilityZone: "us-east-1a", CidrBlock: cidr},
	})
	must(l.t, err)
	return subnet
}

// attachment makes an attachment in a subnet with a key of its own.
func (l *lab) attachment(subnet *pb.Subnet, id string) *pb.Attachment {
	l.t.Helper()
	attachment, err := l.vpcs().CreateAttachment(l.operator(), &pb.CreateAttachmentRequest{
		Parent: subnet.GetName(), AttachmentId: id, Attachment: &pb.Attachment{PublicKey: newKey()},
	})
	must(l.t, err)
	return attachment
}

// purgeVpc removes a VPC that has been deleted with what goes with it.
func purgeVpc(t *testing.T, vpc *pb.Vpc) {
	t.Helper()
	must(t, resource.NetworkAcls.Purge(t.Context(), sharedStore, vpc.GetName()+"/networkAcls/default"))
	must(t, resource.Vpcs.Purge(t.Context(), sharedStore, vpc.GetName()))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantError fails unless err has the code, one ErrorInfo with the reason, and all texts.
func wantError(t *testing.T, err error, code codes.Code, reason string, texts ...string) {
	t.Helper()
	st := status.Convert(err)
	var reasons []string
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			reasons = append(reasons, info.GetReason())
		}
	}
	if st.Code() != code || len(reasons) != 1 || reasons[0] != reason {
		t.Fatalf("error %v %v %q, want %v [%s]", st.Code(), reasons, st.Message(), code, reason)
	}
	for _, text := range texts {
		if !strings.Contains(st.Message(), text) {
			t.Errorf("message %q does not contain %q", st.Message(), text)
		}
	}
}

// wantField fails unless err is INVALID_ARGUMENT and names exactly the fields.
func wantField(t *testing.T, err error, fields ...string) {
	t.Helper()
	wantError(t, err, codes.InvalidArgument, apierr.ReasonInvalidField)
	var got []string
	for _, d := range status.Convert(err).Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok {
			for _, v := range bad.GetFieldViolations() {
				got = append(got, v.GetField())
			}
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(fields) {
		t.Errorf("violations of %q, want %q: %v", got, fields, err)
	}
}

func containsAny(text string, parts ...string) bool {
	for _, part := range parts {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}
