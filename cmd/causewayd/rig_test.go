package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// asDaemon in the environment makes the test binary the daemon.
const asDaemon = "CAUSEWAYD_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(asDaemon) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// site is where a daemon of a test lives: its configuration, folder and addresses.
type site struct {
	t                   *testing.T
	dir, config, socket string
	api, http           string
}

func newSite(t *testing.T) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "cw") //nolint:usetesting // t.TempDir is too long for the path of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &site{
		t: t, dir: dir, config: filepath.Join(dir, "causewayd.yaml"), socket: filepath.Join(dir, "run", "api.sock"),
		api: freeAddress(t), http: freeAddress(t),
	}
	udp := freePort(t)
	text := fmt.Sprintf(`data_dir: %s/data
zones:
  - {region: us-east-1, zone: us-east-1a}
  - {region: us-east-1, zone: us-east-1b}
api: {socket: %s, listen: "%s"}
wireguard: {advertise: 127.0.0.1, listen: 127.0.0.1, ports: %d-%d}
http: {listen: "%s"}
log: {level: warn}
`, dir, s.socket, s.api, udp, udp+9, s.http)
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// freePort gives a UDP port that is free, below those that the system gives out.
func freePort(t *testing.T) int {
	t.Helper()
	for port := 20000 + os.Getpid()%2000*5; ; port += 10 {
		l, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err == nil {
			l.Close()
			return port
		}
	}
}

// child is the daemon as a process.
type child struct {
	*exec.Cmd
	output bytes.Buffer
	once   sync.Once
	err    error
}

// start runs the daemon as a process and waits until it is ready.
func (s *site) start() *child {
	s.t.Helper()
	c := &child{Cmd: exec.Command(os.Args[0], "--config", s.config)}
	c.Env = append(os.Environ(), asDaemon+"=1")
	c.Stdout, c.Stderr = &c.output, &c.output
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = c.end(syscall.SIGKILL)
		if s.t.Failed() {
			s.t.Logf("daemon:\n%s", c.output.String())
		}
	})
	s.awaitReady()
	return c
}

// end signals the process and gives how it ended.
func (c *child) end(signal syscall.Signal) error {
	c.once.Do(func() {
		_ = c.Process.Signal(signal)
		c.err = c.Wait()
	})
	return c.err
}

func (s *site) awaitReady() {
	s.t.Helper()
	s.eventually("ready", func() error {
		status, body := s.get("/readyz")
		if status != http.StatusOK {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})
}

// get fetches from the daemon's HTTP listener; the status is 0 if nobody answers.
func (s *site) get(path string) (int, string) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + s.http + path)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(body)
}

func (s *site) eventually(what string, try func() error) {
	s.t.Helper()
	start := time.Now()
	defer func() { s.t.Logf("%s: %v", what, time.Since(start)) }()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			s.t.Fatalf("%s: %v", what, err)
		case <-tick.C:
		}
	}
}

// dialSocket calls as the operator.
func (s *site) dialSocket() *grpc.ClientConn {
	return s.dial("unix:"+s.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// dialTLS calls with a bearer token, trusting the daemon's own authority.
func (s *site) dialTLS(token string) *grpc.ClientConn {
	s.t.Helper()
	authority, err := os.ReadFile(filepath.Join(s.dir, "data", "tls", "ca.crt"))
	if err != nil {
		s.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	return s.dial(s.api,
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots})),
		grpc.WithPerRPCCredentials(bearer(token)))
}

func (s *site) dial(target string, opts ...grpc.DialOption) *grpc.ClientConn {
	s.t.Helper()
	conn, err := grpc.NewClient(target, opts...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return conn
}

type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	if b == "" {
		return nil, nil
	}
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearer) RequireTransportSecurity() bool { return true }
