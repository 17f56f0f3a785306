package tunnel

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.zx2c4.com/wireguard/tun/tuntest"
	"gvisor.dev/gvisor/pkg/refs"
)

func TestMain(m *testing.M) {
	refs.SetLeakMode(refs.LeaksPanic)
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			println(err.Error())
			code = 1
		}
		refs.DoLeakCheck() // panics
	}
	os.Exit(code)
}

var loopback = netip.MustParseAddr("127.0.0.1")

// node is a Device under test with a TUN of channels.
type node struct {
	*Device
	tun     *tuntest.ChannelTUN
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup
}

// newTUN returns a TUN that does not bring its device up by itself, before it is configured.
func newTUN() *tuntest.ChannelTUN {
	c := tuntest.NewChannelTUN()
	<-c.TUN().Events()
	return c
}

// startNode runs a device until the test ends or kill is called.
func startNode(t testing.TB, cfg Config) *node {
	t.Helper()
	n := &node{tun: newTUN()}
	if cfg.TUN == nil {
		cfg.TUN = n.tun.TUN()
	}
	if cfg.Name == "" {
		cfg.Name = "wg0"
	}
	if cfg.PrivateKey == (PrivateKey{}) {
		cfg.PrivateKey = NewPrivateKey()
	}
	if !cfg.Listen.IsValid() {
		cfg.Listen = netip.AddrPortFrom(loopback, 0)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.Device = d
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	n.ctx, n.stop = context.WithCancel(context.Background())
	n.running.Go(func() {
		if err := d.Run(n.ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(n.end)
	return n
}

// end ends Run by its context and waits.
func (n *node) end() {
	n.stop()
	n.running.Wait()
}

func (n *node) addr(t testing.TB) netip.AddrPort {
	t.Helper()
	return netip.AddrPortFrom(loopback, status(t, n.Device).Port)
}

func status(t testing.TB, d *Device) Status {
	t.Helper()
	s, err := d.Status()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func setPeers(t testing.TB, d *Device, peers ...Peer) {
	t.Helper()
	if err := d.SetPeers(peers); err != nil {
		t.Fatal(err)
	}
}

// send sends a packet from one node's inside to the other's, and waits for it to arrive.
func send(t testing.TB, from, to *node, src, dst string) {
	t.Helper()
	packet := tuntest.Ping(netip.MustParseAddr(dst), netip.MustParseAddr(src))
	from.tun.Outbound <- packet
	select {
	case got := <-to.tun.Inbound:
		if string(got) != string(packet) {
			t.Fatalf("packet from %s to %s has changed", src, dst)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("packet from %s to %s did not arrive", src, dst)
	}
}

// sendUntil sends a packet again and again, as TCP would a SYN, until it arrives.
func sendUntil(t testing.TB, from, to *node, src, dst string) {
	t.Helper()
	packet := tuntest.Ping(netip.MustParseAddr(dst), netip.MustParseAddr(src))
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case <-again.C:
			from.tun.Outbound <- packet
		case <-to.tun.Inbound:
			return
		case <-deadline:
			t.Fatalf("packets from %s to %s did not arrive", src, dst)
		}
	}
}

// eventually waits until ok returns true.
func eventually(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

func prefixes(s ...string) (p []netip.Prefix) {
	for _, text := range s {
		p = append(p, netip.MustParsePrefix(text))
	}
	return p
}

// testWriter shows log lines with the test they belong to.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

var _ io.Writer = testWriter{}

func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, nil))
}
