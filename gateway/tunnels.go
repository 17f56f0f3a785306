package gateway

import (
	"context"
	"net/netip"
	"path/filepath"
	"reflect"
	"sync/atomic"

	"causeway/gateway/domain"
	"causeway/gateway/proxyproto"
	"causeway/gateway/spec"
	"causeway/tunnel"
	"causeway/tunnel/link"
)

// tunnelEndpoint is a WireGuard device of a domain.
type tunnelEndpoint struct {
	port   uint16 // UDP
	public tunnel.Key
	// link and device are nil while the device could not be opened.
	link   *link.Port
	device *tunnel.Device
	// peers are those that the device has.
	peers []spec.Peer
	// problem says why the device does not do all of its work; empty when it does.
	problem string
	// ended is set when the device stopped by itself.
	ended atomic.Pointer[error]
}

// deviceName is what `wg show` calls the device: the kernel allows no more than 15 characters.
func deviceName(uid string) string { return uid[:min(len(uid), 15)] }

// closeTunnels closes the devices that are not in the spec any more, or on another port, or that ended.
func (g *Gateway) closeTunnels(v *vpc, want []spec.TunnelEndpoint) {
	ports := map[string]uint16{}
	for _, t := range want {
		ports[t.UID] = t.Port
	}
	for uid, t := range v.tunnels {
		if t.link != nil && t.ended.Load() == nil && ports[uid] == t.port {
			continue
		}
		g.closeTunnel(t)
		delete(v.tunnels, uid)
	}
}

func (g *Gateway) closeTunnel(t *tunnelEndpoint) {
	if t.device == nil {
		return
	}
	if err := t.device.Close(); err != nil {
		g.log.Error("closing a tunnel endpoint", "error", err)
	}
}

// openTunnels opens the devices that are missing, without peers yet: nothing passes before the domain's table knows them.
func (g *Gateway) openTunnels(v *vpc, want []spec.TunnelEndpoint) {
	for _, w := range want {
		if v.tunnels[w.UID] != nil {
			continue
		}
		t := &tunnelEndpoint{port: w.Port}
		v.tunnels[w.UID] = t
		if err := g.openTunnel(v, t, w.UID); err != nil {
			t.problem = err.Error()
			if g.served.complain(w.UID, err) {
				g.log.Error("tunnel endpoint is not served", "tunnel_endpoint", w.UID, "domain", v.domain.Name(), "error", err)
			}
			continue
		}
		g.devices.Go(func() {
			if err := t.device.Run(context.WithoutCancel(g.serving)); err != nil {
				g.log.Error("tunnel endpoint stopped", "tunnel_endpoint", w.UID, "error", err)
				t.ended.Store(&err)
				g.notify()
			}
		})
	}
}

// openTunnel leaves t as it was if it fails.
func (g *Gateway) openTunnel(v *vpc, t *tunnelEndpoint, uid string) error {
	key, err := g.keys.key(uid)
	if err != nil {
		return err
	}
	t.public = key.Public()
	port := v.domain.NewPort(deviceName(uid))
	device, err := tunnel.New(tunnel.Config{
		Name: deviceName(uid), PrivateKey: key, Listen: netip.AddrPortFrom(g.cfg.ListenAddress, t.port), TUN: port.Device(),
		StateDir: filepath.Join(g.cfg.StateDir, "peers"), UAPIDir: g.cfg.UAPIDir, Logger: g.log,
	})
	if err != nil {
		port.Device().Close()
		return err
	}
	if err := device.Start(); err != nil {
		device.Close()
		return err
	}
	t.link, t.device = port, device
	return nil
}

// setPeers gives each open device its peers.
func (g *Gateway) setPeers(v *vpc, want []spec.TunnelEndpoint) {
	for _, w := range want {
		t := v.tunnels[w.UID]
		if t.device == nil || t.problem == "" && reflect.DeepEqual(t.peers, w.Peers) {
			continue
		}
		peers := make([]tunnel.Peer, 0, len(w.Peers))
		for _, p := range w.Peers {
			peers = append(peers, tunnel.Peer{
				Name: p.Name, PublicKey: tunnel.Key(p.PublicKey), AllowedIPs: p.AllowedIPs, Keepalive: p.Keepalive,
			})
		}
		t.problem, t.peers = "", w.Peers
		if err := t.device.SetPeers(peers); err != nil {
			t.problem = err.Error()
			g.log.Error("peers are not served", "tunnel_endpoint", w.UID, "error", err)
		}
	}
}

// peers are the domain's peers that are reachable through a device.
func (v *vpc) peers(want []spec.TunnelEndpoint, subnets map[string]*domain.Subnet) []domain.Peer {
	var list []domain.Peer
	for _, w := range want {
		t := v.tunnels[w.UID]
		if t.link == nil {
			continue
		}
		for _, p := range w.Peers {
			list = append(list, domain.Peer{
				Name: p.Name, KeyFingerprint: proxyproto.Fingerprint(p.PublicKey),
				Tunnel: p.Kind == spec.Tunnel, Port: t.link, Prefixes: p.AllowedIPs,
				Subnet: subnets[p.Subnet], SecurityGroups: p.SecurityGroups,
			})
		}
	}
	return list
}

// advertised is the host:port that clients of a device dial.
func (g *Gateway) advertised(port uint16) string { return joinHostPort(g.cfg.Advertise, port) }
