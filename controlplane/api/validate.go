package api

import (
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"causeway/controlplane/apierr"
)

// CheckRequest applies the rules of the schema to a request and gives INVALID_ARGUMENT with all that
// it violates. Of an update, whose resource may hold only what shall change, the resource is left
// out but for the lengths of its lists: the handler checks what comes of it.
func (a *API) CheckRequest(req proto.Message) error {
	var wrong apierr.Violations
	if checkSizes(&wrong, "", req.ProtoReflect()); wrong.Len() > 0 {
		return wrong.Err()
	}
	var opts []protovalidate.ValidationOption
	if req.ProtoReflect().Descriptor().Fields().ByName("update_mask") != nil {
		opts = append(opts, protovalidate.WithFilter(protovalidate.FilterFunc(outsideResource)))
	}
	if err := wrong.AddRules("", a.kernel.validator.Validate(req, opts...)); err != nil {
		return err
	}
	return wrong.Err()
}

// outsideResource says whether the rules of m apply although it may be a part of a resource.
func outsideResource(m protoreflect.Message, _ protoreflect.Descriptor) bool {
	return m.Descriptor().Fields().ByName("update_mask") != nil
}
