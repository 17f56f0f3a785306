package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sys/unix"

	"causeway/gateway"
	"causeway/gateway/flowlog"
	"causeway/gateway/spec"
	"causeway/tunnel"
)

// daemon is the control plane and a gateway in one process. The gateway does not depend on the
// control plane: it serves the last good spec while the store is out of reach.
type daemon struct {
	cfg      config
	log      *slog.Logger
	registry *prometheus.Registry
	flowLog  *flowlog.File // nil if there is none
	gateway  *gateway.Gateway
	control  *controlPlane
}

func newDaemon(cfg config, log *slog.Logger) (*daemon, error) {
	unix.Umask(0o077)
	var err error
	if cfg.DataDir, err = filepath.Abs(cfg.DataDir); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	d := &daemon{cfg: cfg, log: log, registry: prometheus.NewRegistry()}
	onRecord, err := d.openFlowLog()
	if err != nil {
		return nil, err
	}
	d.gateway, err = gateway.New(gateway.Config{
		StateDir:      filepath.Join(cfg.DataDir, "gateway"),
		Advertise:     cfg.WireGuard.Advertise,
		ListenAddress: cfg.WireGuard.Listen,
		UnderlayAllow: cfg.Underlay.Allow, UnderlaySources: cfg.Underlay.Sources,
		GrowAfter:   cfg.ZoneBudget.GrowAfter,
		ShrinkAfter: cfg.ZoneBudget.ShrinkAfter,
		MTU:         cfg.WireGuard.MTU,
		DNSSuffix:   cfg.DNS.Suffix, Forwarders: cfg.DNS.forwarders(),
		UAPIDir:  tunnel.DefaultUAPIDir,
		OnRecord: onRecord,
		Logger:   log.With("part", "gateway"),
	})
	if err != nil {
		return nil, err
	}
	d.control = newControlPlane(cfg, d.gateway, d.registry, log.With("part", "controlplane"))
	for _, c := range []prometheus.Collector{
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		d.gateway,
	} {
		if err := d.registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return d, nil
}

// openFlowLog makes the flow log if the configuration names a file, and gives what takes its records; nil if not.
func (d *daemon) openFlowLog() (func(*spec.FlowRecord), error) {
	cfg := d.cfg.FlowLog
	if cfg.File == "" {
		return nil, nil
	}
	format, err := flowlog.ParseFormat(cfg.Format)
	if err != nil {
		return nil, fmt.Errorf("flow_log.format: %w", err)
	}
	d.flowLog, err = flowlog.NewFile(flowlog.FileConfig{
		Path: cfg.File, Format: format, MaxSizeMB: cfg.MaxSizeMB, MaxFiles: cfg.MaxFiles, Logger: d.log.With("part", "flow log"),
	})
	if err != nil {
		return nil, err
	}
	if err := d.registry.Register(d.flowLog); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return d.flowLog.Add, nil
}

// run serves until ctx ends or a part fails for good.
func (d *daemon) run(ctx context.Context) error {
	start := time.Now()
	components := []component{
		{"gateway", d.gateway.Run},
		{"http", d.serveHTTP},
		{"control plane", d.control.run},
	}
	if d.flowLog != nil { // it outlives the gateway, whose last flows end with it
		components = slices.Insert(components, 0, component{"flow log", d.flowLog.Run})
	}
	err := runComponents(ctx, components...)
	d.log.Info("stopped", "uptime", time.Since(start).Round(time.Millisecond))
	return err
}

// unready says why the daemon is not ready; "" when it is: the store is open, the API listens, and a
// spec is in force.
func (d *daemon) unready() string {
	if reason := d.control.unready(); reason != "" {
		return reason
	}
	if !d.control.converged() && d.gateway.Status().Revision == 0 {
		return "no spec is in force yet"
	}
	return ""
}
