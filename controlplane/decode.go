package controlplane

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// grpc-go reports a message that does not decode as INTERNAL and, for unary methods, before any
// interceptor runs. It is the caller's mistake, and the call is to be authenticated, counted and
// audited like any other. registrar has such calls pass through the interceptors with an empty
// message and the mistake in their context.
type registrar struct{ grpc.ServiceRegistrar }

type undecodableKey struct{}

// RegisterService implements grpc.ServiceRegistrar.
func (r registrar) RegisterService(desc *grpc.ServiceDesc, impl any) {
	wrapped := *desc
	wrapped.Methods = make([]grpc.MethodDesc, len(desc.Methods))
	for i, method := range desc.Methods {
		wrapped.Methods[i] = grpc.MethodDesc{
			MethodName: method.MethodName,
			Handler: func(srv any, ctx context.Context, decode func(any) error, chain grpc.UnaryServerInterceptor) (any, error) {
				return handleDecoded(method.Handler, srv, ctx, decode, chain)
			},
		}
	}
	r.ServiceRegistrar.RegisterService(&wrapped, impl)
}

func handleDecoded(handle grpc.MethodHandler, srv any, ctx context.Context, decode func(any) error, chain grpc.UnaryServerInterceptor) (any, error) {
	var mistake error
	lenient := func(into any) error {
		err := decode(into)
		if !decodingFailed(err) {
			return err
		}
		mistake = err
		if m, ok := into.(proto.Message); ok {
			proto.Reset(m)
		}
		return nil
	}
	return handle(srv, ctx, lenient, func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		if mistake != nil {
			ctx = context.WithValue(ctx, undecodableKey{}, mistake)
		}
		return chain(ctx, req, info, next)
	})
}

// decodingFailed recognises what grpc-go gives for a message it has received and cannot decode.
func decodingFailed(err error) bool { return err != nil && status.Code(err) == codes.Internal }

// undecodable gives why the request of a call did not decode; nil if it did.
func undecodable(ctx context.Context) error {
	err, _ := ctx.Value(undecodableKey{}).(error)
	return err
}
