package lab

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	underlay  = netip.MustParsePrefix("192.168.70.0/24")
	clientEnd = netip.MustParsePrefix("10.70.0.1/24")
	serverEnd = netip.MustParsePrefix("10.70.0.2/24")
)

func TestHostsReachEachOther(t *testing.T) {
	l := New(t)
	a, b := l.Host("a"), l.Host("b")
	addrA, addrB := l.Connect(a, b, underlay)
	a.Run("ping", "-c1", "-W2", addrB.String())
	b.Run("ping", "-c1", "-W2", addrA.String())

	_, err := a.Output(t.Context(), "ping", "-c1", "-W1", "192.168.71.1")
	if err == nil {
		t.Error("ping to an address that nobody has succeeded")
	}
}

func TestDialAndListenInsideHost(t *testing.T) {
	l := New(t)
	a, b := l.Host("a"), l.Host("b")
	addrA, addrB := l.Connect(a, b, underlay)
	ln, err := b.Listen(t.Context(), "tcp", netip.AddrPortFrom(addrB, 7000).String())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()

	c, err := a.Dial(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := netip.MustParseAddrPort(s.RemoteAddr().String()).Addr(); got != addrA {
		t.Errorf("connection comes from %v, want %v", got, addrA)
	}
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 5)
	if _, err := io.ReadFull(s, buf); err != nil || string(buf) != "hello" {
		t.Errorf("read %q, %v", buf, err)
	}

	other := l.Host("other")
	if _, err := other.Dial(t.Context(), "tcp", ln.Addr().String()); err == nil {
		t.Error("a host without a link reached the listener")
	}
}

func TestTunnel(t *testing.T) {
	l := New(t)
	client, server := l.Host("client"), l.Host("server")
	w, _ := tunnel(l, client, server, nil)
	client.Run("ping", "-c1", "-W2", serverEnd.Addr().String())

	server.Nginx(NginxConfig{Listen: serverEnd.Addr().String() + ":80", Files: map[string]int64{"big": 1 << 20}})
	url := "http://" + serverEnd.Addr().String()
	if got := client.Run("curl", "-sS", url+"/"); got != "server\n" {
		t.Errorf("curl printed %q, want the name of the host", got)
	}
	if got := client.Run("curl", "-sS", "-o", "/dev/null", "-w", "%{size_download}", url+"/big"); got != "1048576" {
		t.Errorf("curl received %s bytes, want 1048576", got)
	}
	u, err := ReadUsage(w.PID())
	if err != nil {
		t.Fatal(err)
	}
	if u.RSS < 1<<20 || u.PeakRSS < u.RSS/2 {
		t.Errorf("wireguard-go uses %+v", u)
	}
}

// tunnel joins two hosts by a WireGuard tunnel, through a relay where there is one to start.
func tunnel(l *Lab, client, server *Host, relay func(netip.AddrPort) netip.AddrPort) (c, s *WireGuard) {
	_, addr := l.Connect(client, server, underlay)
	endpoint := netip.AddrPortFrom(addr, 51820)
	if relay != nil {
		endpoint = relay(endpoint)
	}
	clientKey := l.NewKey()
	s = server.WireGuard(WireGuardConfig{
		Addresses: []netip.Prefix{serverEnd}, ListenPort: 51820,
		Peers: []WireGuardPeer{{PublicKey: clientKey.PublicKey(), AllowedIPs: []netip.Prefix{clientEnd.Masked()}}},
	})
	c = client.WireGuard(WireGuardConfig{
		PrivateKey: clientKey, Addresses: []netip.Prefix{clientEnd},
		Peers: []WireGuardPeer{{
			PublicKey: s.PublicKey, Endpoint: endpoint.String(),
			AllowedIPs: []netip.Prefix{serverEnd.Masked()}, Keepalive: time.Second,
		}},
	})
	c.WaitHandshake(s.PublicKey, 10*time.Second)
	return c, s
}

// TestRemovesEverything opens a lab inside a subtest and looks for what is left of it.
func TestRemovesEverything(t *testing.T) {
	var dir, prefix, socket string
	var pid int
	t.Run("lab", func(t *testing.T) {
		l := New(t)
		dir, prefix = l.Dir(), l.prefix
		w := l.Host("a").WireGuard(WireGuardConfig{Addresses: []netip.Prefix{clientEnd}})
		socket, pid = filepath.Join(uapiDir, w.Interface+".sock"), w.PID()
	})
	if prefix == "" {
		t.Skip("no lab here")
	}
	left, err := filepath.Glob(filepath.Join(namespaceDir, prefix+"*"))
	if err != nil || len(left) > 0 {
		t.Errorf("namespaces left: %v, %v", left, err)
	}
	for _, path := range []string{dir, socket, filepath.Join("/proc", strconv.Itoa(pid))} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
}

