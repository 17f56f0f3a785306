package controlplane

import (
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/emptypb"

	pb "causeway/proto/causeway/v1"
)

// TestPermissions calls every method of every service with every credential. What gets through is
// UNIMPLEMENTED, since nothing but GetVpc is implemented, or fails on an empty request.
func TestPermissions(t *testing.T) {
	r := startRig(t, &services{}, nil)
	granted := map[pb.Access][]string{
		anonymous:         {"", "wrong", "nobody", "viewer", "tunneler", "admin", "operator", "watcher"},
		pb.Access_VIEW:    {"viewer", "tunneler", "admin", "operator", "watcher"},
		pb.Access_CONNECT: {"tunneler", "admin", "operator"},
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

// TestTunnelOperatorsManageTunnels holds that what a tunnel operator may change are the account's
// tunnels, all of them, and nothing else.
func TestTunnelOperatorsManageTunnels(t *testing.T) {
	tunnels := regexp.MustCompile(`(Attachments?|CustomerGateways?|VpnConnections?|Tunnels?|TunnelKey)$`)
	reads := regexp.MustCompile(`^(Get|List)`)
	protoregistry.GlobalFiles.RangeFilesByPackage("causeway.v1", func(file protoreflect.FileDescriptor) bool {
		for n := range file.Services().Len() {
			service := file.Services().Get(n)
			for k := range service.Methods().Len() {
				name := string(service.Methods().Get(k).Name())
				need, err := methodAccess(string(service.FullName()), name)
				if err != nil {
					t.Error(err)
				}
				manages := tunnels.MatchString(name) && !reads.MatchString(name)
				if manages != (need == pb.Access_CONNECT) {
					t.Errorf("%s needs %v; tunnel operators manage attachments, customer gateways and VPN connections alone", name, need)
				}
			}
		}
		return true
	})
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
