package probe

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"causeway/gateway/proxyproto"
	"causeway/gateway/spec"
)

// group is a target group with an HTTP check of /health that wants 200 to 399.
func group(protocol spec.Protocol) *spec.TargetGroup {
	g := &spec.TargetGroup{HealthCheck: spec.HealthCheck{Protocol: protocol}}
	if protocol != spec.TCP {
		g.HealthCheck.Path, g.HealthCheck.Codes = "/health?x=1", []spec.CodeRange{{First: 200, Last: 399}}
	}
	return g
}

// serve answers every connection by a function and returns its address.
func serve(t *testing.T, answer func(net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				answer(c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); running.Wait() })
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// check makes one health check and returns how long it took.
func check(t *testing.T, g *spec.TargetGroup, to netip.AddrPort, limit time.Duration) (time.Duration, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	conn, err := net.Dial("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	begun := time.Now()
	err = Of(g, to)(ctx, conn)
	return time.Since(begun), err
}

// answering reads the request and writes an answer.
func answering(parts ...string) func(net.Conn) {
	return func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			return
		}
		for _, p := range parts {
			if _, err := io.WriteString(c, p); err != nil {
				return
			}
		}
	}
}

// endless reads the request, writes an answer's beginning and then more for ever, at a pace.
func endless(begin, more string, pace time.Duration) func(net.Conn) {
	return func(c net.Conn) {
		answering(begin)(c)
		for {
			if _, err := io.WriteString(c, more); err != nil {
				return
			}
			<-time.After(pace)
		}
	}
}

func TestHTTP(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	big := strings.Repeat("x", 1<<20)
	for name, tt := range map[string]struct {
		answer func(net.Conn)
		want   string // part of the error, empty for a success
		within time.Duration
	}{
		"ok":                     {answering(ok + "Content-Length: 2\r\n\r\nok"), "", time.Second},
		"ok without body":        {answering("HTTP/1.1 204 No Content\r\n\r\n"), "", time.Second},
		"HTTP/1.0":               {answering("HTTP/1.0 200 OK\r\n\r\nok"), "", time.Second},
		"redirect":               {answering("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n"), "", time.Second},
		"early hints":            {answering("HTTP/1.1 103 Early Hints\r\n\r\n", ok+"\r\n"), "", time.Second},
		"bad status":             {answering("HTTP/1.1 503 Service Unavailable\r\n\r\n"), "answered with status 503", time.Second},
		"bad interim for ever":   {endless("", "HTTP/1.1 100 Continue\r\n\r\n", 0), "no final status", time.Second},
		"bad not HTTP":           {answering("SSH-2.0-\x1b[31mevil\r\n\r\n"), "not HTTP/1", time.Second},
		"bad hangs up":           {answering(), "ends early", time.Second},
		"bad header for ever":    {endless(ok, "X: y\r\n", 0), "answer", 2 * time.Second},
		"bad line for ever":      {endless(ok+"X: ", big, 0), "too long", 2 * time.Second},
		"bad silence":            {func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, context.DeadlineExceeded.Error(), 2 * time.Second},
		"bad slow header":        {endless(ok, "X", 50*time.Millisecond), context.DeadlineExceeded.Error(), 2 * time.Second},
		"body of 1 GiB":          {endless(ok+"Content-Length: 1073741824\r\n\r\n", big, 0), "", time.Second},
		"body of a byte a time":  {endless(ok+"Content-Length: 1000\r\n\r\n", "x", 100*time.Millisecond), "", time.Second},
		"gzip that is none":      {answering(ok + "Content-Encoding: gzip\r\n\r\nzzz"), "", time.Second},
		"chunks for ever":        {endless(ok+"Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n", 0), "", time.Second},
		"never ends, no content": {func(c net.Conn) { answering(ok + "\r\n")(c); _, _ = io.Copy(io.Discard, c) }, "", time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			to := serve(t, tt.answer)
			took, err := check(t, group(spec.HTTP), to, time.Second)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if took > tt.within+time.Second {
				t.Errorf("took %v", took)
			}
			if err != nil && strings.Contains(err.Error(), "evil") {
				t.Errorf("error quotes the target: %q", err)
			}
		})
	}
}

