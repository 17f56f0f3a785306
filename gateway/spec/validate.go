package spec

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
	"unicode/utf8"
)

// The ranges a spec must keep; outside them it is refused whole.
const (
	MinIdleTimeout = 60 * time.Second
	MaxIdleTimeout = 6000 * time.Second
	MinHealthyRun  = 2
	MaxHealthyRun  = 10
	MinSlowStart   = 30 * time.Second
	MaxSlowStart   = 900 * time.Second
	MaxWeight      = 999
	// MinCheckCode and MaxCheckCode bound the HTTP status codes that may count as success.
	MinCheckCode = 200
	MaxCheckCode = 599
	// MaxSecondary bounds a node's further addresses.
	MaxSecondary           = 7
	MaxDeregistrationDelay = 3600 * time.Second
	// MinBandwidthBPS and MaxBandwidthBPS bound a zone budget, in bits per second.
	MinBandwidthBPS = 64_000
	MaxBandwidthBPS = 100_000_000_000
	// MaxPolicyCharacters bounds an endpoint policy. Whether it can be understood, the gateway sees.
	MaxPolicyCharacters = 20480
)

// Validate reports the first thing that makes the spec impossible to apply, with the name of the
// object. The spec may come from a store that somebody edited, so nothing is taken for granted:
// every reference resolves, every address is of its kind, nothing is claimed twice.
func (g *Gateway) Validate() error {
	v := newValidation(g)
	for _, step := range []func(*Gateway) error{v.certificates, v.rules, v.targetGroups, v.loadBalancers, v.endpoints, v.checkDomains} {
		if err := step(g); err != nil {
			return err
		}
	}
	return nil
}

// validation holds the names met so far, so that each check sees what it may refer to.
type validation struct {
	domains, groups, balancers map[string]bool
	certs                      map[string]bool
	interfaces                 map[string]netip.Addr
	owners                     map[string]string // endpoints, by network interface
	ports                      map[uint16]string
	uids                       map[string]bool
	nodes                      map[nodeKey]string
	subnets, acls              map[string]bool
	securityGroup              map[string]bool
}

// nodeKey is an address in a domain; addresses of different domains may be equal.
type nodeKey struct {
	domain  string
	address netip.Addr
}

func newValidation(g *Gateway) *validation {
	v := &validation{
		domains: map[string]bool{}, groups: map[string]bool{}, balancers: map[string]bool{}, certs: map[string]bool{},
		interfaces: map[string]netip.Addr{}, owners: map[string]string{}, ports: map[uint16]string{},
		uids: map[string]bool{}, nodes: map[nodeKey]string{},
		subnets: map[string]bool{}, acls: map[string]bool{}, securityGroup: map[string]bool{},
	}
	for i := range g.Domains {
		v.domains[g.Domains[i].Name] = true
	}
	return v
}

func (v *validation) endpoints(g *Gateway) error {
	names := map[string]bool{}
	for i := range g.Endpoints {
		e := &g.Endpoints[i]
		if e.Name == "" || names[e.Name] {
			return fmt.Errorf("endpoint %q: name is empty or taken", e.Name)
		}
		names[e.Name] = true
		if b := e.Bandwidth; b.BaselineBPS < MinBandwidthBPS || b.MaximumBPS < b.BaselineBPS || b.MaximumBPS > MaxBandwidthBPS {
			return fmt.Errorf("endpoint %q: bandwidth %d to %d bit/s is no range within %d to %d",
				e.Name, b.BaselineBPS, b.MaximumBPS, MinBandwidthBPS, MaxBandwidthBPS)
		}
		if err := v.inGroups(e.SecurityGroups); err != nil {
			return fmt.Errorf("endpoint %q: %w", e.Name, err)
		}
		if n := utf8.RuneCountInString(e.Policy); n > MaxPolicyCharacters {
			return fmt.Errorf("endpoint %q: policy of %d characters is longer than %d", e.Name, n, MaxPolicyCharacters)
		}
		for _, lb := range e.LoadBalancers {
			if !v.balancers[lb] {
				return fmt.Errorf("endpoint %q: load balancer %q does not exist", e.Name, lb)
			}
		}
		for _, ni := range e.Interfaces {
			if _, taken := v.interfaces[ni.UID]; taken || !validUID(ni.UID) || ni.Zone == "" || !usable(ni.Address) {
				return fmt.Errorf("endpoint %q: network interface %q at %v in zone %q is invalid or repeated", e.Name, ni.UID, ni.Address, ni.Zone)
			}
			if err := v.inSubnet(ni.Subnet); err != nil {
				return fmt.Errorf("endpoint %q: network interface %q: %w", e.Name, ni.UID, err)
			}
			v.interfaces[ni.UID], v.owners[ni.UID] = ni.Address, e.Name
		}
	}
	return nil
}

