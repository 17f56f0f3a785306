package controlplane_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "causeway/proto/causeway/v1"
)

const createVpc = "/causeway.v1.Vpcs/CreateVpc"

// freshVpc is a good body for createVpc in the account of the unix socket.
func freshVpc(t *testing.T) []byte {
	t.Helper()
	wire, err := proto.Marshal(&pb.CreateVpcRequest{VpcId: "fresh", Vpc: &pb.Vpc{Region: "us-east-1", CidrBlock: "10.9.0.0/16"}})
	must(t, err)
	return wire
}

func gzipped(t *testing.T, message []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(message)
	must(t, err)
	must(t, z.Close())
	return b.Bytes()
}

// refusedCall is the code of a call that never was one: the stream or the connection is ended, or
// HTTP says no.
const refusedCall codes.Code = 100

// brokenTexts are what grpc-go answers by itself, before any code of ours, when HTTP/2 carries what is
// not framed or compressed as gRPC asks. Nothing else may be INTERNAL.
var brokenTexts = regexp.MustCompile(`^(unexpected EOF|grpc: failed to decompress the message: .*|grpc: failed to read decompressed data: .*` +
	`|grpc: compressed flag set with identity or empty encoding|grpc: received unexpected payload format 7` +
	`|cardinality violation: received (no request message|multiple request messages).*)$`)

// TestBadInputEnvelope spoils what is around a message. None of it may make the VPC, except where
// the call is as good as any.
func TestBadInputEnvelope(t *testing.T) {
	w := newWorld(t)
	vpc := freshVpc(t)
	body := framed(vpc, 0)
	many := grpcHeaders(createVpc)
	for n := range 200 {
		many = append(many, header{"x-many-" + strconv.Itoa(n), strings.Repeat("v", 100)})
	}
	unimplemented := []codes.Code{codes.Unimplemented, refusedCall}
	broken := []codes.Code{codes.Internal} // of which only grpc-go's own texts are good, see below
	type envelope struct {
		name    string
		headers []header
		body    []byte
		want    []codes.Code
	}
	tests := []envelope{
		{"good", grpcHeaders(createVpc), body, []codes.Code{codes.OK}},
		{"good compressed", with(grpcHeaders(createVpc), "grpc-encoding", "gzip"), framed(gzipped(t, vpc), 1), []codes.Code{codes.OK}},
		{"good repeated header", append(grpcHeaders(createVpc), header{"x-request-id", "a"}, header{"x-request-id", "b"}), body, []codes.Code{codes.OK}},
		{"bad request id header", with(grpcHeaders(createVpc), "x-request-id", strings.Repeat("a", 5000)), body, []codes.Code{codes.OK}},
		{"bad compressed garbage", with(grpcHeaders(createVpc), "grpc-encoding", "gzip"), framed([]byte("no gzip"), 1), broken},
		{"bad compressed half", with(grpcHeaders(createVpc), "grpc-encoding", "gzip"), framed(gzipped(t, vpc)[:20], 1), broken},
		{"bad bomb", with(grpcHeaders(createVpc), "grpc-encoding", "gzip"), framed(gzipped(t, make([]byte, 48<<20)), 1), []codes.Code{codes.ResourceExhausted}},
		{"bad compressor", with(grpcHeaders(createVpc), "grpc-encoding", "brainfuck"), framed(vpc, 1), []codes.Code{codes.Unimplemented}},
		{"bad compressed without compressor", grpcHeaders(createVpc), framed(vpc, 1), broken},
		{"bad flag", grpcHeaders(createVpc), framed(vpc, 7), broken},
		{"bad no body", grpcHeaders(createVpc), nil, broken},
		{"bad half prefix", grpcHeaders(createVpc), body[:3], broken},
		{"bad half message", grpcHeaders(createVpc), body[:len(body)-1], broken},
		{"bad length of 4 GiB", grpcHeaders(createVpc), []byte{0, 0xff, 0xff, 0xff, 0xff, 0}, []codes.Code{codes.ResourceExhausted}},
		{"bad two messages", grpcHeaders(createVpc), append(bytes.Clone(body), body...), broken},
		{"bad content type", with(grpcHeaders(createVpc), "content-type", "application/json"), body, []codes.Code{refusedCall}},
		{"bad no content type", grpcHeaders(createVpc)[:4], body, []codes.Code{refusedCall}},
		{"bad verb", with(grpcHeaders(createVpc), ":method", "GET"), body, []codes.Code{refusedCall}},
		{"bad timeout", with(grpcHeaders(createVpc), "grpc-timeout", "soon"), body, []codes.Code{refusedCall}},
		{"bad timeout negative", with(grpcHeaders(createVpc), "grpc-timeout", "-1S"), body, []codes.Code{refusedCall}},
		{"bad timeout of none", with(grpcHeaders(createVpc), "grpc-timeout", "0n"), body, []codes.Code{codes.DeadlineExceeded, refusedCall}},
		{"bad large header", with(grpcHeaders(createVpc), "x-large", strings.Repeat("v", 17<<10)), body, []codes.Code{refusedCall}},
		{"bad many headers", many, body, []codes.Code{refusedCall}},
		{"bad upper case header", with(grpcHeaders(createVpc), "X-Upper", "v"), body, []codes.Code{refusedCall}},
		{"bad binary header", with(grpcHeaders(createVpc), "x-blob-bin", "%%%"), body, []codes.Code{refusedCall}},
	}
	for _, path := range []string{
		"", "/", "//", "*", "causeway.v1.Vpcs/CreateVpc", createVpc + "/", "/" + createVpc, "/causeway.v1.Vpcs//CreateVpc", "/causeway.v1.Vpcs%2FCreateVpc",
		"/causeway.v1.Vpcs/createVpc", "/causeway.v1.Vpcs/", "/causeway.v1.Vpcs", "/CreateVpc", "/Vpcs/CreateVpc", createVpc + "?x=1", createVpc + "\x00",
		"/causeway.v2.Vpcs/CreateVpc", "/../causeway.v1.Vpcs/CreateVpc", "http://localhost" + createVpc, "/" + strings.Repeat("a", 8000) + "/b",
	} {
		tests = append(tests, envelope{"bad path " + strconv.Quote(path[:min(len(path), 60)]), with(grpcHeaders(createVpc), ":path", path), body, unimplemented})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			answer := w.rawCall(tt.headers, tt.body)
			got := codeOf(answer)
			if !slices.Contains(tt.want, got) {
				t.Errorf("answer %v, want one of %v", answer, tt.want)
			}
			changed := w.state.changed()
			if (changed != nil) != (got == codes.OK) {
				t.Errorf("answer %v and changed %q", answer, changed)
			}
			w.state.undo()
			if got == codes.Internal && !brokenTexts.MatchString(answer["grpc-message"]) {
				t.Errorf("answer %v", answer)
			}
			if found := traces.FindString(answer["grpc-message"]); found != "" {
				t.Errorf("answer %v tells %q", answer, found)
			}
			for _, line := range w.log.take() {
				t.Errorf("logged as an error: %s", line)
			}
		})
	}
}

