package controlplane_test

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"causeway/controlplane"
	"causeway/controlplane/api"
	"causeway/controlplane/resource"
	"causeway/controlplane/secret"
	"causeway/controlplane/store"
	"causeway/gateway/spec"
	pb "causeway/proto/causeway/v1"
)

// The accounts of a world. Nothing of ghost may ever show to alpha; beta has peerings with alpha.
const (
	alpha = "alpha"
	beta  = "beta"
	ghost = "ghost"
)

// world is a server on a unix socket and on TLS over an embedded store, with a small installation:
// of every kind a resource that others use, called main, and one that nobody uses, called spare.
type world struct {
	t     *testing.T
	dir   string
	state *state
	log   *errorLog
	// ahead is how far the server's clock is ahead.
	ahead  atomic.Int64
	store  *store.Store
	ops    atomic.Int64 // of the store
	server *controlplane.Server
	socket *grpc.ClientConn // the operator
	tenant *grpc.ClientConn // alpha's administrator
	roots  *x509.CertPool
	// main and spare are the resources of alpha, theirs those of ghost, by message name; gone are the
	// full names and uids of what has been deleted.
	main, spare, theirs map[protoreflect.Name]proto.Message
	gone                map[protoreflect.Name][2]string
	tokens              map[string]string // bearer tokens by what they may do
}

// newWorld lets its test run beside others: much of what one does is to wait.
func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	// In memory where there is such a folder, since no crash is part of this; t.TempDir is too long
	// for sockets.
	memory := "/dev/shm"
	if _, err := os.Stat(memory); err != nil {
		memory = ""
	}
	dir, err := os.MkdirTemp(memory, "causeway-bad-") //nolint:usetesting // see above
	must(t, err)
	w := &world{
		t: t, dir: dir, log: &errorLog{}, tokens: map[string]string{},
		main: map[protoreflect.Name]proto.Message{}, spare: map[protoreflect.Name]proto.Message{},
		theirs: map[protoreflect.Name]proto.Message{}, gone: map[protoreflect.Name][2]string{},
	}
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w.store, err = store.OpenEmbedded(ctx, w.path("store"), slog.New(slog.DiscardHandler),
		store.WithObserver(func(string, time.Duration, error) { w.ops.Add(1) }))
	must(t, err)
	t.Cleanup(func() { must(t, w.store.Close()) })
	w.state = openState(t, w.path("store/run/client.sock"))
	w.serve(ctx)
	w.settle()
	w.tenant = w.as("alpha admin")
	w.state.keep()
	return w
}

// noRecords is a DNS without TXT records.
type noRecords struct{}

// LookupTXT implements proof.Resolver.
func (noRecords) LookupTXT(_ context.Context, name string) ([]string, error) {
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// serve runs the server until the test ends. Its rate is out of the way.
func (w *world) serve(ctx context.Context) {
	secrets, err := secret.OpenFile(w.path("secrets.key"))
	must(w.t, err)
	services, err := api.New(api.Config{
		Store: w.store, Observer: w, Gateways: w, Flows: w, Explainer: w, Secrets: secrets, TXT: noRecords{},
		Zones: []api.Zone{{Region: "us-east-1", Name: "us-east-1a"}, {Region: "us-east-1", Name: "us-east-1b"}, {Region: "eu-west-1", Name: "eu-west-1a"}},
		Now:   func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) },
	})
	must(w.t, err)
	must(w.t, services.Bootstrap(ctx))
	w.server, err = controlplane.New(controlplane.Config{
		Services: services, Socket: w.path("api.sock"), Listen: "127.0.0.1:0",
		TLS: controlplane.TLSConfig{Dir: w.path("tls")}, Rate: 1e9, Burst: 1e9, Logger: slog.New(w.log),
	})
	must(w.t, err)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.server.Run(ctx); err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(func() {
		stop()
		running.Wait()
	})
	<-w.server.Listening()
	ca, err := os.ReadFile(w.path("tls/ca.crt"))
	must(w.t, err)
	w.roots = x509.NewCertPool()
	w.roots.AppendCertsFromPEM(ca)
	w.socket = w.dial("unix://"+w.path("api.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// as connects over TLS with the token of that name; "" is none.
func (w *world) as(token string) *grpc.ClientConn {
	opts := []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: w.roots, ServerName: "localhost"}))}
	if token != "" {
		opts = append(opts, grpc.WithPerRPCCredentials(bearer(w.tokens[token])))
	}
	return w.dial(w.server.Addr().String(), opts...)
}

