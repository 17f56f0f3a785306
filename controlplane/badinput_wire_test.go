package controlplane_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	// maxReceive is the largest message that the server takes.
	maxReceive = 1 << 20
	// strangeField is the number of a field that no message has yet.
	strangeField = 18_000
	// smuggled is what such a field holds. It must not get into the store, where a later version
	// would read it as a field of its own that no user has set.
	smuggled = "smuggled-value"
)

// wireCase gives messages that no library writes, each from a good one of the type.
type wireCase struct {
	name string
	make func(good []byte, m protoreflect.MessageDescriptor) []byte
	want []codes.Code
}

var wireCases = []wireCase{
	{"not a message", func([]byte, protoreflect.MessageDescriptor) []byte { return []byte("\xff\xff\xff\xff") }, []codes.Code{codes.InvalidArgument}},
	{"truncated", func(good []byte, _ protoreflect.MessageDescriptor) []byte {
		return append(bytes.Clone(good), 0x0a, 0x7f, 'a')
	}, []codes.Code{codes.InvalidArgument}},
	{"field number 0", func(good []byte, _ protoreflect.MessageDescriptor) []byte {
		return append(bytes.Clone(good), 0x02, 0x00)
	}, []codes.Code{codes.InvalidArgument}},
	{"endless varint", func(good []byte, _ protoreflect.MessageDescriptor) []byte {
		return append(append(bytes.Clone(good), 0x08), bytes.Repeat([]byte{0xff}, 20)...)
	}, []codes.Code{codes.InvalidArgument}},
	{"group without end", func(good []byte, _ protoreflect.MessageDescriptor) []byte {
		return protowire.AppendTag(bytes.Clone(good), strangeField, protowire.StartGroupType)
	}, []codes.Code{codes.InvalidArgument}},
	{"100000 groups deep", func(good []byte, _ protoreflect.MessageDescriptor) []byte { return nested(good, 100_000) }, []codes.Code{codes.InvalidArgument}},
	{"unknown fields", func(good []byte, m protoreflect.MessageDescriptor) []byte { return smuggle(good, m) }, []codes.Code{codes.OK}},
	{"every field twice", func(good []byte, _ protoreflect.MessageDescriptor) []byte { return append(bytes.Clone(good), good...) },
		append([]codes.Code{codes.OK}, refusals...)},
	{"wrong wire types", func(good []byte, m protoreflect.MessageDescriptor) []byte {
		for n := range m.Fields().Len() {
			good = protowire.AppendVarint(protowire.AppendTag(slices.Clip(good), m.Fields().Get(n).Number(), protowire.VarintType), 1<<63)
		}
		return good
	}, append([]codes.Code{codes.OK}, refusals...)},
	{"1 MiB", func(good []byte, _ protoreflect.MessageDescriptor) []byte { return padded(good, maxReceive) }, []codes.Code{codes.OK}},
	{"1 MiB and a byte", func(good []byte, _ protoreflect.MessageDescriptor) []byte { return padded(good, maxReceive+1) }, []codes.Code{codes.ResourceExhausted}},
	{"16 MiB", func(good []byte, _ protoreflect.MessageDescriptor) []byte { return padded(good, 16<<20) }, []codes.Code{codes.ResourceExhausted}},
}

// nested puts groups within groups behind a message, in a field that is unknown.
func nested(good []byte, depth int) []byte {
	wire := bytes.Clone(good)
	for range depth {
		wire = protowire.AppendTag(wire, strangeField, protowire.StartGroupType)
	}
	for range depth {
		wire = protowire.AppendTag(wire, strangeField, protowire.EndGroupType)
	}
	return wire
}

// smuggle puts an unknown field into the message and, again, into each message it can hold.
func smuggle(good []byte, m protoreflect.MessageDescriptor) []byte {
	extra := protowire.AppendString(protowire.AppendTag(nil, strangeField, protowire.BytesType), smuggled)
	wire := append(bytes.Clone(good), extra...)
	for n := range m.Fields().Len() {
		// A second value of a message field is merged into the first.
		if f := m.Fields().Get(n); f.Message() != nil && !f.IsList() && f.Message().ParentFile().Package() == "causeway.v1" {
			wire = protowire.AppendBytes(protowire.AppendTag(wire, f.Number(), protowire.BytesType), smuggle(nil, f.Message()))
		}
	}
	return wire
}

// padded brings a message to a size by an unknown field.
func padded(good []byte, size int) []byte {
	wire := protowire.AppendTag(bytes.Clone(good), strangeField, protowire.BytesType)
	room := size - len(wire)
	return protowire.AppendBytes(wire, make([]byte, room-protowire.SizeVarint(uint64(room-3))))
}

// TestBadInputWire sends every method what only a hand-made client sends.
func TestBadInputWire(t *testing.T) {
	w := newWorld(t)
	for _, m := range methods(t) {
		good, err := proto.Marshal(w.base(m))
		must(t, err)
		for _, c := range few(2, wireCases, func(c wireCase) string { return m.path + c.name }) {
			w.sendWire(w.caller(m), m, c.name, c.make(good, m.input.Descriptor()), c.want)
		}
	}
}

func (w *world) sendWire(conn *grpc.ClientConn, m *method, name string, wire []byte, want []codes.Code) {
	w.t.Helper()
	start := time.Now()
	_, err := send(w.t.Context(), conn, m.path, wire)
	st := status.Convert(err)
	if !slices.Contains(want, st.Code()) {
		w.t.Errorf("%s with %s gives %v %q, want one of %v", m.path, name, st.Code(), st.Message(), want)
	}
	if took := time.Since(start); took > callTimeout {
		w.t.Errorf("%s with %s took %v", m.path, name, took)
	}
	changed := w.state.changed()
	for _, key := range changed {
		if strings.Contains(w.state.now[key], smuggled) {
			w.t.Errorf("%s with %s stored an unknown field in %s", m.path, name, key)
		}
	}
	if changed != nil {
		if err != nil {
			w.t.Errorf("%s with %s gives %v and changed %q", m.path, name, st.Code(), changed)
		}
		w.state.restore()
	}
	if err == nil {
		return
	}
	faults := statusFaults(wire, st)
	if len(wire) <= maxReceive { // what is larger grpc-go refuses by itself
		faults = domainFaults(m, wire, st)
	}
	for _, fault := range append(faults, w.log.take()...) {
		w.t.Errorf("%s with %s gives %v %q: %s", m.path, name, st.Code(), st.Message(), fault)
	}
}
