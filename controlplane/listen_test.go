package controlplane

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

func newRegistry(t *testing.T, c prometheus.Collector) []byte {
	t.Helper()
	registry := prometheus.NewRegistry()
	if err := registry.Register(c); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&text, family); err != nil {
			t.Fatal(err)
		}
	}
	return text.Bytes()
}

func TestListenSocket(t *testing.T) {
	dir := t.TempDir()
	stale := func(path string) {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		l.Close()
	}
	tests := []struct {
		name    string
		prepare func(path string)
		want    string
	}{
		{"OK new folder", func(string) {}, ""},
		{"OK stale", stale, ""},
		{"bad file", func(path string) { _ = os.WriteFile(path, []byte("mine"), 0o600) }, "no socket"},
		{"bad served", func(path string) {
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		}, "another process"},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(dir, fmt.Sprint(i))
			if i == 0 {
				path = filepath.Join(dir, "a", "b")
			}
			tt.prepare(path)
			l, err := listenSocket(path)
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v, want %q", err, tt.want)
				}
				if _, err := os.Lstat(path); err != nil {
					t.Errorf("what was there is gone: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != socketMode {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
		})
	}
}

func TestTLSVersion(t *testing.T) {
	r := startRig(t, &services{}, nil)
	for version, ok := range map[uint16]bool{tls.VersionTLS12: false, tls.VersionTLS13: true} {
		conn, err := tls.Dial("tcp", r.server.Addr().String(), &tls.Config{
			RootCAs: r.roots(), MaxVersion: version, NextProtos: []string{"h2"},
		})
		if (err == nil) != ok {
			t.Errorf("TLS version %#x: %v", version, err)
		}
		if err == nil {
			conn.Close()
		}
	}
}

func TestAuthority(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	open := func(names ...string) (*authority, *x509.Certificate) {
		t.Helper()
		a, err := openAuthority(dir, append([]string{"localhost", "127.0.0.1"}, names...), func() time.Time { return now })
		if err != nil {
			t.Fatal(err)
		}
		pair, err := a.serverCertificate()
		if err != nil {
			t.Fatal(err)
		}
		return a, pair.Leaf
	}
	a, first := open("gw.example")
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	for _, name := range []string{"localhost", "127.0.0.1", "gw.example"} {
		if _, err := first.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now}); err != nil {
			t.Errorf("certificate for %s: %v", name, err)
		}
	}
	for _, key := range []string{"ca.key", "server.key"} {
		if info, err := os.Stat(filepath.Join(dir, key)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", key, info.Mode(), err)
		}
	}
	again, same := open("gw.example")
	if !again.cert.Equal(a.cert) || !same.Equal(first) {
		t.Error("a restart made new certificates")
	}
	now = now.Add(serverLife - serverRenewal + time.Minute)
	if _, renewed := open("gw.example"); renewed.Equal(first) || !renewed.NotAfter.After(first.NotAfter) {
		t.Error("a certificate near its end is not renewed")
	}
	if _, named := open("other.example"); named.VerifyHostname("other.example") != nil {
		t.Error("a new name is not in the certificate")
	}
	if err := os.Remove(filepath.Join(dir, "ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := openAuthority(dir, []string{"localhost"}, time.Now); err == nil {
		t.Error("a lost key made a new authority, which no client trusts")
	}
}

func TestCertificatesAreReplaced(t *testing.T) {
	own, err := openAuthority(t.TempDir(), []string{"localhost"}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := own.serverCertificate(); err != nil {
		t.Fatal(err)
	}
	given := TLSConfig{Certificate: own.path("server.crt"), Key: own.path("server.key")}
	c, err := newCertificates(given, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.current.Load().Leaf; got.VerifyHostname("localhost") != nil {
		t.Errorf("served names %v", got.DNSNames)
	}
	if _, err := newCertificates(TLSConfig{Certificate: "/nowhere", Key: "/nowhere"}, nil); err == nil {
		t.Error("a certificate that is not there is served")
	}
}

func TestLimiter(t *testing.T) {
	now := time.Unix(0, 0)
	l := newLimiter(10, 2, func() time.Time { return now })
	for range 2 {
		if wait := l.take("a"); wait != 0 {
			t.Errorf("within the burst: wait %v", wait)
		}
	}
	for range 3 {
		if wait := l.take("a"); wait != 100*time.Millisecond {
			t.Errorf("beyond the burst: wait %v", wait)
		}
	}
	now = now.Add(100 * time.Millisecond)
	if wait := l.take("a"); wait != 0 {
		t.Errorf("after the wait: %v", wait)
	}
	for n := range maxBuckets + 8 {
		l.take(fmt.Sprint(n))
	}
	if len(l.buckets) > maxBuckets {
		t.Errorf("%d buckets", len(l.buckets))
	}
	now = now.Add(time.Hour)
	if wait := l.take("new"); wait != 0 || len(l.buckets) > 2 {
		t.Errorf("idle callers are not forgotten: %d buckets, wait %v", len(l.buckets), wait)
	}
}
