package api

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"causeway/controlplane/apierr"
)

// merge puts the fields of in that mask names into the resource to. Without a mask it takes all that
// are populated, down to the single field; "*" replaces everything a user can set. Paths to fields
// that users do not set are ignored, unknown ones noted.
func merge(to, in proto.Message, mask *fieldmaskpb.FieldMask, wrong *apierr.Violations) {
	paths := mask.GetPaths()
	switch {
	case len(paths) == 0:
		paths = populated(in.ProtoReflect(), "")
	case slices.Contains(paths, "*"):
		paths = nil
		for field := range fieldsOf(in.ProtoReflect()) {
			paths = append(paths, string(field.Name()))
		}
	}
	for n, path := range paths {
		if !assign(to.ProtoReflect(), in.ProtoReflect(), strings.Split(path, ".")) {
			wrong.Add("update_mask", "path %d, %s, is not a field of %s", n, quote(path), in.ProtoReflect().Descriptor().Name())
		}
	}
}

// assign copies one field, or clears it if in does not have it, and says whether the path exists.
func assign(to, in protoreflect.Message, path []string) bool {
	field := in.Descriptor().Fields().ByName(protoreflect.Name(path[0]))
	switch {
	case field == nil:
		return false
	case len(path) > 1:
		if !nested(field) {
			return false
		}
		if fixed(field) {
			return true
		}
		if !in.Has(field) && !to.Has(field) {
			// Clearing within what is not there: only the path is checked.
			return assign(in.NewField(field).Message(), in.Get(field).Message(), path[1:])
		}
		return assign(to.Mutable(field).Message(), in.Get(field).Message(), path[1:])
	case fixed(field):
	case in.Has(field):
		to.Set(field, in.Get(field))
	default:
		to.Clear(field)
	}
	return true
}

// populated gives the paths of all fields that have a value, in messages of our own down to theirs.
func populated(m protoreflect.Message, prefix string) []string {
	var paths []string
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		path := prefix + string(field.Name())
		if nested(field) {
			paths = append(paths, populated(value.Message(), path+".")...)
			return true
		}
		paths = append(paths, path)
		return true
	})
	slices.Sort(paths)
	return paths
}

// nested says whether a field holds one message of our own, whose fields can be named in a path.
func nested(field protoreflect.FieldDescriptor) bool {
	return field.Kind() == protoreflect.MessageKind && !field.IsList() && !field.IsMap() &&
		field.Message().ParentFile().Package() == "causeway.v1"
}
