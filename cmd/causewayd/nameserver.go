package main

import (
	"encoding"
	"fmt"
	"net/netip"
)

// nameServer is the address and port of a DNS server, in YAML such as 9.9.9.9:53.
type nameServer struct{ netip.AddrPort }

var _ encoding.TextUnmarshaler = (*nameServer)(nil)

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *nameServer) UnmarshalText(text []byte) error {
	var err error
	if n.AddrPort, err = netip.ParseAddrPort(string(text)); err != nil {
		return fmt.Errorf("name server %q is not an address and port such as 9.9.9.9:53", text)
	}
	return nil
}

// forwarders are the name servers as the gateway takes them.
func (c *dnsConfig) forwarders() []netip.AddrPort {
	list := make([]netip.AddrPort, 0, len(c.Forwarders))
	for _, f := range c.Forwarders {
		list = append(list, f.AddrPort)
	}
	return list
}
