package spec

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Bounds of a domain's resolver.
const (
	// MaxForwardTargets bounds the servers of a rule, as Route 53 Resolver does.
	MaxForwardTargets = 6
	maxNameLength     = 253 // RFC 1035 section 2.3.4, without the root's length byte and the first label's
	maxLabelLength    = 63
)

// resolver checks a domain's DNS server against the addresses that the domain shows, and the interfaces that its names lead to.
func (v *validation) resolver(d *Domain, shown map[netip.Addr]string) error {
	r := d.Resolver
	if r == nil {
		return nil
	}
	own, err := v.resolverAddresses(d, shown)
	if err != nil {
		return err
	}
	if err := v.dnsNames(r.Names, shown); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, rule := range r.Rules {
		if rule.Domain != "." && !validName(rule.Domain) || seen[rule.Domain] {
			return fmt.Errorf("resolver: rule %q: domain is invalid or repeated", rule.Domain)
		}
		seen[rule.Domain] = true
		if err := checkServers(rule.Targets, own); err != nil {
			return fmt.Errorf("resolver: rule %q: %w", rule.Domain, err)
		}
	}
	return nil
}

// resolverAddresses gives the addresses at which the DNS server is asked: none of them may be another's.
func (v *validation) resolverAddresses(d *Domain, shown map[netip.Addr]string) (map[netip.Addr]bool, error) {
	own := map[netip.Addr]bool{}
	claim := func(a netip.Addr) error {
		node := v.nodes[nodeKey{d.Name, a}]
		switch {
		case !usable(a) || !a.Is4():
			return fmt.Errorf("resolver: %v is no address of a resolver", a)
		case own[a]:
			return fmt.Errorf("resolver: address %v is repeated", a)
		case shown[a] != "":
			return fmt.Errorf("resolver: address %v is already that of %q", a, shown[a])
		case node != "":
			return fmt.Errorf("resolver: address %v is already that of a node of %q", a, node)
		}
		own[a] = true
		return nil
	}
	if d.Resolver.Address.IsValid() {
		if err := claim(d.Resolver.Address); err != nil {
			return nil, err
		}
	}
	uids := map[string]bool{}
	for _, in := range d.Resolver.Inbound {
		if !validUID(in.UID) || uids[in.UID] || in.Zone == "" {
			return nil, fmt.Errorf("resolver: inbound address %q in zone %q is invalid or repeated", in.UID, in.Zone)
		}
		uids[in.UID] = true
		if err := claim(in.Address); err != nil {
			return nil, err
		}
		if err := v.inSubnet(in.Subnet); err != nil {
			return nil, fmt.Errorf("resolver: inbound address %q: %w", in.UID, err)
		}
	}
	if len(own) == 0 {
		return nil, errors.New("resolver: has no address")
	}
	return own, nil
}

// dnsNames checks that names lead to network interfaces of their endpoint that the domain shows, so that no address of one that
// is not shown here can be learned.
func (v *validation) dnsNames(names []DNSName, shown map[netip.Addr]string) error {
	seen := map[string]bool{}
	for _, n := range names {
		switch {
		case !validName(strings.TrimPrefix(n.Name, "*.")) || seen[n.Name]:
			return fmt.Errorf("resolver: name %q: is invalid or repeated", n.Name)
		case len(n.Interfaces) == 0:
			return fmt.Errorf("resolver: name %q: leads nowhere", n.Name)
		}
		seen[n.Name] = true
		for _, uid := range n.Interfaces {
			if v.owners[uid] != n.Endpoint || shown[v.interfaces[uid]] != uid {
				return fmt.Errorf("resolver: name %q: %q is no network interface of %q that is shown here", n.Name, uid, n.Endpoint)
			}
		}
	}
	return nil
}

// checkServers refuses what could never be asked, whatever the gateway's guard allows: hosts of its own, and the resolver
// itself, which would ask itself.
func checkServers(servers []netip.AddrPort, own map[netip.Addr]bool) error {
	if len(servers) == 0 || len(servers) > MaxForwardTargets {
		return fmt.Errorf("has %d servers, not 1 to %d", len(servers), MaxForwardTargets)
	}
	seen := map[netip.AddrPort]bool{}
	for _, s := range servers {
		switch {
		case !usable(s.Addr()) || !s.Addr().Is4() || s.Port() == 0:
			return fmt.Errorf("%v is no address and port of a name server", s)
		case seen[s]:
			return fmt.Errorf("%v is repeated", s)
		case own[s.Addr()]:
			return fmt.Errorf("%v is the resolver itself", s)
		}
		seen[s] = true
	}
	return nil
}

// validName tells whether a name is a lower-case domain name of letters, digits, hyphens and, as names of services have them,
// underscores, without a final dot.
func validName(name string) bool {
	if name == "" || len(name) > maxNameLength {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabelLength || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
				return false
			}
		}
	}
	return true
}
