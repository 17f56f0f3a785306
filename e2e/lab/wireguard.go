package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// wireguardPackage is the stock userspace implementation with a kernel TUN interface.
const wireguardPackage = "golang.zx2c4.com/wireguard"

// serial numbers what needs a name of its own in this process. WireGuard interfaces do: the directory
// of configuration sockets is one for all namespaces.
var serial atomic.Int64

// WireGuardConfig describes a WireGuard interface.
type WireGuardConfig struct {
	// PrivateKey of the interface; the zero key has a new one made.
	PrivateKey wgtypes.Key
	// Address of the interface with the length of its on-link prefix; several are possible.
	Addresses []netip.Prefix
	// MTU in bytes; 0 means 1420, what wg-quick sets over an Ethernet path.
	MTU int
	// ListenPort is the UDP port; 0 lets the kernel choose.
	ListenPort uint16
	Peers      []WireGuardPeer
}

// WireGuardPeer is the other end of a tunnel.
type WireGuardPeer struct {
	PublicKey wgtypes.Key
	// Endpoint is host:port; empty for a peer that connects by itself.
	Endpoint string
	// AllowedIPs are also routed to the interface.
	AllowedIPs []netip.Prefix
	// Keepalive is in whole seconds, up to 65535; 0 sends none.
	Keepalive time.Duration
}

// WireGuard is a running wireguard-go with its TUN interface in a host.
type WireGuard struct {
	*Process
	// Interface is the name of the TUN interface.
	Interface string
	PublicKey wgtypes.Key

	host *Host
}

// NewKey makes a WireGuard private key.
func (l *Lab) NewKey() wgtypes.Key {
	l.report.Helper()
	key, err := wgtypes.GeneratePrivateKey()
	if err != nil {
		l.report.Fatalf("make WireGuard key: %v", err)
	}
	return key
}

// WireGuard starts wireguard-go in the host, configures it with wg(8) and brings the interface up.
func (h *Host) WireGuard(cfg WireGuardConfig) *WireGuard {
	h.lab.report.Helper()
	if cfg.PrivateKey == (wgtypes.Key{}) {
		cfg.PrivateKey = h.lab.NewKey()
	}
	if cfg.MTU == 0 {
		cfg.MTU = 1420
	}
	name := fmt.Sprintf("%s%s-%d", interfacePrefix, base36(int64(os.Getpid())), serial.Add(1))
	program := h.lab.Program(wireguardPackage)
	h.lab.report.Cleanup(func() { removeSocket(h.lab.report, name) })
	w := &WireGuard{
		Process:   h.Start(program, "-f", name),
		Interface: name,
		PublicKey: cfg.PrivateKey.PublicKey(),
		host:      h,
	}
	w.Eventually(10*time.Second, "wireguard-go on "+h.Name, func() error {
		_, err := os.Stat(filepath.Join(uapiDir, name+".sock"))
		return err
	})
	w.configure(cfg)
	return w
}

func (w *WireGuard) configure(cfg WireGuardConfig) {
	h := w.host
	h.lab.report.Helper()
	w.set(cfg.PrivateKey.String(), "private-key", "/dev/stdin", "listen-port", strconv.Itoa(int(cfg.ListenPort)))
	for _, address := range cfg.Addresses {
		h.ip("address", "add", address.String(), "dev", w.Interface)
	}
	h.ip("link", "set", w.Interface, "mtu", strconv.Itoa(cfg.MTU), "up")
	for _, peer := range cfg.Peers {
		w.SetPeer(peer)
	}
}

// SetPeer adds a peer, or changes the one with its key, and routes its AllowedIPs.
func (w *WireGuard) SetPeer(p WireGuardPeer) {
	w.host.lab.report.Helper()
	args := []string{"peer", p.PublicKey.String()}
	if p.Endpoint != "" {
		args = append(args, "endpoint", p.Endpoint)
	}
	args = append(args, "persistent-keepalive", strconv.Itoa(int(p.Keepalive/time.Second)))
	if len(p.AllowedIPs) > 0 {
		prefixes := make([]string, len(p.AllowedIPs))
		for i, prefix := range p.AllowedIPs {
			prefixes[i] = prefix.String()
		}
		args = append(args, "allowed-ips", strings.Join(prefixes, ","))
	}
	w.set("", args...)
	for _, prefix := range p.AllowedIPs {
		w.host.ip("route", "replace", prefix.String(), "dev", w.Interface)
	}
}

// RemovePeer removes the peer with a key; its routes stay.
func (w *WireGuard) RemovePeer(key wgtypes.Key) {
	w.host.lab.report.Helper()
	w.set("", "peer", key.String(), "remove")
}

// set runs "wg set" on the interface.
func (w *WireGuard) set(stdin string, args ...string) {
	h := w.host
	h.lab.report.Helper()
	ctx, cancel := context.WithTimeout(h.lab.ctx, runTimeout)
	defer cancel()
	if _, err := h.OutputStdin(ctx, stdin, "wg", append([]string{"set", w.Interface}, args...)...); err != nil {
		h.lab.report.Fatalf("configure WireGuard: %v", err)
	}
}

// LastHandshake returns when the tunnel with a peer was last confirmed; the zero time is never.
func (w *WireGuard) LastHandshake(peer wgtypes.Key) (time.Time, error) {
	out, err := w.host.Output(w.host.lab.ctx, "wg", "show", w.Interface, "latest-handshakes")
	if err != nil {
		return time.Time{}, err
	}
	for line := range strings.Lines(out) {
		key, seconds, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if key != peer.String() {
			continue
		}
		n, err := strconv.ParseInt(seconds, 10, 64)
		if err != nil {
			return time.Time{}, fmt.Errorf("read handshakes of %s: %w", w.Interface, err)
		}
		if n == 0 {
			return time.Time{}, nil
		}
		return time.Unix(n, 0), nil
	}
	return time.Time{}, fmt.Errorf("read handshakes of %s: no peer %s", w.Interface, peer)
}

// WaitHandshake waits until the tunnel with a peer is confirmed. A peer with a keepalive starts
// the handshake by itself; any other needs a packet to send.
func (w *WireGuard) WaitHandshake(peer wgtypes.Key, within time.Duration) {
	w.host.lab.report.Helper()
	w.host.lab.Eventually(within, "handshake on "+w.host.Name, func() error {
		at, err := w.LastHandshake(peer)
		if err == nil && at.IsZero() {
			err = errors.New("no handshake yet")
		}
		return err
	})
}

// removeSocket removes the configuration socket of an interface, which a killed wireguard-go
// leaves behind.
func removeSocket(report Reporter, name string) {
	err := os.Remove(filepath.Join(uapiDir, name+".sock"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		report.Logf("remove WireGuard socket: %v", err)
	}
}
