// Package userspace is a stock WireGuard client whose TCP/IP stack runs in the calling process
// instead of a kernel: what the demo uses, having no root, and stories with very many clients.
package userspace

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/netstack"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	causewayv1 "causeway/proto/causeway/v1"
)

// Peer is a connected client. Net dials and listens inside its tunnel.
type Peer struct {
	device *device.Device
	Net    *netstack.Net
}

// Connect connects with the private key to the gateway that the API named, holding address. Its
// UDP sockets are those of bind, such as conn.NewDefaultBind().
func Connect(key wgtypes.Key, address string, gateway *causewayv1.WireGuardGateway, bind conn.Bind) (*Peer, error) {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return nil, fmt.Errorf("read the peer's address: %w", err)
	}
	tunnel, stack, err := netstack.CreateNetTUN([]netip.Addr{addr}, nil, 1420)
	if err != nil {
		return nil, fmt.Errorf("make a userspace stack: %w", err)
	}
	dev := device.NewDevice(tunnel, bind, device.NewLogger(device.LogLevelSilent, ""))
	public, err := base64.StdEncoding.DecodeString(gateway.GetPublicKey())
	if err != nil {
		return nil, fmt.Errorf("read the gateway's public key: %w", err)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "private_key=%s\npublic_key=%s\nendpoint=%s\npersistent_keepalive_interval=5\n",
		hex.EncodeToString(key[:]), hex.EncodeToString(public), gateway.GetEndpoint())
	for _, prefix := range gateway.GetAllowedIps() {
		fmt.Fprintf(&text, "allowed_ip=%s\n", prefix)
	}
	if err := dev.IpcSet(text.String()); err != nil {
		dev.Close()
		return nil, fmt.Errorf("configure the peer: %w", err)
	}
	if err := dev.Up(); err != nil {
		dev.Close()
		return nil, fmt.Errorf("start the peer: %w", err)
	}
	return &Peer{device: dev, Net: stack}, nil
}

// Close takes the client down and ends its connections.
func (p *Peer) Close() { p.device.Close() }
