package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"causeway/e2e/lab"
)

// gatewayTunnel starts wireguard-go on the gateway and returns it with the client's view of it.
func gatewayTunnel(r *rig) (*lab.WireGuard, lab.WireGuardPeer) {
	w := r.gateway.WireGuard(lab.WireGuardConfig{
		Addresses:  []netip.Prefix{gatewayEnd},
		MTU:        tunnelMTU,
		ListenPort: tunnelPort,
		Peers: []lab.WireGuardPeer{{
			PublicKey:  r.clientKey.PublicKey(),
			AllowedIPs: []netip.Prefix{netip.PrefixFrom(clientEnd.Addr(), 32)},
		}},
	})
	return w, lab.WireGuardPeer{
		PublicKey:  w.PublicKey,
		Endpoint:   netip.AddrPortFrom(r.access, tunnelPort).String(),
		AllowedIPs: []netip.Prefix{tunnelNet},
	}
}

// tunForward forwards packets in the kernel and terminates nothing: the least that a tunnel on a
// TUN interface costs.
type tunForward struct{}

func (tunForward) name() string { return "t" }

func (tunForward) start(r *rig) service {
	w, peer := gatewayTunnel(r)
	r.gateway.Sysctl("net.ipv4.ip_forward", "1")
	r.backend.Route(tunnelNet, backendWire.Masked().Addr().Next())
	peer.AllowedIPs = append(peer.AllowedIPs, backendWire)
	return service{peer: peer, address: clientEnd, iperf: r.iperf, echo: r.echo, pids: []int{w.PID()}}
}

// tunHAProxy terminates the client's TCP in the gateway's kernel and relays it with HAProxy.
type tunHAProxy struct{}

func (tunHAProxy) name() string { return viaHAProxy }

// haproxyConf is HAProxy as one would tune it here as a TCP load balancer: two threads, nothing
// logged, buffers of 64 KiB. Of what was tried these cost the least CPU per byte; splicing did not
// pay, and idle connections hold no buffer. More connections than maxconn would need more than the
// 20000 file descriptors that a process may have on a usual machine.
const haproxyConf = `global
	maxconn 7000
	nbthread 2
	tune.bufsize 65536
defaults
	mode tcp
	maxconn 7000
	timeout connect 5s
	timeout client 1h
	timeout server 1h
listen iperf
	bind %[1]s:%[2]d
	server backend %[3]s
listen echo
	bind %[1]s:%[4]d
	server backend %[5]s
`

func (tunHAProxy) start(r *rig) service {
	w, peer := gatewayTunnel(r)
	conf := filepath.Join(r.lab.Dir(), "haproxy.cfg")
	text := fmt.Sprintf(haproxyConf, gatewayEnd.Addr(), iperfPort, r.iperf, echoPort, r.echo)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		r.report.Fatalf("configure haproxy: %v", err)
	}
	s := service{
		peer:    peer,
		address: clientEnd,
		iperf:   netip.AddrPortFrom(gatewayEnd.Addr(), iperfPort),
		echo:    netip.AddrPortFrom(gatewayEnd.Addr(), echoPort),
	}
	haproxy := r.gateway.Start("haproxy", "-db", "-f", conf)
	haproxy.WaitListening(s.echo, 10*time.Second)
	s.pids = []int{w.PID(), haproxy.PID()}
	return s
}