func TestEndsProgramsInOrder(t *testing.T) {
	l := New(t)
	h := l.Host("a")
	polite := h.Start("sleep", "600")
	if err := polite.Stop(10 * time.Second); err == nil || !strings.Contains(err.Error(), "terminated") {
		t.Errorf("stop of a program that SIGTERM kills: %v", err)
	}
	stubborn := h.Start("sh", "-c", `trap "" TERM; echo ready; while :; do sleep 600; done`)
	l.Eventually(10*time.Second, "trap", func() error {
		if stubborn.Log() == "" {
			return io.EOF
		}
		return nil
	})
	if err := stubborn.Stop(50 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "still running") {
		t.Errorf("stop of a program that ignores SIGTERM: %v", err)
	}
	if stubborn.Exited() == nil {
		t.Error("a stopped program still runs")
	}
}

func TestOutputNamesMissingPackage(t *testing.T) {
	l := New(t)
	debianPackages["lab-test-program"] = "lab-test-package"
	defer delete(debianPackages, "lab-test-program")
	_, err := l.Host("a").Output(t.Context(), "lab-test-program")
	if err == nil || !strings.Contains(err.Error(), "apt-get install lab-test-package") {
		t.Errorf("error does not name the package: %v", err)
	}
}

// TestReportsOutputOfPrograms looks at what a failing test would show.
func TestReportsOutputOfPrograms(t *testing.T) {
	if err := Supported(); err != nil {
		t.Skip(err)
	}
	r := &recorder{}
	p := Open(r).Host("a").Start("sh", "-c", "echo what went wrong")
	<-p.Done()
	r.end()
	if got := r.log.String(); !strings.Contains(got, "sh on a") || !strings.Contains(got, "what went wrong") {
		t.Errorf("a failed test reports %q", got)
	}
}

// recorder is the Reporter of a test that has failed.
type recorder struct {
	log      strings.Builder
	cleanups []func()
}

func (r *recorder) Helper() {}

func (r *recorder) Failed() bool { return true }

func (r *recorder) Logf(format string, args ...any) { fmt.Fprintf(&r.log, format, args...) }

func (r *recorder) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *recorder) end() {
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
}

func TestRemovesLeftoversOfDeadProcesses(t *testing.T) {
	l := New(t)
	mine := l.Host("mine")
	// This process's number with another start time is a process that has ended.
	dead := fmt.Sprintf("%s%d-%s-1-host", namePrefix, os.Getpid(), "zzz")
	if err := command("ip", "netns", "add", dead); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(os.TempDir(), dead)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	etc := filepath.Join(netnsEtc, dead)
	if err := os.MkdirAll(etc, 0o755); err != nil {
		t.Fatal(err)
	}
	orphan := exec.Command("ip", "netns", "exec", dead, "sleep", "600")
	if err := orphan.Start(); err != nil {
		t.Fatal(err)
	}
	l.Eventually(10*time.Second, "program in the namespace", func() error {
		name, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(orphan.Process.Pid), "comm"))
		if err == nil && string(name) != "sleep\n" {
			err = errors.New("not started")
		}
		return err
	})

	removeLeftovers(t)
	if err := orphan.Wait(); err == nil {
		t.Error("a program of a dead lab ended by itself")
	}
	for _, path := range []string{dir, etc, filepath.Join(namespaceDir, dead)} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
	if _, err := os.Stat(filepath.Join(namespaceDir, mine.namespace)); err != nil {
		t.Errorf("a living lab lost its host: %v", err)
	}
}

func TestUsageCountsWork(t *testing.T) {
	before, err := ReadUsage(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	memory := make([]byte, 32<<20)
	deadline := time.Now().Add(10 * time.Second)
	var after Usage
	for after.CPU < before.CPU+50*time.Millisecond && time.Now().Before(deadline) {
		for i := range memory {
			memory[i]++
		}
		if after, err = ReadUsage(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
	if after.CPU < before.CPU+50*time.Millisecond {
		t.Errorf("10 s of work used %v of CPU", after.CPU-before.CPU)
	}
	if grown := after.RSS - before.RSS; grown < int64(len(memory))*9/10 {
		t.Errorf("writing %d bytes added %d to RSS", len(memory), grown)
	}
	if after.PeakRSS < after.RSS {
		t.Errorf("peak %d is below the present %d", after.PeakRSS, after.RSS)
	}
	if _, err := ReadUsage(1 << 30); err == nil {
		t.Error("a process that cannot exist has a usage")
	}
}
