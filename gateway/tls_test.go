package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"testing"

	"causeway/gateway/spec"
	"causeway/gateway/spec/spectest"
)

// endTLS makes the service's listener end TLS with certificates for these names.
func (w *world) endTLS(t testing.TB, roots *x509.CertPool, names ...string) {
	t.Helper()
	l := &w.LoadBalancers[0].Listeners[0]
	l.Protocol, l.TLS = spec.TLS, &spec.ListenerTLS{MinimumVersion: "1.2", ALPN: []string{"h2"}}
	w.Certificates = nil
	for _, name := range names {
		chain, key := spectest.Certificate(t, name)
		roots.AppendCertsFromPEM([]byte(chain))
		w.Certificates = append(w.Certificates, spec.Certificate{Name: "certificates/" + name, Chain: chain, PrivateKey: spec.Secret(key)})
		l.TLS.Certificates = append(l.TLS.Certificates, "certificates/"+name)
	}
}

// TestTLSListener chooses certificates by server name, replaces them under a live connection, and keeps session
// tickets good over changes of something else.
func TestTLSListener(t *testing.T) {
	g := run(t, config(t, t.TempDir()))
	var w world
	client, server := w.pair(t, 1)
	roots := x509.NewCertPool()
	w.endTLS(t, roots, "a.example.com", "b.example.com")
	g.apply(t, &w.Gateway)
	name := connectPair(t, g, 1, client, server)

	greet := func(settings *tls.Config) *tls.Conn {
		t.Helper()
		raw, err := client.dial(t, serviceAt, 0, patience)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { raw.Close() })
		c := tls.Client(raw, settings)
		if err := c.Handshake(); err != nil {
			t.Fatalf("handshake for %q: %v", settings.ServerName, err)
		}
		return c
	}
	for _, want := range []string{"a.example.com", "b.example.com"} {
		c := greet(&tls.Config{RootCAs: roots, ServerName: want, NextProtos: []string{"h2"}})
		if err := ask(c, name); err != nil {
			t.Errorf("%s: %v", want, err)
		}
		if got := c.ConnectionState().PeerCertificates[0].DNSNames[0]; got != want {
			t.Errorf("certificate of %q for %q", got, want)
		}
	}
	cache := tls.NewLRUClientSessionCache(1)
	resuming := &tls.Config{RootCAs: roots, ServerName: "a.example.com", ClientSessionCache: cache}
	live := greet(resuming)
	if err := ask(live, name); err != nil {
		t.Fatal(err)
	}
	w.TargetGroups[0].DeregistrationDelay++
	g.apply(t, &w.Gateway)
	if c := greet(resuming); !c.ConnectionState().DidResume {
		t.Error("a change of something else made session tickets void")
	}

	w.endTLS(t, roots, "c.example.com")
	g.apply(t, &w.Gateway)
	if err := ask(greet(&tls.Config{RootCAs: roots, ServerName: "c.example.com"}), name); err != nil {
		t.Error(err)
	}
	if err := ask(live, name); err != nil {
		t.Errorf("a live connection was disturbed: %v", err)
	}
}