// codeOf reads the status of an answer.
func codeOf(answer map[string]string) codes.Code {
	code, err := strconv.Atoi(answer["grpc-status"])
	if err != nil || answer[":status"] != "200" {
		return refusedCall
	}
	return codes.Code(code)
}

// TestBadInputDeadlines makes every method's good call with no time for it, little, and too much.
func TestBadInputDeadlines(t *testing.T) {
	w := newWorld(t)
	for _, m := range methods(t) {
		request, conn := w.base(m), w.caller(m)
		type patience struct {
			name string
			ctx  func() (context.Context, context.CancelFunc)
			want []codes.Code
		}
		all := []patience{
			{"a millisecond", func() (context.Context, context.CancelFunc) {
				return context.WithTimeout(t.Context(), time.Millisecond)
			}, []codes.Code{codes.OK, codes.DeadlineExceeded}},
			{"ten years", func() (context.Context, context.CancelFunc) {
				return context.WithTimeout(t.Context(), 87600*time.Hour)
			}, []codes.Code{codes.OK}},
			{"a cancellation midway", func() (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancel(t.Context())
				stop := time.AfterFunc(500*time.Microsecond, cancel)
				return ctx, func() { stop.Stop(); cancel() }
			}, []codes.Code{codes.OK, codes.Canceled}},
			{"two tokens", func() (context.Context, context.CancelFunc) {
				ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+w.tokens["operator"])
				return ctx, func() {}
			}, []codes.Code{codes.OK}},
		}
		for _, c := range few(1, all, func(p patience) string { return m.path + p.name }) {
			ctx, cancel := c.ctx()
			err := conn.Invoke(ctx, m.path, request, m.output.New().Interface())
			cancel()
			if got := status.Code(err); !slices.Contains(c.want, got) {
				t.Errorf("%s with %s gives %v, want one of %v", m.path, c.name, err, c.want)
			}
			w.resend(conn, m, request)
			for _, line := range w.log.take() {
				t.Errorf("%s with %s: logged as an error: %s", m.path, c.name, line)
			}
		}
	}
}

// resend repeats a call of which it is not known what came. A creation with a request id is safe to
// repeat, so it must end well. What the first call does to the store, it has done when the second,
// on the same connection, is answered.
func (w *world) resend(conn *grpc.ClientConn, m *method, request proto.Message) {
	w.t.Helper()
	want := append([]codes.Code{codes.OK}, refusals...)
	if m.verb == "Create" {
		want = want[:1]
	}
	err := conn.Invoke(w.t.Context(), m.path, request, m.output.New().Interface())
	if slices.Contains(want, status.Code(err)) {
		w.state.undo()
		return
	}
	w.t.Errorf("%s again gives %v, want one of %v", m.path, err, want)
	w.state.undo()
}
