package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "causeway/proto/causeway/v1"
)

// api calls methods with JSON, as grpcurl does, and notes the grpcurl line of each.
type api struct {
	conn   *grpc.ClientConn
	socket string
	lines  []string
}

func dialAPI(socket string) (*api, error) {
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("dial the API: %w", err)
	}
	return &api{conn: conn, socket: socket}, nil
}

func (a *api) close() { _ = a.conn.Close() }

// do calls a method such as Vpcs/CreateVpc and notes it.
func (a *api) do(ctx context.Context, method, request string) (proto.Message, error) {
	a.lines = append(a.lines, fmt.Sprintf("grpcurl -unix -plaintext -d '%s' %s causeway.v1.%s", request, a.socket, method))
	fmt.Printf("  %s %s\n", method, request)
	return a.call(ctx, method, request)
}

// call calls a method without noting it.
func (a *api) call(ctx context.Context, method, request string) (proto.Message, error) {
	service, name, _ := strings.Cut(method, "/")
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName("causeway.v1." + service + "." + name))
	if err != nil {
		return nil, fmt.Errorf("find method %s: %w", method, err)
	}
	m := found.(protoreflect.MethodDescriptor)
	in, err := newMessage(m.Input())
	if err != nil {
		return nil, err
	}
	out, err := newMessage(m.Output())
	if err != nil {
		return nil, err
	}
	if err := protojson.Unmarshal([]byte(request), in); err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	if err := a.conn.Invoke(ctx, "/causeway.v1."+method, in, out); err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	return out, nil
}

func newMessage(d protoreflect.MessageDescriptor) (proto.Message, error) {
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		return nil, fmt.Errorf("find message %s: %w", d.FullName(), err)
	}
	return t.New().Interface(), nil
}

// await gets a resource until done accepts it.
func await[T proto.Message](ctx context.Context, a *api, method, request, what string, done func(T) bool) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		got, err := a.call(ctx, method, request)
		if err != nil {
			var none T
			return none, err
		}
		if done(got.(T)) {
			return got.(T), nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return got.(T), fmt.Errorf("%s in 20 s; last seen: %v", what, got)
		}
	}
}
