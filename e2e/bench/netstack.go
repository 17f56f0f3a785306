package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/netstack"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"causeway/e2e/lab"
)

// netstackCopy is what the upstream packages give without further work: WireGuard on a userspace
// stack, a goroutine for each direction of each connection.
type netstackCopy struct{}

func (netstackCopy) name() string { return viaCopy }

// netstackConfig is handed to the child in a file.
type netstackConfig struct {
	PrivateKey, Peer wgtypes.Key
	Port             int
	Address, Client  netip.Addr
	// Forwards maps a port of Address to where its connections go.
	Forwards map[uint16]netip.AddrPort
}

func (netstackCopy) start(r *rig) service {
	key := r.lab.NewKey()
	cfg, err := json.Marshal(netstackConfig{
		PrivateKey: key,
		Peer:       r.clientKey.PublicKey(),
		Port:       tunnelPort,
		Address:    gatewayEnd.Addr(),
		Client:     clientEnd.Addr(),
		Forwards:   map[uint16]netip.AddrPort{iperfPort: r.iperf, echoPort: r.echo},
	})
	if err != nil {
		r.report.Fatalf("configure netstack: %v", err)
	}
	file := filepath.Join(r.lab.Dir(), "netstack.json")
	if err := os.WriteFile(file, cfg, 0o600); err != nil {
		r.report.Fatalf("configure netstack: %v", err)
	}
	return service{
		peer: lab.WireGuardPeer{
			PublicKey:  key.PublicKey(),
			Endpoint:   netip.AddrPortFrom(r.access, tunnelPort).String(),
			AllowedIPs: []netip.Prefix{tunnelNet},
		},
		address: clientEnd,
		iperf:   netip.AddrPortFrom(gatewayEnd.Addr(), iperfPort),
		echo:    netip.AddrPortFrom(gatewayEnd.Addr(), echoPort),
		pids:    []int{r.gateway.Start(r.self, "netstack", file).PID()},
	}
}

// runNetstack is the child: it serves until ctx ends.
func runNetstack(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("netstack: want one file")
	}
	data, err := os.ReadFile(args[0])
	if err != nil {
		return fmt.Errorf("read netstack configuration: %w", err)
	}
	var cfg netstackConfig
	if err := json.Unmarshal(data, &cfg); err != nil {
		return fmt.Errorf("read netstack configuration: %w", err)
	}
	tun, stack, err := netstack.CreateNetTUN([]netip.Addr{cfg.Address}, nil, tunnelMTU)
	if err != nil {
		return fmt.Errorf("make netstack: %w", err)
	}
	dev := device.NewDevice(tun, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, "netstack: "))
	defer dev.Close()
	err = dev.IpcSet(fmt.Sprintf("private_key=%s\nlisten_port=%d\npublic_key=%s\nallowed_ip=%s/32\n",
		hex.EncodeToString(cfg.PrivateKey[:]), cfg.Port, hex.EncodeToString(cfg.Peer[:]), cfg.Client))
	if err != nil {
		return fmt.Errorf("configure WireGuard: %w", err)
	}
	if err := dev.Up(); err != nil {
		return fmt.Errorf("start WireGuard: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	for port, target := range cfg.Forwards {
		ln, err := stack.ListenTCP(&net.TCPAddr{Port: int(port)})
		if err != nil {
			return fmt.Errorf("listen on port %d of netstack: %w", port, err)
		}
		context.AfterFunc(ctx, func() { ln.Close() })
		group.Go(func() error { return serveCopy(ctx, ln, target) })
	}
	return group.Wait()
}

// serveCopy relays each accepted connection to target until the listener is closed by ctx.
func serveCopy(ctx context.Context, ln net.Listener, target netip.AddrPort) error {
	for {
		c, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept: %w", err)
		}
		go relayCopy(c, target)
	}
}

// halfCloser is a stream connection of the kernel's stack or of gVisor's.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// relayCopy copies both ways and passes each end of stream on. A connection whose target cannot
// be reached is closed.
func relayCopy(c net.Conn, target netip.AddrPort) {
	defer c.Close()
	t, err := net.Dial("tcp", target.String())
	if err != nil {
		return
	}
	defer t.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		copyHalf(t, c)
	}()
	copyHalf(c, t)
	<-done
}

// copyHalf copies one direction to its end. An error ends it as an end of stream does: the load
// generator notices what is missing.
func copyHalf(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if h, ok := to.(halfCloser); ok {
		_ = h.CloseWrite()
	}
}
