package controlplane_test

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

// A uid of the length of all, and an account and an id, that nothing has.
const (
	nothing    = "noone"
	nothingUID = "00000000000000000"
)

// TestForeignIsAbsent puts into every field of every request that names a resource the name and the
// uid of another account's, and those of nothing. Answers, and how often the store is asked for them,
// must be the same: neither words nor time tell what others have.
func TestForeignIsAbsent(t *testing.T) {
	w := newWorld(t)
	type pair struct {
		key   string
		field string
		put   func(proto.Message, string)
		texts [2]string
	}
	compared := 0
	for _, m := range methods(t) {
		if m.access == pb.Access_OPERATE {
			continue // the operator sees everything
		}
		base := w.base(m)
		clearField(base, "request_id")
		var pairs []pair
		w.naming(m, base, nil, func(field string, put func(proto.Message, string)) {
			for noun, theirs := range w.theirs {
				for n, texts := range disguised(theirs.(resource.Message)) {
					pairs = append(pairs, pair{fmt.Sprint(m.path, field, noun, n), field, put, texts})
				}
			}
		})
		for _, p := range few(fewPairs, pairs, func(p pair) string { return p.key }) {
			compared++
			w.compare(w.tenant, m, base, p.put, p.field, p.texts)
		}
	}
	if fewest := 50 * fewPairs / 2; compared < fewest {
		t.Errorf("only %d comparisons, want %d", compared, fewest)
	}
}

// fewPairs is how many comparisons of each method a short test makes.
const fewPairs = 6

// disguised gives texts for what another account has, each with one of the same form for nothing.
func disguised(m resource.Message) [][2]string {
	prefix := m.GetUid()[:strings.LastIndexByte(m.GetUid(), '-')+1]
	parent, id := path.Split(m.GetName())
	pairs := [][2]string{
		{m.GetUid(), prefix + nothingUID},
		{m.GetName(), strings.ReplaceAll(m.GetName(), ghost, nothing)}, // no such account
		{m.GetName(), parent + nothing},                                // no such thing in the account
	}
	if s, ok := m.(*pb.EndpointService); ok {
		pairs = append(pairs, [2]string{s.GetServiceName(), strings.Replace(s.GetServiceName(), m.GetUid(), prefix+nothingUID, 1)})
	}
	if id == m.GetName() || strings.Count(m.GetName(), "/") == 1 {
		return pairs[:2] // an account has no other above it
	}
	return pairs
}

// naming calls visit for every field, at any depth, that names a resource and that users set.
func (w *world) naming(m *method, base proto.Message, above []protoreflect.FieldDescriptor, visit func(field string, put func(proto.Message, string))) {
	fields := at(proto.Clone(base), above).Descriptor().Fields()
	for n := range fields.Len() {
		f := fields.Get(n)
		here := append(slices.Clip(above), f)
		switch {
		case unset(here), f.IsMap():
		case f.Message() != nil:
			if f.Message().ParentFile().Package() == "causeway.v1" {
				w.naming(m, base, here, visit)
			}
		case f.Kind() == protoreflect.StringKind && nameLike[f.Name()] && !(inside(m, f) && m.verb == "Create" && f.Name() == "name"):
			visit(spell(here), func(to proto.Message, name string) {
				r := at(to, above)
				if !f.IsList() {
					r.Set(f, protoreflect.ValueOfString(name))
					return
				}
				if r.Mutable(f).List().Len() == 0 {
					r.Mutable(f).List().Append(protoreflect.ValueOfString(name))
				} else {
					r.Mutable(f).List().Set(0, protoreflect.ValueOfString(name))
				}
			})
		}
	}
}

// compare makes two calls that differ in one name and fails unless they end alike.
func (w *world) compare(conn *grpc.ClientConn, m *method, base proto.Message, put func(proto.Message, string), field string, pair [2]string) {
	w.t.Helper()
	var said [2]string
	var cost [2]int64
	for n, text := range pair {
		request := proto.Clone(base)
		put(request, text)
		answer := m.output.New().Interface()
		before := w.ops.Load()
		err := conn.Invoke(w.t.Context(), m.path, request, answer)
		cost[n] = w.ops.Load() - before
		said[n] = masked(fmt.Sprint(status.Convert(err).Proto(), answer), text)
		if err == nil {
			w.state.undo()
		}
	}
	if said[0] != said[1] {
		w.t.Errorf("%s: %s = %s gives\n%s\nand for %s\n%s", m.path, field, pair[0], said[0], pair[1], said[1])
	}
	if cost[0] != cost[1] {
		w.t.Errorf("%s: %s = %s costs %d operations of the store, %s %d", m.path, field, pair[0], cost[0], pair[1], cost[1])
	}
}

// varying is what differs between any two resources that are made, and the spaces that the text form
// of a message puts in at random.
var varying = regexp.MustCompile(`(seconds|nanos):\s*\d+|etag:\s*"\d+"|\b[a-z-]+-[0-9a-f]{17}\b|\s+`)

func masked(said, text string) string {
	return varying.ReplaceAllString(strings.ReplaceAll(said, text, "<name>"), " ")
}

// TestListsTellNothingOfOthers holds that no list shows what others have, and that a place in the list
// of another account is worth as much as one that was never given.
func TestListsTellNothingOfOthers(t *testing.T) {
	w := newWorld(t)
	stranger := w.as("ghost admin")
	places := 0
	for _, m := range methods(t) {
		token := m.input.Descriptor().Fields().ByName("page_token")
		if token == nil || m.access == pb.Access_OPERATE {
			continue
		}
		said := fmt.Sprint(w.call(w.tenant, m, w.base(m)))
		for _, theirs := range w.theirs {
			if r := theirs.(resource.Message); strings.Contains(said, r.GetName()) || strings.Contains(said, r.GetUid()) {
				t.Errorf("%s shows %s: %s", m.path, r.GetName(), said)
			}
		}
		place := w.place(stranger, m)
		if place == "" || everybodys[m.name] {
			continue
		}
		places++
		w.compare(w.tenant, m, w.base(m), func(to proto.Message, text string) {
			to.ProtoReflect().Set(token, protoreflect.ValueOfString(text))
		}, "page_token", [2]string{place, strings.Repeat("A", len(place))})
	}
	if places == 0 {
		t.Error("no list has a second page")
	}
}

// everybodys are the lists that are the same for every account, and so is a place in them.
var everybodys = map[protoreflect.Name]bool{"ListListings": true, "ListGateways": true}

// place gives the page token of a list of ghost's, or "" where there is but one page.
func (w *world) place(conn *grpc.ClientConn, m *method) string {
	request := w.base(m)
	r := request.ProtoReflect()
	fields := r.Descriptor().Fields()
	for _, name := range []protoreflect.Name{"parent", "name"} {
		if f := fields.ByName(name); f != nil {
			r.Set(f, protoreflect.ValueOfString(strings.NewReplacer(alpha, ghost, "prod", ghost, "main", ghost).Replace(r.Get(f).String())))
		}
	}
	if f := fields.ByName("page_size"); f != nil {
		r.Set(f, protoreflect.ValueOfInt32(1))
	}
	answer := m.output.New()
	if err := conn.Invoke(w.t.Context(), m.path, request, answer.Interface()); err != nil {
		return "" // ghost has no such thing to list below
	}
	return answer.Get(answer.Descriptor().Fields().ByName("next_page_token")).String()
}
