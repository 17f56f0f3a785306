package controlplane

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"
)

// certificateCheck is how often the served certificate is looked at: a given one may have been
// replaced, an own one may end soon.
const certificateCheck = time.Minute

// TLSConfig says how the TLS listener proves who it is.
type TLSConfig struct {
	// Dir keeps the installation's own authority, made on first use; ca.crt in it is what clients
	// trust. Not used with a given certificate.
	Dir string
	// Names are the DNS names and addresses that the own certificate is valid for, besides
	// localhost and the loopback addresses.
	Names []string
	// Certificate and Key name the PEM files of a given certificate. They are read again within a
	// minute of being replaced.
	Certificate, Key string
}

// certificates serves one certificate at a time to TLS handshakes and keeps it fresh.
type certificates struct {
	log     *slog.Logger
	current atomic.Pointer[tls.Certificate]
	load    func() (*tls.Certificate, error)
}

func newCertificates(cfg TLSConfig, log *slog.Logger) (*certificates, error) {
	c := &certificates{log: log}
	if cfg.Certificate != "" {
		c.load = func() (*tls.Certificate, error) { return readPair(cfg.Certificate, cfg.Key) }
	} else {
		names := append([]string{"localhost", "127.0.0.1", "::1"}, cfg.Names...)
		if cfg.Dir == "" {
			return nil, errors.New("tls: neither a certificate nor a folder for the authority is given")
		}
		own, err := openAuthority(filepath.Clean(cfg.Dir), names, time.Now)
		if err != nil {
			return nil, err
		}
		c.load = own.serverCertificate
	}
	first, err := c.load()
	if err != nil {
		return nil, err
	}
	c.current.Store(first)
	return c, nil
}

// config gives the TLS configuration of the listener: TLS 1.3, HTTP/2, no client certificates.
func (c *certificates) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.current.Load(), nil
		},
	}
}

// run keeps the certificate fresh until ctx ends. A certificate that cannot be read leaves the one
// before in service.
func (c *certificates) run(ctx context.Context) error {
	ticker := time.NewTicker(certificateCheck)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		next, err := c.load()
		if err != nil {
			c.log.Error("api certificate not renewed", "error", err)
			continue
		}
		if old := c.current.Swap(next); !old.Leaf.Equal(next.Leaf) {
			c.log.Info("api certificate replaced", "not_after", next.Leaf.NotAfter)
		}
	}
}
