package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/auth"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"causeway/controlplane/api"
	"causeway/controlplane/apierr"
	causewayv1 "causeway/proto/causeway/v1"
)

// mapError turns what a call ended in into the status that is sent, and logs what callers are not
// told.
func (c *chain) mapError(ctx context.Context, method string, _ any, next func(context.Context) error) error {
	err := next(ctx)
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok && standard(method) {
		return err
	}
	id := recordOf(ctx).id
	st, cause := apierr.ToStatus(err, id)
	if cause != nil {
		c.log.Error("api call failed", "method", method, "request_id", id, "error", cause)
	}
	return st.Err()
}

// errStopping is why streams end that would hold up the server's stop.
var errStopping = errors.New("server stops")

// untilStop ends a stream when the server is to stop.
func (c *chain) untilStop(ctx context.Context, method string, _ any, next func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.stopping, func() { cancel(errStopping) })()
	err := next(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errStopping) && !standard(method) {
		return apierr.NotReady(time.Second, "the server stops; call again in a moment")
	}
	return err
}

// recovered makes an error of a panic; mapError logs it and tells the caller nothing of it.
func recovered(_ context.Context, p any) error {
	return fmt.Errorf("panic: %v\n%s", p, debug.Stack())
}

// authenticate establishes the caller and whether the method is allowed to it. Without an entry for
// the method, a caller or a role, the call is refused.
func (c *chain) authenticate(ctx context.Context, method string, _ any, next func(context.Context) error) error {
	need, known := c.access[method]
	if !known {
		return apierr.PermissionDenied()
	}
	if need == anonymous {
		return next(ctx)
	}
	caller, err := c.caller(ctx)
	if errors.Is(err, api.ErrUnauthenticated) {
		return apierr.Unauthenticated()
	}
	if err != nil {
		return err
	}
	recordOf(ctx).caller = caller
	if !allowed(caller, need) {
		return apierr.PermissionDenied()
	}
	return next(api.WithCaller(ctx, caller))
}

// caller gives who makes a call: on the unix socket whom the kernel names, otherwise whom the bearer
// token stands for.
func (c *chain) caller(ctx context.Context) (api.Caller, error) {
	if uid, ok := callerUID(ctx); ok {
		if uid != 0 && int(uid) != os.Geteuid() {
			return api.Caller{}, api.ErrUnauthenticated
		}
		return api.Caller{
			Account: api.DefaultAccount, Operator: true,
			Role: causewayv1.Token_ADMIN, Name: fmt.Sprintf("unix socket, uid %d", uid),
		}, nil
	}
	token, err := auth.AuthFromMD(ctx, "bearer")
	if err != nil {
		return api.Caller{}, api.ErrUnauthenticated
	}
	return c.services.Authenticate(ctx, token)
}

// allowed says whether a caller's role covers an access. Which accounts it may act in, the services
// decide.
func allowed(caller api.Caller, need causewayv1.Access) bool {
	admin := caller.Role == causewayv1.Token_ADMIN
	connects := admin || caller.Role == causewayv1.Token_TUNNEL_OPERATOR
	switch need {
	case causewayv1.Access_VIEW:
		return connects || caller.Role == causewayv1.Token_VIEWER
	case causewayv1.Access_CONNECT:
		return connects
	case causewayv1.Access_MANAGE:
		return admin
	case causewayv1.Access_OPERATE:
		return admin && caller.Operator
	}
	return false
}

// limit refuses a caller's calls beyond its rate. Anonymous callers share one bucket.
func (c *chain) limit(ctx context.Context, _ string, _ any, next func(context.Context) error) error {
	if wait := c.limiter.take(recordOf(ctx).caller.Name); wait > 0 {
		return apierr.RateLimited(wait)
	}
	return next(ctx)
}

// validate refuses a request that did not decode or violates the schema.
func (c *chain) validate(ctx context.Context, method string, request any, next func(context.Context) error) error {
	if err := c.check(method, request); err != nil {
		return err
	}
	return next(ctx)
}

func (c *chain) check(method string, request any) error {
	if err := undecodable(request); err != nil {
		return apierr.Invalid("request", "does not decode: %v", err)
	}
	if m, ok := request.(proto.Message); ok && !standard(method) {
		return c.services.CheckRequest(m)
	}
	return nil
}

// validateStream checks every message that a stream receives.
func (c *chain) validateStream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	return handler(srv, &checkedStream{ServerStream: ss, check: func(m any) error { return c.check(info.FullMethod, m) }})
}

type checkedStream struct {
	grpc.ServerStream
	check func(any) error
}

// RecvMsg implements grpc.ServerStream.
func (s *checkedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return s.check(m)
}

// standard tells the methods of services that are not ours: they do not follow our schema's rules
// and have errors of their own.
func standard(method string) bool {
	service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	_, ok := standardServices[service]
	return ok
}
