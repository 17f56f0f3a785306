package controlplane

import (
	"log/slog"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	pb "causeway/proto/causeway/v1"
)

// TestPermissions calls every method of every service with every credential. What gets through is
// UNIMPLEMENTED, since nothing but GetVpc is implemented, or fails on an empty request.
func TestPermissions(t *testing.T) {
	r := startRig(t, &services{}, nil)
	granted := map[pb.Access][]string{
		anonymous:         {"", "wrong", "nobody", "viewer", "admin", "operator", "watcher"},
		pb.Access_VIEW:    {"viewer", "admin", "operator", "watcher"},
		pb.Access_MANAGE:  {"admin", "operator"},
		pb.Access_OPERATE: {"operator"},
	}
	conns := map[string]*grpc.ClientConn{}
	for _, token := range granted[anonymous] {
		conns[token] = r.tls(token)
	}
	methods := 0
	for service, info := range r.server.grpc.GetServiceInfo() {
		for _, m := range info.Methods {
			if m.IsClientStream || m.IsServerStream {
				continue // reflection and health's Watch, see TestReflectionNeedsAToken
			}
			methods++
			need, err := methodAccess(service, m.Name)
			if err != nil {
				t.Fatal(err)
			}
			for token, conn := range conns {
				err := conn.Invoke(t.Context(), "/"+service+"/"+m.Name, &emptypb.Empty{}, &emptypb.Empty{})
				got := status.Code(err)
				want := codes.PermissionDenied
				if token == "" || token == "wrong" {
					want = codes.Unauthenticated
				}
				allowed := strings.Contains(" "+strings.Join(granted[need], " ")+" ", " "+token+" ")
				refused := got == codes.PermissionDenied || got == codes.Unauthenticated
				if allowed == refused || !allowed && got != want {
					t.Errorf("%s/%s (%v) as %q: %v", service, m.Name, need, token, err)
				}
			}
		}
	}
	if methods < 60 {
		t.Errorf("only %d methods tried", methods)
	}
}

func TestUnmappedMethodIsRefused(t *testing.T) {
	unmapped := grpc.ServiceDesc{
		ServiceName: "grpc.channelz.v1.Channelz", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "GetTopChannels"}},
	}
	_, err := New(Config{
		Services: &services{register: func(r grpc.ServiceRegistrar) { r.RegisterService(&unmapped, struct{}{}) }},
		Socket:   t.TempDir() + "/s", Logger: slog.New(slog.DiscardHandler),
	})
	if err == nil || !strings.Contains(err.Error(), "GetTopChannels") {
		t.Errorf("a method without an access is served: %v", err)
	}
}

func TestChainRefusesUnknownMethod(t *testing.T) {
	c := &chain{access: accessMap{}}
	err := c.authenticate(t.Context(), "/x/Y", nil, nil)
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("unknown method: %v", err)
	}
}
