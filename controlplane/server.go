// Package controlplane serves the API: its listeners, and what every call passes through before it
// reaches a service. The services themselves are in package api.
//
// A call passes, unary and stream alike: request id, metrics, log, audit, error mapping, recovery,
// authentication and permission, rate limit, validation. Whatever is not configured is refused.
package controlplane

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/protobuf/proto"

	"causeway/controlplane/api"
)

// Limits of a connection and of a call.
const (
	maxReceive     = 1 << 20
	maxSend        = 16 << 20
	maxStreams     = 100
	maxHeaders     = 16 << 10
	connectTimeout = 5 * time.Second
	pingInterval   = 10 * time.Second // the shortest that clients may ping in
	connectionAge  = 30 * time.Minute
	ageGrace       = 5 * time.Minute
	stopTimeout    = 10 * time.Second
)

// The rate of each caller's calls that is always served, and how many may come at once.
const (
	defaultRate  = 1000
	defaultBurst = 2000
)

// Services are what the server serves.
type Services interface {
	// Register has a server serve them.
	Register(grpc.ServiceRegistrar)
	// Authenticate gives the caller that a bearer token stands for: api.ErrUnauthenticated if none.
	Authenticate(ctx context.Context, token string) (api.Caller, error)
	// CheckRequest gives INVALID_ARGUMENT for a request that violates the schema.
	CheckRequest(proto.Message) error
}

var _ Services = (*api.API)(nil)

// Config is what a [Server] needs. Services, Logger and one of Socket and Listen are required.
type Config struct {
	Services Services
	// Socket is the path of the unix socket; empty for none.
	Socket string
	// Listen is the address of the TLS listener; empty for none.
	Listen string
	TLS    TLSConfig
	// Rate is how many calls a second each caller may make, Burst how many at once; 0 is 1000 and
	// 2000.
	Rate   float64
	Burst  int
	Logger *slog.Logger
}

// Server serves the API on its listeners.
type Server struct {
	cfg          Config
	log          *slog.Logger
	grpc         *grpc.Server
	health       *health.Server
	metrics      prometheus.Collector
	endStreams   context.CancelFunc
	certificates *certificates // nil without a TLS listener
	listeners    []net.Listener
	listening    chan struct{}
}

// New makes a server. It reads or makes certificates and does not listen yet. A service with a method
// that says nothing of the access it needs is an error.
func New(cfg Config) (*Server, error) {
	s := &Server{cfg: cfg, log: cfg.Logger, health: health.NewServer(), listening: make(chan struct{})}
	if err := s.init(); err != nil {
		return nil, fmt.Errorf("make api server: %w", err)
	}
	return s, nil
}

func (s *Server) init() error {
	switch {
	case s.cfg.Services == nil || s.cfg.Logger == nil:
		return errors.New("no services or no logger")
	case s.cfg.Socket == "" && s.cfg.Listen == "":
		return errors.New("nothing to listen on")
	}
	if s.cfg.Rate == 0 {
		s.cfg.Rate, s.cfg.Burst = defaultRate, defaultBurst
	}
	security := newListenerCredentials(&tls.Config{MinVersion: tls.VersionTLS13})
	if s.cfg.Listen != "" {
		var err error
		if s.certificates, err = newCertificates(s.cfg.TLS, s.log); err != nil {
			return err
		}
		security = newListenerCredentials(s.certificates.config())
	}
	chain := newChain(s.cfg)
	s.metrics, s.endStreams = chain.metrics, chain.stop
	s.grpc = grpc.NewServer(append(limits(),
		grpc.Creds(security),
		grpc.ForceServerCodecV2(newLenientCodec()),
		grpc.ChainUnaryInterceptor(chain.unary()...),
		grpc.ChainStreamInterceptor(chain.stream()...),
	)...)
	s.cfg.Services.Register(s.grpc)
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	var err error
	if chain.access, err = newAccessMap(s.grpc.GetServiceInfo()); err != nil {
		return err
	}
	chain.metrics.InitializeMetrics(s.grpc)
	return nil
}

func limits() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxReceive),
		grpc.MaxSendMsgSize(maxSend),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.ConnectionTimeout(connectTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime: pingInterval, PermitWithoutStream: true,
		}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionAge: connectionAge, MaxConnectionAgeGrace: ageGrace,
		}),
		grpc.WaitForHandlers(true),
	}
}

// Collector gives the metrics of the calls.
func (s *Server) Collector() prometheus.Collector { return s.metrics }

// Listening is closed when calls are accepted.
func (s *Server) Listening() <-chan struct{} { return s.listening }

// Run listens and serves until ctx ends. Then it accepts no more, gives calls under way ten seconds
// and returns nil. It is to be called once.
func (s *Server) Run(ctx context.Context) error {
	if err := s.listen(ctx); err != nil {
		return err
	}
	close(s.listening)
	run, ctx := errgroup.WithContext(ctx)
	for _, l := range s.listeners {
		s.log.Info("api listens", "network", l.Addr().Network(), "address", l.Addr().String())
		run.Go(func() error {
			if err := s.grpc.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
				return fmt.Errorf("serve api on %s: %w", l.Addr(), err)
			}
			return nil
		})
	}
	if s.certificates != nil {
		run.Go(func() error { return s.certificates.run(ctx) })
	}
	run.Go(func() error {
		<-ctx.Done()
		s.stop()
		return nil
	})
	return run.Wait()
}

// listen opens all listeners or none.
func (s *Server) listen(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			for _, l := range s.listeners {
				err = errors.Join(err, l.Close())
			}
		}
	}()
	if s.cfg.Socket != "" {
		l, err := listenSocket(s.cfg.Socket)
		if err != nil {
			return err
		}
		s.listeners = append(s.listeners, l)
	}
	if s.cfg.Listen != "" {
		l, err := listenTCP(ctx, s.cfg.Listen)
		if err != nil {
			return err
		}
		s.listeners = append(s.listeners, l)
	}
	return nil
}

// stop ends serving within stopTimeout.
func (s *Server) stop() {
	s.health.Shutdown()
	s.endStreams()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.grpc.GracefulStop()
	}()
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-stopped:
	case <-timer.C:
		s.grpc.Stop()
		<-stopped
	}
}

// Addr gives the address of the TLS listener, once [Server.Listening]; nil without one.
func (s *Server) Addr() net.Addr {
	for _, l := range s.listeners {
		if l.Addr().Network() == "tcp" {
			return l.Addr()
		}
	}
	return nil
}
