package endpoint

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"causeway/gateway/spec/spectest"
)

// terminating makes a listener end TLS with a new certificate, and gives settings for clients.
func terminating(t testing.TB, names ...string) (func(*ListenerConfig), *tls.Config) {
	t.Helper()
	chain, key := spectest.Certificate(t, names...)
	pair, err := tls.X509KeyPair([]byte(chain), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(chain))
	server := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}
	change := func(c *ListenerConfig) { c.TLS = func() *tls.Config { return server } }
	return change, &tls.Config{RootCAs: roots, ServerName: names[0]}
}

// greetTLS connects and shakes hands.
func (r *rig) greetTLS(client *tls.Config) *tls.Conn {
	r.t.Helper()
	c := tls.Client(r.dial(), client)
	deadline(c)
	if err := c.Handshake(); err != nil {
		r.t.Fatalf("handshake: %v", err)
	}
	return c
}

func TestTLSIsEnded(t *testing.T) {
	size := 4 << 20
	target := backend(t, echo)
	r := newRig(t, rigOptions{})
	change, client := terminating(t, "orders.example.com")
	client.NextProtos = []string{"http/1.1"}
	r.listen(&fixedTargets{addrs: []netip.AddrPort{target}}, change)
	c := r.greetTLS(client)
	if got := c.ConnectionState().NegotiatedProtocol; got != "http/1.1" {
		t.Errorf("ALPN chose %q", got)
	}
	var sent []byte
	var writing sync.WaitGroup
	writing.Go(func() {
		var err error
		if sent, err = randomStream(c, 1, size); err != nil {
			t.Error(err)
		}
		if err := c.CloseWrite(); err != nil {
			t.Error(err)
		}
	})
	h := sha256.New()
	if n, err := io.Copy(h, c); err != nil || n != int64(size) {
		t.Errorf("read %d bytes, %v; want %d", n, err, size)
	}
	writing.Wait()
	if !bytes.Equal(h.Sum(nil), sent) {
		t.Error("the target's echo differs from what was sent")
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if why := r.endReason(); why != ReasonCompleted {
		t.Errorf("ended by %v", why)
	}
}

// TestTLSTargetSpeaksFirst has a target in a stack greet, end, and still read.
func TestTLSTargetSpeaksFirst(t *testing.T) {
	p := newProvider(t)
	heard := make(chan string, 1)
	target := p.serve(t, func(c net.Conn) {
		_, _ = c.Write([]byte("hello"))
		_ = c.(interface{ CloseWrite() error }).CloseWrite()
		b, _ := io.ReadAll(c)
		heard <- string(b)
	})
	r := newRig(t, rigOptions{})
	change, client := terminating(t, "a")
	r.listen(&fixedTargets{addrs: []netip.AddrPort{target}}, func(c *ListenerConfig) {
		change(c)
		c.Dialer = StackDialer{Stack: p.domain, Sources: []netip.Addr{exposureAddr}, Ports: &SourcePorts{}}
	})
	c := r.greetTLS(client)
	if b, err := io.ReadAll(c); err != nil || string(b) != "hello" {
		t.Fatalf("read %q, %v", b, err)
	}
	if _, err := c.Write([]byte("goodbye")); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := <-heard; got != "goodbye" {
		t.Errorf("target heard %q", got)
	}
	c.Close()
	if why := r.endReason(); why != ReasonCompleted {
		t.Errorf("ended by %v", why)
	}
}

// TestTLSHalfClosedIsReset stops the engine while a target has heard the consumer's end and owes its own.
func TestTLSHalfClosedIsReset(t *testing.T) {
	heard, released := make(chan struct{}), make(chan struct{})
	defer close(released)
	target := backend(t, func(c *net.TCPConn) {
		_, _ = io.Copy(io.Discard, c)
		close(heard)
		<-released
	})
	r := newRig(t, rigOptions{})
	change, client := terminating(t, "a")
	r.listen(&fixedTargets{addrs: []netip.AddrPort{target}}, change)
	if err := r.greetTLS(client).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	<-heard
	closed := make(chan error, 1)
	go func() { closed <- r.engine.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(waitLimit):
		t.Error("the engine does not stop")
	}
}

// TestTLSResets resets from either side and from the gateway.
func TestTLSResets(t *testing.T) {
	change, client := terminating(t, "a")
	targetSaw := make(chan error, 1)
	reading := func(c *net.TCPConn) {
		_, err := io.Copy(io.Discard, c)
		targetSaw <- err
	}
	for name, tt := range map[string]struct {
		target func(*net.TCPConn)
		act    func(r *rig, c *tls.Conn)
		why    Reason
	}{
		"gateway": {reading, func(r *rig, _ *tls.Conn) {
			if n := r.engine.CloseWhere(func(*Flow) bool { return true }, ReasonEndpointDeleted); n != 1 {
				t.Errorf("%d flows closed", n)
			}
		}, ReasonEndpointDeleted},
		"target": {func(c *net.TCPConn) {
			_, _ = c.Read(make([]byte, 1))
			c.SetLinger(0)
			c.Close()
			targetSaw <- errors.New("reset it")
		}, func(_ *rig, c *tls.Conn) { _, _ = c.Write([]byte("x")) }, ReasonTargetReset},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{})
			r.listen(&fixedTargets{addrs: []netip.AddrPort{backend(t, tt.target)}}, change)
			c := r.greetTLS(client)
			tt.act(r, c)
			if _, err := c.Read(make([]byte, 1)); !isReset(err) {
				t.Errorf("consumer read %v, want a reset", err)
			}
			if err := <-targetSaw; err == nil {
				t.Error("the target saw an end in order")
			}
			if why := r.endReason(); why != tt.why {
				t.Errorf("ended by %v, want %v", why, tt.why)
			}
		})
	}
}

