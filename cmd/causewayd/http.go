package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
)

const (
	httpHeaderTimeout = 5 * time.Second
	httpStopTimeout   = 5 * time.Second
)

// serveHTTP serves /metrics, /healthz and /readyz until ctx ends.
func (d *daemon) serveHTTP(ctx context.Context) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", d.cfg.HTTP.Listen)
	if err != nil {
		return fmt.Errorf("listen for http: %w", err)
	}
	server := &http.Server{Handler: d.handler(), ReadHeaderTimeout: httpHeaderTimeout}
	run, ctx := errgroup.WithContext(ctx)
	run.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	run.Go(func() error {
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), httpStopTimeout)
		defer cancel()
		if err := server.Shutdown(stop); err != nil {
			return server.Close()
		}
		return nil
	})
	return run.Wait()
}

func (d *daemon) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(d.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if reason := d.unready(); reason != "" {
			http.Error(w, reason, http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
	return mux
}
