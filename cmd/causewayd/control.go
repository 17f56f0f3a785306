package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"causeway/controlplane"
	"causeway/controlplane/api"
	"causeway/controlplane/notify"
	"causeway/controlplane/proof"
	"causeway/controlplane/reconcile"
	"causeway/controlplane/secret"
	"causeway/controlplane/store"
)

// A cluster that does not answer at the start is tried again after so long, doubling.
const (
	openFirst  = 100 * time.Millisecond
	openMost   = 5 * time.Second
	openWithin = 10 * time.Second
)

// dataPlane is what the control plane asks of the gateway.
type dataPlane interface {
	reconcile.Gateway
	api.Flows
	api.Explainer
}

// controlPlane is the store, the reconciler and the API.
type controlPlane struct {
	cfg      config
	log      *slog.Logger
	gateway  dataPlane
	registry *prometheus.Registry
	latency  *prometheus.HistogramVec

	reconciler atomic.Pointer[reconcile.Reconciler] // nil until the store is open
	server     atomic.Pointer[controlplane.Server]
}

func newControlPlane(cfg config, gateway dataPlane, registry *prometheus.Registry, log *slog.Logger) *controlPlane {
	return &controlPlane{
		cfg: cfg, log: log, gateway: gateway, registry: registry,
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "causeway_store_operation_duration_seconds",
			Help:    "Time that operations of the store took, by operation and result.",
			Buckets: prometheus.ExponentialBuckets(0.000_1, 2, 16),
		}, []string{"operation", "result"}),
	}
}

// run opens the store and serves the API on it until ctx ends.
func (c *controlPlane) run(ctx context.Context) (err error) {
	s, err := c.open(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	cache := store.NewCache(s, c.log, reconcile.Collections()...)
	secrets, err := secret.OpenFile(c.cfg.secretsKey())
	if err != nil {
		return err
	}
	reconciler, err := reconcile.New(reconcile.Config{
		Store: s, Cache: cache, Gateway: c.gateway, Secrets: secrets, Zones: c.zones(),
		Ports:     reconcile.PortRange(c.cfg.WireGuard.Ports),
		DNSSuffix: c.cfg.DNS.Suffix,
		Logger:    c.log,
	})
	if err != nil {
		return err
	}
	guard := notify.NewGuard(c.cfg.Notifications.Allow)
	// Of its own, so that an event that comes or goes is no reason to reconcile.
	outbox := store.NewCache(s, c.log, notify.Collections()...)
	deliverer, err := notify.New(notify.Config{Store: s, Cache: outbox, Guard: guard, Secrets: secrets, Logger: c.log})
	if err != nil {
		return err
	}
	txt := newTXTServers(c.cfg.DNS.forwarders())
	server, err := c.newServer(ctx, api.Config{
		Store: s, Secrets: secrets, Observer: reconciler, Gateways: reconciler, Flows: c.gateway, Explainer: c.gateway, Receivers: guard,
		DNSSuffix: c.cfg.DNS.Suffix, TXT: txt,
	})
	if err != nil {
		return err
	}
	for _, collector := range []prometheus.Collector{c.latency, server.Collector(), deliverer} {
		if err := c.registry.Register(collector); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	c.reconciler.Store(reconciler)
	c.server.Store(server)
	return runComponents(ctx,
		component{"cache", cache.Run},
		component{"reconciler", reconciler.Run},
		component{"outbox", outbox.Run},
		component{"notifications", deliverer.Run},
		component{"proofs", proof.NewChecker(proof.Config{Store: s, Resolver: txt, Logger: c.log}).Run},
		component{"api", server.Run},
	)
}

// newServer makes the API's server. The zones are those of the configuration.
func (c *controlPlane) newServer(ctx context.Context, cfg api.Config) (*controlplane.Server, error) {
	for _, z := range c.cfg.Zones {
		cfg.Zones = append(cfg.Zones, api.Zone{Region: z.Region, Name: z.Zone})
	}
	services, err := api.New(cfg)
	if err != nil {
		return nil, err
	}
	if err := services.Bootstrap(ctx); err != nil {
		return nil, err
	}
	return controlplane.New(controlplane.Config{
		Services: services,
		Socket:   c.cfg.API.Socket,
		Listen:   c.cfg.API.Listen,
		TLS: controlplane.TLSConfig{
			Dir:         filepath.Join(c.cfg.DataDir, "tls"),
			Names:       c.names(),
			Certificate: c.cfg.API.TLS.Certificate,
			Key:         c.cfg.API.TLS.Key,
		},
		Logger: c.log,
	})
}

// names are what callers over TLS may call the API, besides localhost.
func (c *controlPlane) names() []string {
	names := append([]string{c.cfg.WireGuard.Advertise}, c.cfg.API.Names...)
	if host, _, err := net.SplitHostPort(c.cfg.API.Listen); err == nil && host != "" {
		if ip := net.ParseIP(host); ip == nil || !ip.IsUnspecified() {
			names = append(names, host)
		}
	}
	return names
}

func (c *controlPlane) zones() []reconcile.Zone {
	var zones []reconcile.Zone
	for _, z := range c.cfg.Zones {
		zones = append(zones, reconcile.Zone{Region: z.Region, Name: z.Zone})
	}
	return zones
}

// open opens the store. A cluster that does not answer is waited for; meanwhile the gateway serves
// what it served last.
func (c *controlPlane) open(ctx context.Context) (*store.Store, error) {
	if len(c.cfg.Store.Endpoints) == 0 {
		return store.OpenEmbedded(ctx, filepath.Join(c.cfg.DataDir, "store"), c.log, store.WithObserver(c.observe))
	}
	cluster, err := clusterConfig(c.cfg.Store)
	if err != nil {
		return nil, err
	}
	for wait := openFirst; ; wait = min(2*wait, openMost) {
		try, cancel := context.WithTimeout(ctx, openWithin)
		s, err := store.OpenCluster(try, cluster, c.log, store.WithObserver(c.observe))
		cancel()
		switch {
		case err == nil || ctx.Err() != nil:
			return s, err
		case !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded):
			return nil, err
		}
		c.log.Warn("store does not answer", "error", err, "wait", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (c *controlPlane) observe(operation string, took time.Duration, err error) {
	result := "ok"
	if err != nil {
		result = "error"
	}
	c.latency.WithLabelValues(operation, result).Observe(took.Seconds())
}

// unready says what of the control plane is not up; "" when all of it is.
func (c *controlPlane) unready() string {
	server := c.server.Load()
	if server == nil {
		return "the store is not open yet"
	}
	select {
	case <-server.Listening():
		return ""
	default:
		return "the api does not listen yet"
	}
}

// converged says whether a spec compiled from the store is, or was, in force.
func (c *controlPlane) converged() bool {
	reconciler := c.reconciler.Load()
	if reconciler == nil {
		return false
	}
	select {
	case <-reconciler.Converged():
		return true
	default:
		return false
	}
}
