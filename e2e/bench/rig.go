package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"causeway/e2e/lab"
)

// Addresses of the rig. The client reaches the gateway's tunnel over one wire, the gateway the
// backend over another.
var (
	accessWire  = netip.MustParsePrefix("192.168.10.0/24")
	backendWire = netip.MustParsePrefix("192.168.20.0/24")
	tunnelNet   = netip.MustParsePrefix("10.66.0.0/24")
	gatewayEnd  = netip.MustParsePrefix("10.66.0.1/24")
	clientEnd   = netip.MustParsePrefix("10.66.0.2/24")
)

const (
	tunnelPort = 51820
	tunnelMTU  = 1420
	iperfPort  = 5201
	echoPort   = 7000
)

// rig is the network of one turn of one variant.
type rig struct {
	lab                      *lab.Lab
	report                   lab.Reporter
	client, gateway, backend *lab.Host
	clientKey                wgtypes.Key
	access                   netip.Addr // of the gateway, where tunnels end
	iperf, echo              netip.AddrPort
	self                     string // path of this program
}

// service is a gateway that is ready: what the client needs of it.
type service struct {
	// peer is the gateway's end of the tunnel, address the client's own address in it.
	peer    lab.WireGuardPeer
	address netip.Prefix
	// iperf and echo are what the client dials to reach the two servers of the backend.
	iperf, echo netip.AddrPort
	// pids are the processes that count as the gateway.
	pids []int
}

// variant is a way to build the gateway.
type variant interface {
	// name is the short one of the command line and the table.
	name() string
	// start sets the gateway up on r.gateway.
	start(r *rig) service
}

// variants lists all of them in the order of the table.
func variants() []variant { return []variant{causeway{}, tunHAProxy{}, netstackCopy{}, tunForward{}} }

// newRig makes the hosts and the backend's servers.
func newRig(report lab.Reporter) *rig {
	self, err := os.Executable()
	if err != nil {
		report.Fatalf("find own program: %v", err)
	}
	l := lab.Open(report)
	r := &rig{lab: l, report: report, self: self, clientKey: l.NewKey()}
	r.client, r.gateway, r.backend = l.Host("client"), l.Host("gateway"), l.Host("backend")
	_, r.access = l.Connect(r.client, r.gateway, accessWire)
	_, backend := l.Connect(r.gateway, r.backend, backendWire)
	for _, h := range []*lab.Host{r.client, r.gateway, r.backend} {
		// Thousands of short connections a second to one address would else run out of ports.
		h.Sysctl("net.ipv4.tcp_tw_reuse", "1")
		h.Sysctl("net.ipv4.ip_local_port_range", "1024 65535")
		h.Sysctl("net.core.somaxconn", "8192")
		h.Sysctl("net.ipv4.tcp_max_syn_backlog", "8192")
	}
	r.iperf, r.echo = netip.AddrPortFrom(backend, iperfPort), netip.AddrPortFrom(backend, echoPort)
	r.backend.IperfServer(r.iperf)
	r.backend.Start(self, "echo", r.echo.String()).WaitListening(r.echo, 10*time.Second)
	return r
}

// connect starts the client's tunnel and returns when a byte has come back through the gateway.
func (r *rig) connect(s service) {
	s.peer.Keepalive = 5 * time.Second
	tunnel := r.client.WireGuard(lab.WireGuardConfig{
		PrivateKey: r.clientKey,
		Addresses:  []netip.Prefix{s.address},
		MTU:        tunnelMTU,
		Peers:      []lab.WireGuardPeer{s.peer},
	})
	tunnel.WaitHandshake(s.peer.PublicKey, 20*time.Second)
	r.lab.Eventually(20*time.Second, "a byte through the gateway", func() error {
		ctx, cancel := context.WithTimeout(r.lab.Context(), time.Second)
		defer cancel()
		c, err := r.client.Dial(ctx, "tcp", s.echo.String())
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
			return err
		}
		return echoOnce(c, make([]byte, 1))
	})
}

// usage adds up the processes of the gateway.
func (s service) usage() (lab.Usage, error) {
	var sum lab.Usage
	for _, pid := range s.pids {
		u, err := lab.ReadUsage(pid)
		if err != nil {
			return lab.Usage{}, err
		}
		sum.CPU += u.CPU
		sum.RSS += u.RSS
	}
	return sum, nil
}

// errFatal carries what a lab could not do out of it.
var errFatal = errors.New("lab")

// reporter lets a lab report to a program: Fatalf panics with an error that inLab returns.
type reporter struct {
	out      io.Writer
	cleanups []func()
	failed   bool
}

func (r *reporter) Helper() {}

func (r *reporter) Failed() bool { return r.failed }

func (r *reporter) Logf(format string, args ...any) { fmt.Fprintf(r.out, format+"\n", args...) }

func (r *reporter) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *reporter) Fatalf(format string, args ...any) {
	r.failed = true
	panic(fmt.Errorf("%w: %w", errFatal, fmt.Errorf(format, args...)))
}

// inLab runs f with a rig of its own and removes the rig.
func inLab(f func(*rig) error) (err error) {
	report := &reporter{out: os.Stderr}
	defer func() {
		for _, cleanup := range report.cleanups {
			defer cleanup()
		}
		if p := recover(); p != nil {
			fatal, ok := p.(error)
			if !ok || !errors.Is(fatal, errFatal) {
				panic(p)
			}
			err = fatal
		}
		report.failed = err != nil
	}()
	return f(newRig(report))
}
