// Package jsonapi calls Causeway's API with JSON, as grpcurl does, for stories that a person could
// repeat by hand.
package jsonapi

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "causeway/proto/causeway/v1" // its messages are looked up by name
)

// pollInterval is how often Await looks.
const pollInterval = 20 * time.Millisecond

// Client is a connection to a control plane. It is safe for concurrent use.
type Client struct {
	conn *grpc.ClientConn
}

// DialSocket connects to the API's unix socket as the calling user.
func DialSocket(path string) (*Client, error) {
	return dial("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// DialTLS connects to host:port and sends a bearer token with every call. More options, such as a
// dialer into a network namespace, may follow.
func DialTLS(address string, tls credentials.TransportCredentials, token string, more ...grpc.DialOption) (*Client, error) {
	return dial("passthrough:///"+address, append(more, grpc.WithTransportCredentials(tls), grpc.WithPerRPCCredentials(bearer(token)))...)
}

func dial(target string, options ...grpc.DialOption) (*Client, error) {
	conn, err := grpc.NewClient(target, options...)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", target, err)
	}
	return &Client{conn: conn}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Call calls a method, such as Vpcs/CreateVpc, with a request in JSON. Its error wraps the status.
func (c *Client) Call(ctx context.Context, method, request string) (proto.Message, error) {
	service, name, _ := strings.Cut(method, "/")
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName("causeway.v1." + service + "." + name))
	if err != nil {
		return nil, fmt.Errorf("find method %s: %w", method, err)
	}
	m, ok := found.(protoreflect.MethodDescriptor)
	if !ok {
		return nil, fmt.Errorf("find method %s: it is no method", method)
	}
	in, err := newMessage(m.Input())
	if err != nil {
		return nil, err
	}
	out, err := newMessage(m.Output())
	if err != nil {
		return nil, err
	}
	if err := protojson.Unmarshal([]byte(request), in); err != nil {
		return nil, fmt.Errorf("read the request of %s: %w", method, err)
	}
	if err := c.conn.Invoke(ctx, "/causeway.v1."+method, in, out); err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, request, err)
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

// Await calls a Get method until done accepts the answer or ctx ends.
func Await[T proto.Message](ctx context.Context, c *Client, method, request string, done func(T) bool) (T, error) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	var none T
	for {
		answer, err := c.Call(ctx, method, request)
		if err != nil {
			return none, err
		}
		got, ok := answer.(T)
		if !ok {
			return none, fmt.Errorf("%s answers %T, not %T", method, answer, none)
		}
		if done(got) {
			return got, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return none, fmt.Errorf("wait on %s %s: %w; last seen %v", method, request, ctx.Err(), got)
		}
	}
}

// bearer is a token sent with every call.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearer) RequireTransportSecurity() bool { return true }
