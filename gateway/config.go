package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"causeway/gateway/spec"
	"causeway/tunnel/link"
)

// Config is what a [Gateway] needs to know of its host.
type Config struct {
	// StateDir keeps private keys, the last good spec and known peer endpoints. It is made with mode 0700.
	StateDir string
	// Advertise is the host name or address that WireGuard clients dial.
	Advertise string
	// ListenAddress is the local address of UDP sockets; the zero value means all of IPv4.
	ListenAddress netip.Addr
	// UnderlayAllow are the prefixes of the host's own network in which targets may lie. Empty allows none.
	UnderlayAllow []netip.Prefix
	// UnderlaySources are addresses of the host from which targets on its own network are dialled, one after the other as
	// the ports of those before are used up towards a target. Empty leaves the choice to the kernel.
	UnderlaySources []netip.Addr
	// GrowAfter is how long use must stay at 80 % of a zone budget or above before it doubles; 0 is a minute. ShrinkAfter
	// is how long it must stay below 40 % before it halves; 0 is 15 minutes.
	GrowAfter, ShrinkAfter time.Duration
	// DNSSuffix is the domain under which endpoints have their names; empty is causeway.internal.
	DNSSuffix string
	// Forwarders are the name servers that resolvers ask for names without a rule, over the host's own network. Empty: those
	// of /etc/resolv.conf.
	Forwarders []netip.AddrPort
	// MTU of all tunnels in bytes; 0 is 1420.
	MTU int
	// UAPIDir is where WireGuard's sockets are made for `wg show`; empty makes none.
	UAPIDir string
	// OnRecord, if not nil, is called once for every connection that ended or was refused after its handshake. It is
	// called by the goroutines that carry the packets and must not block, and not change the record.
	OnRecord func(*spec.FlowRecord)
	Logger   *slog.Logger

	// hostAddresses lists the addresses of the host, which no target may have; nil asks the system.
	hostAddresses func() ([]netip.Addr, error)
	// dialTimeout is how long targets have to answer; 0 is the engine's default.
	dialTimeout time.Duration
}

// check fills in defaults and refuses what could not be served.
func (c *Config) check() error {
	switch {
	case c.StateDir == "":
		return errors.New("no state directory")
	case c.Advertise == "":
		return errors.New("no host to advertise")
	case c.Logger == nil:
		return errors.New("no logger")
	case c.MTU != 0 && (c.MTU < link.MinMTU || c.MTU > link.MaxMTU):
		return fmt.Errorf("mtu %d is outside %d to %d", c.MTU, link.MinMTU, link.MaxMTU)
	case c.GrowAfter < 0 || c.ShrinkAfter < 0:
		return fmt.Errorf("budgets grow after %v and shrink after %v", c.GrowAfter, c.ShrinkAfter)
	}
	for _, p := range c.UnderlayAllow {
		if !p.IsValid() {
			return errors.New("a prefix of the underlay is invalid")
		}
	}
	for _, f := range c.Forwarders {
		if !f.IsValid() || f.Port() == 0 {
			return fmt.Errorf("forwarder %v is no address and port", f)
		}
	}
	if c.DNSSuffix == "" {
		c.DNSSuffix = "causeway.internal"
	}
	if c.hostAddresses == nil {
		c.hostAddresses = c.systemAddresses
	}
	return nil
}

// systemAddresses are the addresses of all interfaces and the one that clients are told to dial, which may be that
// of a translator in front of the host.
func (c *Config) systemAddresses() ([]netip.Addr, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list addresses of the host: %w", err)
	}
	var list []netip.Addr
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			list = append(list, p.Addr())
		}
	}
	if a, err := netip.ParseAddr(c.Advertise); err == nil {
		list = append(list, a)
	}
	return list, nil
}
