package controlplane_test

import (
	"bytes"
	"fmt"
	"iter"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// mutation is a request that differs from a good one in one field.
type mutation struct {
	field string // "vpc.cidr_block"
	what  string
	// mutator names the change; what it makes of a field may differ by field and by world.
	mutator string
	// wire makes the request's wire form.
	wire func() []byte
	leaf protoreflect.FieldDescriptor
	kind mutationKind
	// ignored says that users do not set the field: whatever is sent there changes nothing.
	ignored bool
}

// mutationKind says what may come of a mutation, see [expected].
type mutationKind int

const (
	maybe       mutationKind = iota // may be fine
	wrong                           // cannot be fine
	invalid                         // must be INVALID_ARGUMENT
	invisible                       // names what is not there for the caller
	undecodable                     // is no message of its type
)

// change sets a field of the message it is given.
type change struct {
	what, mutator string
	kind          mutationKind
	set           func(protoreflect.Message, protoreflect.FieldDescriptor)
}

// mutations gives all requests that differ from base in one field, at any depth.
func (w *world) mutations(m *method, base proto.Message) iter.Seq[mutation] {
	return func(yield func(mutation) bool) { w.walk(m, base, nil, yield) }
}

// walk changes the fields of the message at the end of path. Of a list it goes into the first element.
func (w *world) walk(m *method, base proto.Message, path []protoreflect.FieldDescriptor, yield func(mutation) bool) bool {
	fields := at(proto.Clone(base), path).Descriptor().Fields()
	for n := range fields.Len() {
		f := fields.Get(n)
		here := append(slices.Clip(path), f)
		ignored := unset(here)
		for _, c := range w.changes(m, base, here, ignored) {
			one := mutation{field: spell(here), what: c.what, mutator: c.mutator, leaf: f, kind: c.kind, ignored: ignored}
			one.wire = func() []byte { return w.spoil(base, path, f, c) }
			if !yield(one) {
				return false
			}
		}
		if f.Message() != nil && f.Message().ParentFile().Package() == "causeway.v1" && !w.walk(m, base, here, yield) {
			return false
		}
	}
	return true
}

// at gives the message at the end of path, which is made if it is not there.
func at(m proto.Message, path []protoreflect.FieldDescriptor) protoreflect.Message {
	r := m.ProtoReflect()
	for _, f := range path {
		switch {
		case !f.IsList():
			r = r.Mutable(f).Message()
		case r.Get(f).List().Len() == 0:
			r = r.Mutable(f).List().AppendMutable().Message()
		default:
			r = r.Mutable(f).List().Get(0).Message()
		}
	}
	return r
}

// unset says whether a field, or what it lies in, is one that users do not set.
func unset(path []protoreflect.FieldDescriptor) bool {
	return slices.ContainsFunc(path, func(f protoreflect.FieldDescriptor) bool {
		has, _ := proto.GetExtension(f.Options(), annotations.E_FieldBehavior).([]annotations.FieldBehavior)
		return slices.Contains(has, annotations.FieldBehavior_OUTPUT_ONLY)
	})
}

func spell(path []protoreflect.FieldDescriptor) string {
	var parts []string
	for _, f := range path {
		parts = append(parts, string(f.Name()))
	}
	return strings.Join(parts, ".")
}

// notUTF8 is what the library refuses to write, and placeholder what it writes instead.
const (
	notUTF8     = "a\xff\xfe\xc0\xaf\xed\xa0\x80"
	placeholder = "NotUTF-8"
)

// spoil gives the wire form of base with one field changed.
func (w *world) spoil(base proto.Message, path []protoreflect.FieldDescriptor, f protoreflect.FieldDescriptor, c change) []byte {
	w.t.Helper()
	m := proto.Clone(base)
	c.set(at(m, path), f)
	wire, err := proto.Marshal(m)
	must(w.t, err)
	if c.kind == undecodable {
		if !bytes.Contains(wire, []byte(placeholder)) {
			w.t.Fatalf("no text to spoil in %v", m)
		}
		wire = bytes.ReplaceAll(wire, []byte(placeholder), []byte(notUTF8))
	}
	return wire
}

// changes gives the changes that the type and the name of a field ask for. A type that it does not
// know fails the test.
func (w *world) changes(m *method, base proto.Message, path []protoreflect.FieldDescriptor, ignored bool) []change {
	f := path[len(path)-1]
	var all []change
	add := func(kind mutationKind, what string, set func(protoreflect.Message, protoreflect.FieldDescriptor)) {
		all = append(all, change{what, what, kind, set})
	}
	add(maybe, "absent", func(r protoreflect.Message, f protoreflect.FieldDescriptor) { r.Clear(f) })
	if f.IsMap() {
		w.t.Fatalf("%s: no mutations for maps", f.FullName())
	}
	if f.IsList() {
		w.listChanges(f, add)
	}
	good := at(proto.Clone(base), path[:len(path)-1])
	for _, v := range w.values(m, f, text(good, f), ignored) {
		all = append(all, change{fmt.Sprintf("%.60q", v.what), v.mutator, v.kind, func(r protoreflect.Message, f protoreflect.FieldDescriptor) {
			if !f.IsList() {
				r.Set(f, v.make(r.NewField(f)))
				return
			}
			list := r.Mutable(f).List()
			one := v.make(list.NewElement())
			if list.Len() == 0 {
				list.Append(one)
			} else {
				list.Set(0, one)
			}
		}})
	}
	return all
}

// text gives the text of a field, or of its first element.
func text(r protoreflect.Message, f protoreflect.FieldDescriptor) string {
	switch {
	case f.Kind() != protoreflect.StringKind:
		return ""
	case !f.IsList():
		return r.Get(f).String()
	case r.Get(f).List().Len() > 0:
		return r.Get(f).List().Get(0).String()
	}
	return ""
}

// listChanges are those of a list as a whole.
func (w *world) listChanges(f protoreflect.FieldDescriptor, add func(mutationKind, string, func(protoreflect.Message, protoreflect.FieldDescriptor))) {
	add(maybe, "nil element", func(r protoreflect.Message, f protoreflect.FieldDescriptor) {
		list := r.Mutable(f).List()
		list.Append(list.NewElement())
	})
	add(maybe, "twice", func(r protoreflect.Message, f protoreflect.FieldDescriptor) {
		list := r.Mutable(f).List()
		for n := range list.Len() {
			list.Append(list.Get(n))
		}
	})
	if f.Message() == nil {
		add(maybe, "reversed", func(r protoreflect.Message, f protoreflect.FieldDescriptor) {
			list := r.Mutable(f).List()
			for n := range list.Len() / 2 {
				a, b := list.Get(n), list.Get(list.Len()-1-n)
				list.Set(n, b)
				list.Set(list.Len()-1-n, a)
			}
		})
	}
	for _, size := range []int{16, 17, 100, 101, 1000, 1001, 100_000} {
		add(maybe, fmt.Sprintf("%d elements", size), func(r protoreflect.Message, f protoreflect.FieldDescriptor) {
			list := r.Mutable(f).List()
			for n := list.Len(); n < size; n++ {
				if f.Kind() == protoreflect.StringKind {
					list.Append(protoreflect.ValueOfString(fmt.Sprint(n)))
				} else {
					list.Append(list.NewElement())
				}
			}
		})
	}
}
