package lab

import (
	"context"
	"io"
	"net/netip"
	"os"
	"path/filepath"
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
	t.Setenv("PATH", "/nonexistent")
	_, err := lookPath("haproxy-is-not-here")
	if err == nil {
		t.Error("found a program that does not exist")
	}
	debianPackages["lab-test-program"] = "lab-test-package"
	defer delete(debianPackages, "lab-test-program")
	_, err = l.Host("a").Output(context.Background(), "lab-test-program")
	if err == nil || !strings.Contains(err.Error(), "apt-get install lab-test-package") {
		t.Errorf("error does not name the package: %v", err)
	}
}
