package api

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	pb "causeway/proto/causeway/v1"
)

type reported []*pb.Gateway

func (r reported) Gateways(context.Context) []*pb.Gateway { return r }

func TestGateways(t *testing.T) {
	l := newLab(t)
	client := pb.NewGatewaysClient(l.conn)
	none, err := client.ListGateways(l.operator(), &pb.ListGatewaysRequest{})
	must(t, err)
	if len(none.GetGateways()) != 0 {
		t.Errorf("without any: %v", none)
	}
	one, two := &pb.Gateway{Name: "gateways/one", State: pb.Gateway_AVAILABLE}, &pb.Gateway{Name: "gateways/two"}
	l.api.kernel.gateways = reported{one, two}
	got, err := client.GetGateway(l.operator(), &pb.GetGatewayRequest{Name: "gateways/one"})
	must(t, err)
	if !proto.Equal(got, one) {
		t.Errorf("got %v, want %v", got, one)
	}
	_, err = client.GetGateway(l.operator(), &pb.GetGatewayRequest{Name: "gateways/three"})
	wantError(t, err, codes.NotFound, "GATEWAY_NOT_FOUND")
	_, err = client.GetGateway(l.operator(), &pb.GetGatewayRequest{Name: "one"})
	wantField(t, err, "name")
	first, err := client.ListGateways(l.operator(), &pb.ListGatewaysRequest{PageSize: 1})
	must(t, err)
	second, err := client.ListGateways(l.operator(), &pb.ListGatewaysRequest{PageSize: 1, PageToken: first.GetNextPageToken()})
	must(t, err)
	if len(first.GetGateways()) != 1 || len(second.GetGateways()) != 1 || second.GetNextPageToken() != "" ||
		!proto.Equal(first.GetGateways()[0], one) || !proto.Equal(second.GetGateways()[0], two) {
		t.Errorf("pages %v and %v", first, second)
	}
	_, err = client.ListGateways(l.operator(), &pb.ListGatewaysRequest{PageToken: "x"})
	wantField(t, err, "page_token")
}

func FuzzDecodePosition(f *testing.F) {
	f.Add("a", encodePosition("a", "accounts/a/peerings/p"))
	f.Fuzz(func(t *testing.T, account, token string) {
		after, ok := decodePosition(account, token)
		if ok && token != "" && encodePosition(account, after) != token {
			t.Errorf("%q is a second spelling of the position after %q", token, after)
		}
		if other := account + "x"; ok && token != "" && !strings.Contains(account, "\x00") {
			if _, ok := decodePosition(other, token); ok {
				t.Errorf("%q is good for %q and %q", token, account, other)
			}
		}
	})
}
