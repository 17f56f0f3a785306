package controlplane

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "causeway/proto/causeway/v1"
)

// TestStreamsEndWhenTheServerStops has a watch open that would go on for ever.
func TestStreamsEndWhenTheServerStops(t *testing.T) {
	r := startRig(t, &services{}, nil)
	stream, err := pb.NewDiagnosticsClient(r.socket()).WatchFlows(t.Context(), &pb.WatchFlowsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Header(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	r.stop()
	if took := time.Since(begin); took > stopTimeout/2 {
		t.Errorf("stopping took %v", took)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "call again") {
		t.Errorf("the stream ended with %v", err)
	}
}

// TestStreamsAreGuarded asks for a stream without the right to, and with a request that is bad.
func TestStreamsAreGuarded(t *testing.T) {
	r := startRig(t, &services{}, nil)
	for token, want := range map[string]codes.Code{"": codes.Unauthenticated, "nobody": codes.PermissionDenied} {
		stream, err := pb.NewDiagnosticsClient(r.tls(token)).WatchFlows(t.Context(), &pb.WatchFlowsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != want {
			t.Errorf("with token %q: %v, want %v", token, err, want)
		}
	}
	if line := r.await("api call", "WatchFlows", "PermissionDenied"); !strings.Contains(line, "audit") {
		t.Errorf("audited as %s", line)
	}
}
