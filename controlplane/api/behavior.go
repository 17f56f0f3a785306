package api

import (
	"slices"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// behaves says whether the schema gives a field one of these behaviours (AIP-203).
func behaves(field protoreflect.FieldDescriptor, any ...annotations.FieldBehavior) bool {
	has, _ := proto.GetExtension(field.Options(), annotations.E_FieldBehavior).([]annotations.FieldBehavior)
	return slices.ContainsFunc(any, func(b annotations.FieldBehavior) bool { return slices.Contains(has, b) })
}

// fixed says that users do not set a field: what they send in it is ignored, so that what Get gave
// can be sent back. An etag is a condition, not a value.
func fixed(field protoreflect.FieldDescriptor) bool {
	return field.Name() == "etag" ||
		behaves(field, annotations.FieldBehavior_OUTPUT_ONLY, annotations.FieldBehavior_IDENTIFIER)
}

// clearFixed removes from a resource what users do not set.
func clearFixed(m proto.Message) {
	r := m.ProtoReflect()
	for field := range fieldsOf(r) {
		if fixed(field) {
			r.Clear(field)
		}
	}
}

// changedImmutable gives the fields that may not change and differ.
func changedImmutable(before, after proto.Message) []protoreflect.FieldDescriptor {
	var changed []protoreflect.FieldDescriptor
	b, a := before.ProtoReflect(), after.ProtoReflect()
	for field := range fieldsOf(b) {
		if behaves(field, annotations.FieldBehavior_IMMUTABLE) &&
			(b.Has(field) != a.Has(field) || !b.Get(field).Equal(a.Get(field))) {
			changed = append(changed, field)
		}
	}
	return changed
}

func fieldsOf(r protoreflect.Message) func(yield func(protoreflect.FieldDescriptor) bool) {
	return func(yield func(protoreflect.FieldDescriptor) bool) {
		list := r.Descriptor().Fields()
		for n := range list.Len() {
			if !yield(list.Get(n)) {
				return
			}
		}
	}
}

// set gives a resource's field a value, if its kind has the field.
func set(m proto.Message, name protoreflect.Name, value any) {
	r := m.ProtoReflect()
	if field := r.Descriptor().Fields().ByName(name); field != nil {
		if message, ok := value.(proto.Message); ok {
			r.Set(field, protoreflect.ValueOfMessage(message.ProtoReflect()))
			return
		}
		r.Set(field, protoreflect.ValueOf(value))
	}
}