func (v *validation) checkDomains(g *Gateway) error {
	seen := map[string]bool{}
	for i := range g.Domains {
		d := &g.Domains[i]
		if d.Name == "" || seen[d.Name] {
			return fmt.Errorf("domain %q: name is empty or taken", d.Name)
		}
		seen[d.Name] = true
		if err := v.domain(d); err != nil {
			return fmt.Errorf("domain %q: %w", d.Name, err)
		}
	}
	return nil
}

func (v *validation) domain(d *Domain) error {
	shown := map[netip.Addr]string{}
	for _, x := range d.Exposures {
		addr, ok := v.interfaces[x.Interface]
		if !ok {
			return fmt.Errorf("exposure of %q: network interface does not exist", x.Interface)
		}
		if other, taken := shown[addr]; taken {
			return fmt.Errorf("exposure of %q: address %v is already that of %q", x.Interface, addr, other)
		}
		if node, taken := v.nodes[nodeKey{d.Name, addr}]; taken {
			return fmt.Errorf("exposure of %q: address %v is already that of a node of %q", x.Interface, addr, node)
		}
		shown[addr] = x.Interface
	}
	if err := v.resolver(d, shown); err != nil {
		return err
	}
	for i := range d.TunnelEndpoints {
		if err := v.tunnelEndpoint(&d.TunnelEndpoints[i]); err != nil {
			return fmt.Errorf("tunnel endpoint %q: %w", d.TunnelEndpoints[i].UID, err)
		}
	}
	return nil
}

func (v *validation) tunnelEndpoint(t *TunnelEndpoint) error {
	if !validUID(t.UID) || v.uids[t.UID] {
		return errors.New("uid is invalid or taken")
	}
	v.uids[t.UID] = true
	if owner, taken := v.ports[t.Port]; taken || t.Port == 0 {
		return fmt.Errorf("port %d is zero or that of %q", t.Port, owner)
	}
	v.ports[t.Port] = t.UID
	keys, prefixes := map[Key]string{}, map[netip.Prefix]string{}
	for i := range t.Peers {
		if err := v.peer(&t.Peers[i], keys, prefixes); err != nil {
			return fmt.Errorf("peer %q: %w", t.Peers[i].Name, err)
		}
	}
	return nil
}

func (v *validation) peer(p *Peer, keys map[Key]string, prefixes map[netip.Prefix]string) error {
	if err := p.validate(keys, prefixes); err != nil {
		return err
	}
	if p.Kind == Tunnel && (p.Subnet != "" || len(p.SecurityGroups) > 0) {
		return errors.New("a tunnel is in no subnet and no security group")
	}
	if err := v.inSubnet(p.Subnet); err != nil {
		return err
	}
	return v.inGroups(p.SecurityGroups)
}

// validate notes the peer's key and prefixes among those of its tunnel endpoint. A site's key may
// be on several tunnel endpoints: its tunnels are one peer each there.
func (p *Peer) validate(keys map[Key]string, prefixes map[netip.Prefix]string) error {
	if p.Kind != Attachment && p.Kind != Tunnel {
		return fmt.Errorf("kind %q is not known", p.Kind)
	}
	if owner, taken := keys[p.PublicKey]; taken || p.PublicKey == (Key{}) {
		return fmt.Errorf("public key is zero or that of %q", owner)
	}
	keys[p.PublicKey] = p.Name
	for _, prefix := range p.AllowedIPs {
		if !prefix.IsValid() || prefix != prefix.Masked() {
			return fmt.Errorf("prefix %v is not canonical", prefix)
		}
		if owner, taken := prefixes[prefix]; taken {
			return fmt.Errorf("prefix %v is already that of %q", prefix, owner)
		}
		prefixes[prefix] = p.Name
	}
	if p.Keepalive < 0 || p.Keepalive > 65535*time.Second || p.Keepalive%time.Second != 0 {
		return fmt.Errorf("keepalive %v is not whole seconds up to 65535", p.Keepalive)
	}
	return nil
}

// validUID tells whether a uid is 1 to 63 ASCII letters, digits and hyphens: it becomes part of file names.
func validUID(uid string) bool {
	for _, c := range []byte(uid) {
		if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return uid != "" && len(uid) <= 63
}

// reserved is 240.0.0.0/4 with the broadcast address (RFC 1112 section 4).
var reserved = netip.PrefixFrom(netip.AddrFrom4([4]byte{240}), 4)

// usable tells whether an address can be that of a network interface or a node.
func usable(a netip.Addr) bool {
	return a.IsValid() && !a.Is4In6() && a.Zone() == "" && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() &&
		!a.IsLinkLocalUnicast() && !reserved.Contains(a)
}
