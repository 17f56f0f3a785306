package tunnel

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
)

func TestNewRefuses(t *testing.T) {
	good := Config{Name: "wg0", PrivateKey: NewPrivateKey(), TUN: newTUN().TUN()}
	for name, change := range map[string]func(*Config){
		"no name":       func(c *Config) { c.Name = "" },
		"a long name":   func(c *Config) { c.Name = "sixteen-letters." },
		"a path":        func(c *Config) { c.Name = "../x" },
		"the folder":    func(c *Config) { c.Name = ".." },
		"a space":       func(c *Config) { c.Name = "a b" },
		"no key":        func(c *Config) { c.PrivateKey = PrivateKey{} },
		"no tun device": func(c *Config) { c.TUN = nil },
	} {
		cfg := good
		change(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("bad: %s: accepted", name)
		}
	}
}

func TestStartError(t *testing.T) {
	n := startNode(t, Config{})
	d, err := New(Config{Name: "wg1", PrivateKey: NewPrivateKey(), TUN: newTUN().TUN(), Listen: n.addr(t)})
	if err != nil {
		t.Fatal(err)
	}
	err = d.Start()
	if !errors.Is(err, unix.EADDRINUSE) || !strings.HasPrefix(err.Error(), `open tunnel device "wg1": bind udp: `) {
		t.Errorf("Start: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// Close in every state of life, and twice.
func TestClose(t *testing.T) {
	fresh := func() *Device {
		d, err := New(Config{Name: "wg0", PrivateKey: NewPrivateKey(), TUN: newTUN().TUN(), Listen: netip.AddrPortFrom(loopback, 0)})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	closeTwice := func(d *Device) {
		t.Helper()
		for range 2 {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := d.Start(); !errors.Is(err, ErrClosed) {
			t.Errorf("Start after Close: %v", err)
		}
		if err := d.Run(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("Run after Close: %v", err)
		}
	}
	d := fresh()
	closeTwice(d)

	d = fresh()
	if err := errors.Join(d.Start(), d.Start()); err != nil {
		t.Error(err)
	}
	closeTwice(d)

	d = fresh()
	ended := make(chan error, 1)
	go func() { ended <- d.Run(context.Background()) }()
	eventually(t, 5*time.Second, "the device has a port", func() bool { return status(t, d).Port != 0 })
	closeTwice(d)
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}

	d = fresh()
	go func() { ended <- d.Run(context.Background()) }()
	eventually(t, 5*time.Second, "the device has a port", func() bool { return status(t, d).Port != 0 })
	d.wg.Close() // as WireGuard does when its tun device fails
	if err := <-ended; err == nil {
		t.Error("Run returned nil although the tun device had ended")
	}
	closeTwice(d)
}

// The port of a stock client works again soon after its gateway was killed, without its doing anything: the gateway remembers
// where it was and calls it.
func TestRestartCallsPeersBack(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Name: "gw", PrivateKey: NewPrivateKey(), StateDir: dir}
	gateway := startNode(t, cfg)
	cfg.Listen = gateway.addr(t) // the same after the restart

	clientKey := NewPrivateKey()
	peers := []Peer{{Name: "client", PublicKey: clientKey.Public(), AllowedIPs: prefixes("10.0.0.1/32")}}
	setPeers(t, gateway.Device, peers...)

	// A stock client: wireguard-go as it is, which knows the gateway's address and nothing else.
	tun := newTUN()
	client := device.NewDevice(tun.TUN(), conn.NewStdNetBind(), device.NewLogger(device.LogLevelSilent, ""))
	defer client.Close()
	if err := client.IpcSet(deviceConfig(clientKey, 0) + "public_key=" + gateway.PublicKey().hex() +
		"\nendpoint=" + cfg.Listen.String() + "\nallowed_ip=0.0.0.0/0\n"); err != nil {
		t.Fatal(err)
	}
	if err := client.Up(); err != nil {
		t.Fatal(err)
	}
	stock := &node{tun: tun}
	send(t, stock, gateway, "10.0.0.1", "10.9.9.9")

	path := filepath.Join(dir, "gw.endpoints.json")
	eventually(t, 5*time.Second, "the endpoint is on disk", func() bool {
		addrs, err := readEndpoints(path)
		return err == nil && addrs[clientKey.Public()].IsValid()
	})
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode of the file: %v, %v", info.Mode(), err)
	}
	// SIGKILL: the sockets are gone without a word, and what is on disk is what was there.
	saved, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	gateway.end()
	if err := os.WriteFile(path, saved, 0o600); err != nil {
		t.Fatal(err)
	}

	gateway = &node{tun: newTUN()}
	cfg.TUN = gateway.tun.TUN()
	restarted := startNode(t, cfg)
	start := time.Now()
	restarted.tun = gateway.tun
	setPeers(t, restarted.Device, peers...)
	sendUntil(t, stock, restarted, "10.0.0.1", "10.9.9.9")
	send(t, restarted, stock, "10.9.9.9", "10.0.0.1")
	took := time.Since(start)
	t.Logf("the client's packet arrived %v after the start", took)
	if took > 2*time.Second {
		t.Errorf("the client's packet arrived %v after the start, want at most 2s", took)
	}
}

func TestEndpointStore(t *testing.T) {
	k := testKeys(3)
	addr := netip.MustParseAddrPort("192.0.2.1:51820")
	dir := t.TempDir()
	log := testLogger(t)
	s := openEndpoints(dir, "wg0", log)
	state := &deviceState{peers: map[Key]*peerState{
		k[0]: {status: PeerStatus{Endpoint: addr}},
		k[1]: {}, // not heard of yet
	}}
	if err := s.save(state); err != nil {
		t.Fatal(err)
	}
	s = openEndpoints(dir, "wg0", log)
	if s.get(k[0]) != addr || s.get(k[1]).IsValid() {
		t.Errorf("read back %v, %v", s.get(k[0]), s.get(k[1]))
	}
	// A save before the peers are set must not forget them.
	if err := s.save(&deviceState{}); err != nil || s.get(k[0]) != addr {
		t.Errorf("forgot %v (%v)", k[0], err)
	}
	s.keepOnly(map[Key]Peer{k[2]: {}})
	if err := s.save(&deviceState{}); err != nil {
		t.Fatal(err)
	}
	if s := openEndpoints(dir, "wg0", log); s.get(k[0]).IsValid() {
		t.Error("a removed peer is remembered")
	}

	for name, content := range map[string]string{
		"garbage":   "{",
		"weak key":  `{"endpoints":{"` + Key{}.String() + `":"192.0.2.1:1"}}`,
		"no port":   `{"endpoints":{"` + k[0].String() + `":"192.0.2.1:0"}}`,
		"host name": `{"endpoints":{"` + k[0].String() + `":"host:1"}}`,
	} {
		if err := os.WriteFile(s.path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if s := openEndpoints(dir, "wg0", log); len(s.addrs) != 0 {
			t.Errorf("bad: %s: read as %v", name, s.addrs)
		}
	}
}
