package tunnel

import (
	"log/slog"
	"net/netip"
	"time"

	"golang.zx2c4.com/wireguard/tun"
)

// Config configures a [Device].
type Config struct {
	// Name identifies the device in logs and names its UAPI socket: 1 to 15 letters, digits and any of "_=+.-".
	Name string
	// PrivateKey is the device's own key.
	PrivateKey PrivateKey
	// Listen is the local UDP address. The address may be unspecified (all addresses); port 0 lets the kernel choose.
	Listen netip.AddrPort
	// TUN is where decrypted packets go and clear ones come from. The Device closes it.
	TUN tun.Device
	// StateDir keeps the last known endpoints of peers across restarts, in a file named after the device. Empty keeps none.
	StateDir string
	// UAPIDir is where the UAPI socket is made, if the folder is writable; empty makes none. [DefaultUAPIDir] is where wg looks.
	UAPIDir string
	// Logger receives what the device has to say; nil discards it.
	Logger *slog.Logger
}

// Peer is the desired state of one WireGuard peer.
type Peer struct {
	// Name is for people and logs; it has no meaning on the wire.
	Name string
	// PublicKey identifies the peer; unique within a device.
	PublicKey Key
	// PresharedKey adds a symmetric secret to the handshake; the zero value means none. A change holds from the next
	// handshake on.
	PresharedKey PresharedKey
	// AllowedIPs are the prefixes the peer may send from and is sent to; unique within a device.
	AllowedIPs []netip.Prefix
	// Keepalive makes the device send a packet at least this often; whole seconds up to 65535, zero for never.
	Keepalive time.Duration
	// Endpoint is where the peer is called; the zero value waits for the peer to call. A peer that was heard from elsewhere
	// meanwhile stays there until this field changes.
	Endpoint netip.AddrPort
}

// Status is what a [Device] knows about itself.
type Status struct {
	// PublicKey is the device's own.
	PublicKey Key
	// Port is the local UDP port; zero before Start.
	Port uint16
	// Peers are in the order of their public keys.
	Peers []PeerStatus
}

// PeerStatus is what a [Device] knows about one peer.
type PeerStatus struct {
	// Name and PublicKey are as in [Peer].
	Name      string
	PublicKey Key
	// Endpoint is where the peer was last heard from or is called; zero when unknown.
	Endpoint netip.AddrPort
	// LastHandshake is when the last handshake was completed; zero for never. A healthy session renews it every two
	// minutes while traffic flows.
	LastHandshake time.Time
	// ReceivedBytes and SentBytes count WireGuard messages, their overhead included, since the peer was added.
	ReceivedBytes, SentBytes uint64
}
