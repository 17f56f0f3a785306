package controlplane_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "causeway/proto/causeway/v1"
)

// caller is one that asks the methods, with the code that a good request about alpha's resources ends
// in, by the access that the method's descriptor asks for.
type caller struct {
	name                           string
	view, connect, manage, operate codes.Code
}

var callers = []caller{
	{"", codes.Unauthenticated, codes.Unauthenticated, codes.Unauthenticated, codes.Unauthenticated},
	{"wrong", codes.Unauthenticated, codes.Unauthenticated, codes.Unauthenticated, codes.Unauthenticated},
	{"malformed", codes.Unauthenticated, codes.Unauthenticated, codes.Unauthenticated, codes.Unauthenticated},
	{"alpha expired", codes.Unauthenticated, codes.Unauthenticated, codes.Unauthenticated, codes.Unauthenticated},
	{"alpha viewer", codes.OK, codes.PermissionDenied, codes.PermissionDenied, codes.PermissionDenied},
	{"alpha tunnel operator", codes.OK, codes.OK, codes.PermissionDenied, codes.PermissionDenied},
	{"alpha admin", codes.OK, codes.OK, codes.OK, codes.PermissionDenied},
	{"ghost viewer", codes.NotFound, codes.PermissionDenied, codes.PermissionDenied, codes.PermissionDenied},
	{"ghost tunnel operator", codes.NotFound, codes.NotFound, codes.PermissionDenied, codes.PermissionDenied},
	{"ghost admin", codes.NotFound, codes.NotFound, codes.NotFound, codes.PermissionDenied},
	{"operator viewer", codes.OK, codes.PermissionDenied, codes.PermissionDenied, codes.PermissionDenied},
	{"operator tunnel operator", codes.OK, codes.OK, codes.PermissionDenied, codes.PermissionDenied},
	{"operator", codes.OK, codes.OK, codes.OK, codes.OK},
	{"unix socket", codes.OK, codes.OK, codes.OK, codes.OK},
}

// public are the methods that show every account the same.
var public = map[protoreflect.Name]bool{"ListListings": true, "GetListing": true}

// TestBadInputAccess asks every method as everybody.
func TestBadInputAccess(t *testing.T) {
	w := newWorld(t)
	conns := map[string]*grpc.ClientConn{"unix socket": w.socket}
	for _, c := range callers[:len(callers)-1] {
		conns[c.name] = w.as(c.name)
	}
	calls, perMethod := 0, few(fewCallers, callers, func(c caller) string { return c.name })
	for _, m := range methods(t) {
		for _, c := range few(fewCallers, callers, func(c caller) string { return m.path + c.name }) {
			want, known := map[pb.Access]codes.Code{
				pb.Access_VIEW: c.view, pb.Access_CONNECT: c.connect, pb.Access_MANAGE: c.manage, pb.Access_OPERATE: c.operate,
			}[m.access]
			if !known {
				t.Fatalf("%s has access %v, which the table does not know", m.path, m.access)
			}
			if (m.name == "ListAccounts" || public[m.name]) && want == codes.NotFound {
				want = codes.OK // everybody's list has its own account alone, or is everybody's
			}
			calls++
			w.ask(conns[c.name], c.name, m, want)
		}
	}
	if want := len(perMethod) * 60; calls < want {
		t.Errorf("%d calls, want at least %d", calls, want)
	}
}

// fewCallers is how many ask each method in a short test.
const fewCallers = 2

// ask makes one good call, and where it is refused asks for what does not exist as well: the answers
// must be the same.
func (w *world) ask(conn *grpc.ClientConn, name string, m *method, want codes.Code) {
	w.t.Helper()
	request := w.base(m)
	answer := m.output.New().Interface()
	err := conn.Invoke(w.t.Context(), m.path, request, answer)
	st := status.Convert(err)
	if st.Code() != want {
		w.t.Errorf("%s as %q gives %v %q, want %v", m.path, name, st.Code(), st.Message(), want)
	}
	changed := w.state.changed()
	switch {
	case changed == nil:
	case err != nil || !m.writes():
		w.t.Errorf("%s as %q gives %v and changed %q", m.path, name, st.Code(), changed)
		w.state.restore()
	default:
		w.state.restore()
	}
	if err == nil {
		if strings.HasPrefix(name, "ghost") && !public[m.name] && strings.Contains(answer.(interface{ String() string }).String(), alpha) {
			w.t.Errorf("%s as %q shows %v", m.path, name, answer)
		}
		return
	}
	wire, _ := proto.Marshal(request)
	for _, fault := range domainFaults(m, wire, st) {
		w.t.Errorf("%s as %q gives %v %q: %s", m.path, name, st.Code(), st.Message(), fault)
	}
	absent := proto.Clone(request)
	rename(absent.ProtoReflect())
	other := status.Convert(conn.Invoke(w.t.Context(), m.path, absent, m.output.New().Interface()))
	same := strings.NewReplacer("nobody", "", "alpha", "", "beta", "")
	if got, want := other.Code().String()+same.Replace(other.Message()), st.Code().String()+same.Replace(st.Message()); got != want {
		w.t.Errorf("%s as %q gives %q for what exists and %q for what does not", m.path, name, want, got)
	}
}

// rename makes all names in a message those of an account that does not exist.
func rename(r protoreflect.Message) {
	for f, v := range r.Range {
		switch {
		case f.IsList() && f.Kind() == protoreflect.StringKind:
			for n := range v.List().Len() {
				v.List().Set(n, protoreflect.ValueOfString(renamed(v.List().Get(n).String())))
			}
		case f.Kind() == protoreflect.StringKind:
			r.Set(f, protoreflect.ValueOfString(renamed(v.String())))
		case f.Message() != nil && !f.IsList():
			rename(v.Message())
		}
	}
}

func renamed(name string) string {
	return strings.NewReplacer("accounts/alpha", "accounts/nobody", "accounts/beta", "accounts/nobody").Replace(name)
}
