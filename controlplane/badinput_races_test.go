package controlplane_test

import (
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

// concurrent makes as many identical calls at once and counts how they end.
func (w *world) concurrent(calls int, m *method, request proto.Message) (ends map[codes.Code]int, names map[string]bool) {
	w.t.Helper()
	ends, names = map[codes.Code]int{}, map[string]bool{}
	conn := w.as("alpha admin")
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range calls {
		wg.Go(func() {
			answer := m.output.New().Interface()
			err := conn.Invoke(w.t.Context(), m.path, request, answer)
			mu.Lock()
			defer mu.Unlock()
			ends[status.Code(err)]++
			if err == nil {
				names[answer.(resource.Message).GetUid()] = true
			}
		})
	}
	wg.Wait()
	return ends, names
}

// TestBadInputConcurrentCreates makes 1,000 identical creations at once, 100 if it is short: without a request id
// exactly one makes the resource; with one all of them are told of it.
func TestBadInputConcurrentCreates(t *testing.T) {
	calls := 1000
	if testing.Short() {
		calls = 100
	}
	w := newWorld(t)
	for _, m := range methods(t) {
		if m.name != "CreateVpc" && m.name != "CreateEndpoint" {
			continue
		}
		request := w.base(m)
		ends, uids := w.concurrent(calls, m, request)
		if ends[codes.OK] != calls || len(uids) != 1 {
			t.Errorf("%s with a request id ends in %v and makes %d, want %d times the same", m.name, ends, len(uids), calls)
		}
		w.state.undo()
		clearField(request, "request_id")
		ends, uids = w.concurrent(calls, m, request)
		if ends[codes.OK] != 1 || len(uids) != 1 || ends[codes.OK]+ends[codes.AlreadyExists]+ends[codes.Aborted] != calls {
			t.Errorf("%s ends in %v and makes %d, want exactly one and the rest ALREADY_EXISTS", m.name, ends, len(uids))
		}
		w.state.undo()
		t.Logf("%s: %v", m.name, ends)
	}
	for _, line := range w.log.take() {
		t.Errorf("logged as an error: %s", line)
	}
}

// TestBadInputRequestIDs gives a request id again: with the same request, with another, and to
// another method.
func TestBadInputRequestIDs(t *testing.T) {
	w := newWorld(t)
	var tried int
	for _, m := range methods(t) {
		id := m.input.Descriptor().Fields().ByName("request_id")
		if id == nil {
			continue
		}
		tried++
		request, conn := w.base(m), w.caller(m)
		first := w.call(conn, m, request).(resource.Message)
		if again := w.call(conn, m, request).(resource.Message); again.GetUid() != first.GetUid() {
			t.Errorf("%s again gives %v, want %v", m.path, again, first)
		}
		other := proto.Clone(request)
		for n := range other.ProtoReflect().Descriptor().Fields().Len() {
			f := other.ProtoReflect().Descriptor().Fields().Get(n)
			if strings.HasSuffix(string(f.Name()), "_id") && f != id {
				other.ProtoReflect().Set(f, protoreflect.ValueOfString("other"))
			}
		}
		kept := w.state.revisionNow()
		err := conn.Invoke(t.Context(), m.path, other, m.output.New().Interface())
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(status.Convert(err).Message(), "request_id") {
			t.Errorf("%s with the request id of another request gives %v, want INVALID_ARGUMENT of it", m.path, err)
		}
		if now := w.state.revisionNow(); now != kept {
			t.Errorf("%s with the request id of another request wrote", m.path)
		}
		w.state.undo()
	}
	if tried < 12 {
		t.Errorf("%d methods have a request id, want at least 12", tried)
	}
}

// TestBadInputPageTokens gives every list tokens that are not its own.
func TestBadInputPageTokens(t *testing.T) {
	w := newWorld(t)
	var tried int
	for _, m := range methods(t) {
		token := m.input.Descriptor().Fields().ByName("page_token")
		if token == nil {
			continue
		}
		request := w.base(m).ProtoReflect()
		request.Set(m.input.Descriptor().Fields().ByName("page_size"), protoreflect.ValueOfInt32(1))
		answer := w.call(w.socket, m, request.Interface()).ProtoReflect()
		good := answer.Get(answer.Descriptor().Fields().ByName("next_page_token")).String()
		if good == "" {
			continue // a single one is there
		}
		tried++
		for _, bad := range spoiledTokens(good) {
			request.Set(token, protoreflect.ValueOfString(bad))
			err := w.socket.Invoke(t.Context(), m.path, request.Interface(), m.output.New().Interface())
			if status.Code(err) != codes.InvalidArgument {
				t.Errorf("%s with token %q for %q gives %v, want INVALID_ARGUMENT", m.path, bad, good, err)
			}
		}
		request.Set(token, protoreflect.ValueOfString(good))
		w.call(w.socket, m, request.Interface())
		if parent := m.input.Descriptor().Fields().ByName("parent"); parent != nil && w.theirs[m.noun] != nil {
			request.Set(parent, protoreflect.ValueOfString(resource.Parent(w.theirs[m.noun].(resource.Message).GetName())))
			err := w.socket.Invoke(t.Context(), m.path, request.Interface(), m.output.New().Interface())
			if status.Code(err) != codes.InvalidArgument {
				t.Errorf("%s with the token of another parent gives %v, want INVALID_ARGUMENT", m.path, err)
			}
		}
	}
	if tried < 8 {
		t.Errorf("%d lists have a second page, want at least 8", tried)
	}
}

// spoiledTokens makes of a page token what was never given out.
func spoiledTokens(good string) []string {
	bad := []string{good[:len(good)-1], good[1:], good + "A", good + "=", good + good, " " + good, strings.ToLower(good), "AAAA", strings.Repeat("A", 1024)}
	for n := 0; n < len(good); n += 3 {
		letter := byte('A')
		if good[n] == letter {
			letter = 'B'
		}
		bad = append(bad, good[:n]+string(letter)+good[n+1:])
	}
	return bad
}

// TestBadInputEtags gives every method that takes an etag one that is not current.
func TestBadInputEtags(t *testing.T) {
	w := newWorld(t)
	for _, m := range methods(t) {
		if m.verb != "Update" && m.verb != "Delete" {
			continue
		}
		for _, etag := range []string{"*", "1", "9223372036854775807", "-1", w.main["Account"].(*pb.Account).GetEtag()} {
			request := w.base(m)
			holder := request.ProtoReflect()
			if m.verb == "Update" {
				holder = holder.Mutable(holder.Descriptor().Fields().Get(0)).Message()
			}
			holder.Set(holder.Descriptor().Fields().ByName("etag"), protoreflect.ValueOfString(etag))
			err := w.caller(m).Invoke(t.Context(), m.path, request, m.output.New().Interface())
			current := m.noun == "Account" && etag == w.main["Account"].(*pb.Account).GetEtag() && m.verb == "Update"
			if want := codes.Aborted; status.Code(err) != want && !current {
				t.Errorf("%s with etag %q gives %v, want %v", m.path, etag, err, want)
			}
			w.state.undo()
		}
	}
}
