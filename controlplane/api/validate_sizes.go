package api

import (
	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"causeway/controlplane/apierr"
)

// checkSizes notes lists that are longer than their rule (max_items) allows, at any depth. It comes
// before everything that looks at each element: a request of a mebibyte holds half a million of
// them, and to tell what is wrong with each takes seconds.
func checkSizes(wrong *apierr.Violations, prefix string, r protoreflect.Message) {
	for field, value := range r.Range {
		path := prefix + string(field.Name())
		switch {
		case field.IsMap():
		case field.IsList():
			if most, ok := maxItems(field); ok && uint64(value.List().Len()) > most {
				wrong.Add(path, "must contain no more than %d item(s)", most)
			}
		case field.Message() != nil:
			checkSizes(wrong, path+".", value.Message())
		}
	}
}

// maxItems gives the longest that the schema allows a list to be.
func maxItems(field protoreflect.FieldDescriptor) (uint64, bool) {
	rules, _ := proto.GetExtension(field.Options(), validate.E_Field).(*validate.FieldRules)
	if rules.GetRepeated() == nil || !rules.GetRepeated().HasMaxItems() {
		return 0, false
	}
	return rules.GetRepeated().GetMaxItems(), true
}
