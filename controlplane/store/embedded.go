package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
)

const (
	// compactEvery is how much history the embedded server keeps, half of it at least: the life of a
	// page token, and how far behind a watch may resume. A full store keeps less, see space.
	compactEvery = "1h"
	// stopTimeout is how long Close waits for a server whose disk has failed. A sound one is waited
	// for without limit.
	stopTimeout = 3 * time.Second
	// memberURL is what the only member would tell others of itself. Nobody asks; it stays the same
	// when the directory is moved.
	memberURL = "unix:///causeway"
)

// OpenEmbedded opens the store in dir, which is created with mode 0700 if it is absent, and runs an
// etcd server on it inside this process. The server listens on UNIX sockets in a private folder and
// nowhere else. Every acknowledged write has been synced to disk.
//
// It returns once the server takes writes, typically well under a second, or when ctx ends; ctx
// does not bound the store's life. A directory that another process has open is ErrLocked; one that
// holds something else, or what a later version wrote, is ErrForeign; damage that etcd notices on
// opening is ErrDamaged. etcd's own log goes to logger from level warn.
func OpenEmbedded(ctx context.Context, dir string, logger *slog.Logger, opts ...Option) (*Store, error) {
	s, err := openEmbedded(ctx, dir, logger, newOptions(EmbeddedMaxTxnOps, opts))
	if err != nil {
		return nil, fmt.Errorf("open store in %q: %w", dir, err)
	}
	return s, nil
}

func openEmbedded(ctx context.Context, dir string, logger *slog.Logger, opt options) (_ *Store, err error) {
	home, err := claimDir(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, home.release())
		}
	}()
	fail := newFailure()
	etcdLog := newZapLogger(logger, fail)
	server, err := startServer(ctx, embeddedConfig(home, opt, etcdLog), etcdLog)
	if err != nil {
		return nil, err
	}
	s := &Store{
		client:       v3client.New(server.Server),
		root:         keySpace,
		log:          logger,
		opts:         opt,
		readTimeout:  embeddedTimeout,
		writeTimeout: embeddedTimeout,
		readTries:    1,
		failure:      fail,
	}
	s.shutdown = func() error { return errors.Join(stopServer(server, etcdLog), home.release()) }
	s.space = newSpace(s.client, server.Server.Backend(), logger, opt)
	if err := s.prepare(ctx, "\x00"); err != nil {
		return nil, errors.Join(err, s.client.Close(), stopServer(server, etcdLog))
	}
	if full(server.Server.Alarms()) {
		if err := s.space.reclaim(ctx); err != nil {
			logger.Warn("store is full and takes nothing new", "error", err)
		}
	}
	return s, nil
}

func embeddedConfig(home *home, opt options, logger *zapLogger) *embed.Config {
	cfg := embed.NewConfig()
	cfg.Name = "causeway"
	cfg.Dir = home.data()
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logger.zap)

	// etcd takes a peer's socket from the URL's host alone. Without one the kernel would choose an
	// abstract name, which every user of the machine may connect to.
	cfg.ListenPeerUrls = []url.URL{{Scheme: "unix", Host: filepath.Join(home.sockets, "peer.sock")}}
	cfg.ListenClientUrls = []url.URL{{Scheme: "unix", Path: filepath.Join(home.sockets, "client.sock")}}
	member, _ := url.Parse(memberURL)
	cfg.AdvertisePeerUrls = []url.URL{*member}
	cfg.AdvertiseClientUrls = []url.URL{*member}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.EnableGRPCGateway = false
	cfg.CORS, cfg.HostWhitelist = nil, nil

	cfg.MaxTxnOps = uint(opt.maxTxnOps)
	cfg.MaxRequestBytes = embeddedMaxRequest
	cfg.QuotaBackendBytes = opt.quota + reserve(opt.quota)
	cfg.AutoCompactionMode = embed.CompactorModePeriodic
	cfg.AutoCompactionRetention = compactEvery
	return cfg
}

// startServer runs embed.StartEtcd on a goroutine of its own: on some damage etcd ends the goroutine
// (see newZapLogger) or panics in it instead of returning.
func startServer(ctx context.Context, cfg *embed.Config, logger *zapLogger) (*embed.Etcd, error) {
	fail := logger.fail
	type result struct {
		server *embed.Etcd
		err    error
	}
	started := make(chan result, 1)
	go func() {
		out := result{err: ErrDamaged}
		defer func() {
			if p := recover(); p != nil {
				out = result{err: fmt.Errorf("%w: %v", ErrDamaged, p)}
			}
			if cause := fail.err(); cause != nil {
				out = result{err: fmt.Errorf("%w: %w", ErrDamaged, cause)}
			}
			started <- out
		}()
		server, err := embed.StartEtcd(cfg)
		out = result{server: server, err: err}
	}()
	var out result
	select {
	case out = <-started:
	case <-fail.done():
		// The goroutine that failed may be one that StartEtcd waits for, and then it waits forever.
		return nil, fmt.Errorf("start etcd: %w: %w", ErrDamaged, fail.err())
	}
	if out.err != nil {
		return nil, fmt.Errorf("start etcd: %w", damage(out.err))
	}
	select {
	case <-out.server.Server.ReadyNotify():
		return out.server, nil
	case <-fail.done():
		return nil, errors.Join(fmt.Errorf("start etcd: %w", fail.err()), stopServer(out.server, logger))
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("start etcd: %w", ctx.Err()), stopServer(out.server, logger))
	}
}

// full says whether the quota has been reached.
func full(alarms []*etcdserverpb.AlarmMember) bool {
	return slices.ContainsFunc(alarms, func(a *etcdserverpb.AlarmMember) bool {
		return a.GetAlarm() == etcdserverpb.AlarmType_NOSPACE
	})
}

// damage marks an error that the operating system did not give: what is left, once the configuration
// is ours, is what etcd read.
func damage(err error) error {
	if _, system := errors.AsType[syscall.Errno](err); system || errors.Is(err, ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// stopServer stops the server and waits for it. After a failure some of its goroutines are gone
// while they held locks, so that the wait has an end.
func stopServer(server *embed.Etcd, logger *zapLogger) error {
	fail := logger.fail
	logger.closing.Store(true)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		server.Close()
	}()
	select {
	case <-stopped:
		return nil
	case <-fail.done():
	}
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-stopped:
		return nil
	case <-timer.C:
		return fmt.Errorf("stop etcd: no end after %v: %w", stopTimeout, fail.err())
	}
}
