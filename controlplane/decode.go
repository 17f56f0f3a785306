package controlplane

import (
	"errors"

	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// grpc-go answers a message that does not decode with INTERNAL, before any interceptor runs. It is
// the caller's mistake, and the call is to be authenticated, counted and audited like any other. So
// the codec hands such a message on, empty but for an unknown field that says what is wrong, and
// validation refuses it.

// markField holds the mistake. It is the greatest field number there is, which no message of ours
// uses; what a caller sends in it is dropped.
const markField = protowire.MaxValidNumber

// lenientCodec is grpc-go's codec for protocol buffers but for messages that do not decode, and for
// fields that this version's schema does not know: it drops them. Stored with a resource they would
// wait for a later version, which may have such a field and mean by it what no user may set.
type lenientCodec struct{ encoding.CodecV2 }

func newLenientCodec() lenientCodec { return lenientCodec{encoding.GetCodecV2(grpcproto.Name)} }

// Unmarshal implements encoding.CodecV2.
func (c lenientCodec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(proto.Message)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	buffer := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buffer.Free()
	err := proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(buffer.ReadOnlyData(), m)
	if err == nil {
		return nil
	}
	proto.Reset(m)
	mark := protowire.AppendTag(nil, markField, protowire.BytesType)
	m.ProtoReflect().SetUnknown(protowire.AppendString(mark, err.Error()))
	return nil
}

// undecodable gives why a request did not decode; nil if it did.
func undecodable(request any) error {
	m, ok := request.(proto.Message)
	if !ok {
		return nil
	}
	unknown := m.ProtoReflect().GetUnknown()
	number, kind, n := protowire.ConsumeTag(unknown)
	if n < 0 || number != markField || kind != protowire.BytesType {
		return nil
	}
	reason, _ := protowire.ConsumeString(unknown[n:])
	return errors.New(reason)
}
