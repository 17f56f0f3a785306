package controlplane

import (
	"context"
	"log/slog"
	"time"

	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	middleware "github.com/grpc-ecosystem/go-grpc-middleware/v2"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"google.golang.org/grpc"
)

// chain makes the interceptors of a server.
type chain struct {
	services Services
	log      *slog.Logger
	audit    *slog.Logger
	metrics  *grpcprom.ServerMetrics
	limiter  *limiter
	// stopping ends, by stop, when the server is to stop.
	stopping context.Context
	stop     context.CancelFunc
	// access is complete before the server serves and not changed after.
	access accessMap
}

func newChain(cfg Config) *chain {
	stopping, stop := context.WithCancel(context.Background())
	return &chain{
		stopping: stopping, stop: stop,
		services: cfg.Services,
		log:      cfg.Logger,
		audit:    cfg.Logger.WithGroup("audit"),
		limiter:  newLimiter(cfg.Rate, cfg.Burst, time.Now),
		metrics: grpcprom.NewServerMetrics(
			grpcprom.WithServerCounterOptions(grpcprom.WithNamespace("causeway")),
			grpcprom.WithServerHandlingTimeHistogram(grpcprom.WithHistogramNamespace("causeway")),
		),
	}
}

// unary gives the interceptors of unary calls, outermost first. Errors are mapped inside of what
// reports them and outside of all that makes them.
func (c *chain) unary() []grpc.UnaryServerInterceptor {
	return []grpc.UnaryServerInterceptor{
		unary(identify),
		c.metrics.UnaryServerInterceptor(),
		logging.UnaryServerInterceptor(c.logger(), logOptions()...),
		unary(c.auditCall),
		unary(c.mapError),
		recovery.UnaryServerInterceptor(recovery.WithRecoveryHandlerContext(recovered)),
		unary(c.authenticate),
		unary(c.limit),
		unary(c.validate),
	}
}

// stream gives the interceptors of streams, in the same order.
func (c *chain) stream() []grpc.StreamServerInterceptor {
	return []grpc.StreamServerInterceptor{
		stream(identify),
		c.metrics.StreamServerInterceptor(),
		logging.StreamServerInterceptor(c.logger(), logOptions()...),
		stream(c.auditCall),
		stream(c.mapError),
		recovery.StreamServerInterceptor(recovery.WithRecoveryHandlerContext(recovered)),
		stream(c.untilStop),
		stream(c.authenticate),
		stream(c.limit),
		c.validateStream,
	}
}

// step is an interceptor for calls of both kinds. The request is nil for streams. It calls next at
// most once.
type step func(ctx context.Context, method string, request any, next func(context.Context) error) error

func unary(s step) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		var answer any
		err := s(ctx, info.FullMethod, request, func(ctx context.Context) (err error) {
			answer, err = handler(ctx, request)
			return err
		})
		if err != nil {
			return nil, err
		}
		return answer, nil
	}
}

func stream(s step) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		return s(ss.Context(), info.FullMethod, nil, func(ctx context.Context) error {
			return handler(srv, &middleware.WrappedServerStream{ServerStream: ss, WrappedContext: ctx})
		})
	}
}