func TestRequest(t *testing.T) {
	requests := make(chan *http.Request, 1)
	to := serve(t, func(c net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err == nil {
			requests <- r
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		}
	})
	if _, err := check(t, group(spec.HTTP), to, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	r := <-requests
	if r.Method != http.MethodGet || r.RequestURI != "/health?x=1" || r.Host != to.String() || !r.Close || r.Header.Get("User-Agent") == "" {
		t.Errorf("request %+v", r)
	}
}

func TestCodes(t *testing.T) {
	g := group(spec.HTTP)
	g.HealthCheck.Codes = []spec.CodeRange{{First: 204, Last: 204}, {First: 404, Last: 499}}
	for status, want := range map[int]bool{200: false, 203: false, 204: true, 205: false, 403: false, 404: true, 499: true, 500: false} {
		to := serve(t, answering(fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n", status)))
		if _, err := check(t, g, to, 5*time.Second); (err == nil) != want {
			t.Errorf("status %d: %v", status, err)
		}
	}
}

func TestHTTPS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || r.ProtoMajor != 1 {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	s.EnableHTTP2 = true
	s.Config.ErrorLog = nil
	s.StartTLS()
	defer s.Close()
	to := s.Listener.Addr().(*net.TCPAddr).AddrPort()
	if _, err := check(t, group(spec.HTTPS), to, 5*time.Second); err != nil {
		t.Errorf("a certificate that nobody signed: %v", err)
	}
	old := serve(t, func(c net.Conn) {
		config := s.TLS.Clone()
		config.MinVersion, config.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		_ = tls.Server(c, config).Handshake()
	})
	if _, err := check(t, group(spec.HTTPS), old, 5*time.Second); err == nil || !strings.Contains(err.Error(), "handshake") {
		t.Errorf("a target that knows TLS 1.1 only: %v", err)
	}
	plain := serve(t, answering("HTTP/1.1 200 OK\r\n\r\n"))
	if _, err := check(t, group(spec.HTTPS), plain, time.Second); err == nil {
		t.Error("a target without TLS passes")
	}
	silent := serve(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	if took, err := check(t, group(spec.HTTPS), silent, 200*time.Millisecond); err == nil || took > 2*time.Second {
		t.Errorf("a target that is silent: %v after %v", err, took)
	}
}

// TestProxyProtocolHeader asks for the header before everything else, also where nothing follows.
func TestProxyProtocolHeader(t *testing.T) {
	header := proxyproto.AppendLocal(nil)
	for _, protocol := range []spec.Protocol{spec.TCP, spec.HTTP} {
		got := make(chan []byte, 1)
		to := serve(t, func(c net.Conn) {
			b := make([]byte, len(header))
			_, _ = io.ReadFull(c, b)
			got <- b
			if protocol == spec.HTTP {
				answering("HTTP/1.1 200 OK\r\n\r\n")(c)
			}
		})
		g := group(protocol)
		g.ProxyProtocolChecks = true
		if _, err := check(t, g, to, 5*time.Second); err != nil {
			t.Errorf("%s: %v", protocol, err)
		}
		if b := <-got; !bytes.Equal(b, header) {
			t.Errorf("%s: began with %x, want %x", protocol, b, header)
		}
	}
	if Of(group(spec.TCP), netip.AddrPort{}) != nil {
		t.Error("a TCP check without a header has something to say")
	}
}

// TestCalledOff: a check of a target that left ends at once.
func TestCalledOff(t *testing.T) {
	to := serve(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	conn, err := net.Dial("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Of(group(spec.HTTP), to)(ctx, conn) }()
	cancel()
	select {
	case err := <-done:
		if err == nil {
			t.Error("no error")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("still talking")
	}
}
