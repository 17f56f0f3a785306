// Package tunnel runs a WireGuard device in userspace: keys, peers, handshakes, counters and the socket that `wg show` reads.
//
// A [Device] wraps golang.zx2c4.com/wireguard with a socket of our own (tunnel/bind) and with whatever tun.Device it is
// given, a port of tunnel/link in a gateway, a kernel interface on an appliance. Peers are changed by difference, so that
// those which stay keep their sessions, and their last known endpoints survive a restart, so that a gateway that was
// killed calls its peers back instead of waiting for them.
package tunnel