// shake tries to shake hands, and closes.
func (r *rig) shake(client *tls.Config) error {
	c := tls.Client(r.dial(), client)
	deadline(c)
	defer c.Close()
	return c.Handshake()
}

func TestTLSHandshakeFails(t *testing.T) {
	change, client := terminating(t, "a")
	for name, shake := range map[string]func(*rig) error{
		"old version": func(r *rig) error {
			old := client.Clone()
			old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
			return r.shake(old)
		},
		"other protocol": func(r *rig) error {
			other := client.Clone()
			other.NextProtos = []string{"imap"}
			return r.shake(other)
		},
		"no TLS": func(r *rig) error {
			c := r.dial()
			deadline(c)
			_, _ = c.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
			_, err := io.ReadAll(c)
			c.Close()
			return errors.Join(err, errors.New("no handshake was tried"))
		},
		"no certificate": func(r *rig) error {
			return r.shake(client)
		},
	} {
		t.Run(name, func(t *testing.T) {
			heard := make(chan int64, 1)
			target := backend(t, func(c *net.TCPConn) {
				n, _ := io.Copy(io.Discard, c)
				heard <- n
			})
			r := newRig(t, rigOptions{})
			r.listen(&fixedTargets{addrs: []netip.AddrPort{target}}, func(c *ListenerConfig) {
				change(c)
				if name == "no certificate" {
					c.TLS = func() *tls.Config { return nil }
				}
			})
			if err := shake(r); err == nil {
				t.Error("shook hands")
			}
			if why := r.endReason(); why != ReasonTLSHandshake {
				t.Errorf("ended by %v", why)
			}
			if n := <-heard; n != 0 {
				t.Errorf("the target got %d bytes", n)
			}
		})
	}
}

// TestTLSWaitsCountAsDials has consumers that say nothing use up the dials, and no more.
func TestTLSWaitsCountAsDials(t *testing.T) {
	r := newRig(t, rigOptions{domain: DomainLimits{Dials: 2, DialsPerClient: 2}})
	change, client := terminating(t, "a")
	r.listen(&fixedTargets{addrs: []netip.AddrPort{backend(t, hold)}}, change)
	silent := r.dial()
	defer silent.Close()
	r.greetTLS(client)
	eventually(t, "one dial is left", func() bool { return r.domain.Usage().Dials == 1 })
	second := r.dial()
	defer second.Close()
	eventually(t, "no dial is left", func() bool { return r.domain.Usage().Dials == 2 })
	c := r.dial()
	deadline(c)
	if _, err := c.Read(make([]byte, 1)); !isReset(err) {
		t.Errorf("one handshake too many: %v", err)
	}
	if why := r.endReason(); why != ReasonRefusedDomainDials && why != ReasonRefusedClientDials {
		t.Errorf("ended by %v", why)
	}
}

// TestTLSSettingsAreReplaced changes the certificate while consumers come.
func TestTLSSettingsAreReplaced(t *testing.T) {
	r := newRig(t, rigOptions{})
	change, second := terminating(t, "second")
	settings := make(chan func() *tls.Config, 1)
	r.listen(&fixedTargets{addrs: []netip.AddrPort{backend(t, echo)}}, func(c *ListenerConfig) {
		var cfg ListenerConfig
		change(&cfg)
		settings <- cfg.TLS
		c.TLS = func() *tls.Config {
			now := <-settings
			settings <- now
			return now()
		}
	})
	live := r.greetTLS(second)
	var cfg ListenerConfig
	firstChange, firstClient := terminating(t, "first")
	firstChange(&cfg)
	<-settings
	settings <- cfg.TLS
	r.greetTLS(firstClient)
	if _, err := live.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(live, make([]byte, 1)); err != nil {
		t.Errorf("a live connection was disturbed: %v", err)
	}
}