func (w *world) dial(target string, opts ...grpc.DialOption) *grpc.ClientConn {
	conn, err := grpc.NewClient(target, opts...)
	must(w.t, err)
	w.t.Cleanup(func() { must(w.t, conn.Close()) })
	return conn
}

type bearer string

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (bearer) RequireTransportSecurity() bool { return true }

// Observe implements api.Observer: nothing is in force.
func (w *world) Observe(context.Context, proto.Message) {}

// Gateways implements api.GatewayStatus.
func (w *world) Gateways(context.Context) []*pb.Gateway {
	return []*pb.Gateway{{Name: "gateways/g1", State: pb.Gateway_AVAILABLE}}
}

// Flows implements api.Flows: alpha has two connections and ghost two.
func (w *world) Flows(match func(*spec.FlowRecord) bool, after uint64, limit int) (list []spec.FlowRecord) {
	for n, account := range []string{alpha, ghost, alpha, ghost} {
		vpc := map[string]string{alpha: "prod", ghost: ghost}[account]
		id := map[string]string{alpha: "main", ghost: ghost}[account]
		r := spec.FlowRecord{
			ID: uint64(n + 1), Protocol: 6, Domain: "accounts/" + account + "/vpcs/" + vpc, Endpoint: "accounts/" + account + "/vpcs/" + vpc + "/endpoints/" + id,
			Service: "accounts/" + account + "/endpointServices/" + id,
		}
		if r.ID > after && len(list) < limit && match(&r) {
			list = append(list, r)
		}
	}
	return list
}

// Explain implements api.Explainer.
func (w *world) Explain(q spec.Question) spec.Explanation {
	return spec.Explanation{Allowed: true, Destination: q.Destination, Checks: []spec.Check{{Name: "peer", Verdict: spec.Pass}}}
}

// WatchFlows implements api.Flows: no connection ends.
func (w *world) WatchFlows(func(*spec.FlowRecord) bool, int) (<-chan *spec.FlowRecord, func()) {
	return nil, func() {}
}

// forget makes one resource of each kind that can be made, and removes it again.
func (w *world) forget(all []*method) {
	for _, m := range all {
		if m.verb != "Create" {
			continue
		}
		request := w.base(m)
		clearField(request, "request_id")
		made := w.call(w.socket, m, request).(resource.Message)
		w.gone[m.noun] = [2]string{made.GetName(), made.GetUid()}
		if m.noun == "Vpc" { // which comes with one
			must(w.t, resource.NetworkAcls.Purge(w.t.Context(), w.store, made.GetName()+"/networkAcls/default"))
		}
		for _, kind := range resource.All() {
			if kind.Match(made.GetName()) {
				must(w.t, kind.Purge(w.t.Context(), w.store, made.GetName()))
			}
		}
	}
}

// call makes a call that must succeed.
func (w *world) call(conn *grpc.ClientConn, m *method, request proto.Message) proto.Message {
	w.t.Helper()
	answer := m.output.New().Interface()
	if err := conn.Invoke(w.t.Context(), m.path, request, answer); err != nil {
		w.t.Fatalf("%s(%v): %v", m.path, request, err)
	}
	return answer
}

// errorLog keeps what the server logs as an error.
type errorLog struct {
	mu    sync.Mutex
	lines []string
}

// Enabled implements slog.Handler.
func (*errorLog) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelError }

// Handle implements slog.Handler.
func (l *errorLog) Handle(_ context.Context, r slog.Record) error {
	line := r.Message
	r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	return nil
}

// WithAttrs implements slog.Handler.
func (l *errorLog) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup implements slog.Handler.
func (l *errorLog) WithGroup(string) slog.Handler { return l }

// take gives the errors since the last time.
func (l *errorLog) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.lines
	l.lines = nil
	return lines
}

func newKey(t *testing.T) string {
	t.Helper()
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	must(t, err)
	return base64.StdEncoding.EncodeToString(key.PublicKey().Bytes())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
