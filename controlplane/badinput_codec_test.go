package controlplane_test

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
)

// wireCodec sends and receives messages as they are on the wire. To the server it is proto.
type wireCodec struct{}

// Marshal implements encoding.CodecV2.
func (wireCodec) Marshal(v any) (mem.BufferSlice, error) {
	wire, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("send %T: not bytes", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(wire)}, nil
}

// Unmarshal implements encoding.CodecV2.
func (wireCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// Name implements encoding.CodecV2.
func (wireCodec) Name() string { return "proto" }

// send makes a call with a request as it shall be on the wire.
func send(ctx context.Context, conn *grpc.ClientConn, path string, wire []byte, opts ...grpc.CallOption) (answer []byte, err error) {
	err = conn.Invoke(ctx, path, wire, &answer, append(opts, grpc.ForceCodecV2(wireCodec{}))...)
	return answer, err
}
