package domain

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"causeway/gateway/filter"
	"causeway/tunnel/link"
)

// Table is everything that decides about connections of a domain. It is compiled once and replaced whole, so every packet
// sees one state.
type Table struct {
	Peers     []Peer
	Exposures []Exposure
	Resolvers []Resolver
	// Nodes are the addresses of load balancer nodes, to which network ACLs apply too.
	Nodes []Node
}

// Subnet is a part of a VPC with the network ACL at its border. Equal pointers in a Table mean the same subnet.
type Subnet struct {
	// Name is the resource name.
	Name string
	// ACL is nil in a subnet that lets everything in and out.
	ACL *filter.ACL
}

// Node is an address of a load balancer node: connections to targets come from it.
type Node struct {
	Address netip.Addr
	// Subnet is nil for a node in none.
	Subnet *Subnet
}

// Peer is a WireGuard peer on one of the domain's ports.
type Peer struct {
	// Name is the resource name of the attachment or tunnel.
	Name string
	// KeyFingerprint is that of its public key.
	KeyFingerprint string
	// Tunnel tells a site from an attachment.
	Tunnel bool
	// Port is where the peer's WireGuard device leads.
	Port *link.Port
	// Prefixes are the addresses the peer holds; of several peers on one port the longest prefix counts. Peers on
	// different ports may hold the same.
	Prefixes []netip.Prefix
	// Subnet is nil for a peer in none, as tunnels are.
	Subnet *Subnet
	// SecurityGroups are the resource names of those that the peer is a member of.
	SecurityGroups []string
}

// Exposure is an address of the domain that consumers may connect to.
type Exposure struct {
	Address netip.Addr
	// Tunnels tells whether peers that are tunnels may.
	Tunnels  bool
	Services []Service
	// Endpoint is the resource name of the endpoint, for explanations.
	Endpoint string
	// Subnet is nil for an exposure in none.
	Subnet *Subnet
	// SecurityGroups admit connections, any of them; none admits all.
	SecurityGroups []*filter.Group
}

// Resolver is an address of the domain's DNS server: [DNSPort] is open there, over UDP and TCP.
type Resolver struct {
	Address netip.Addr
	// Tunnels tells whether peers that are tunnels may ask. Attachments always may.
	Tunnels bool
	// Subnet is that of an address at which tunnels may ask, nil for none. Network ACLs do not apply to the resolver inside
	// the VPC (AWS, "Network ACL basics": they cannot block DNS requests to or from it).
	Subnet *Subnet
}

// Service is a port of an exposure.
type Service struct {
	Port uint16
	// Available tells whether a target could serve a connection now. It is called for every SYN and must be cheap.
	Available func() bool
}

// Publish puts t in force; the order of its lists has no meaning. The function it returns tells whether an address has
// changed hands by that: peers held it by the longest prefix, and none of these, by name, holds it so now.
func (d *Domain) Publish(t Table) (changedHands func(netip.Addr) bool) {
	// Inbound first: a route to a peer that the table does not know only carries answers.
	now := compile(t)
	if now.filtering {
		d.link.SetFilter(border{d})
	}
	before := d.table.Swap(now)
	if !now.filtering {
		d.link.SetFilter(nil)
	}
	d.link.SetRoutes(routes(t.Peers))
	return func(a netip.Addr) bool {
		held, holding := before.holding.lookup(a), now.holding.lookup(a)
		return len(held) > 0 && !slices.ContainsFunc(held, func(old *Peer) bool {
			return slices.ContainsFunc(holding, func(p *Peer) bool { return p.Name == old.Name })
		})
	}
}

// Holds reports whether some peer of the domain holds the address: a connection to it has somewhere to go.
func (d *Domain) Holds(a netip.Addr) bool { return d.link.ActivePort(a) != nil }

// Resolves reports whether the address is one of the domain's DNS server.
func (d *Domain) Resolves(a netip.Addr) bool {
	return d.table.Load().place(a).resolver != nil
}

// Exposes reports whether the address is an exposure of the domain.
func (d *Domain) Exposes(a netip.Addr) bool { return d.table.Load().place(a).exposure != nil }

// PeerOf is the peer that traffic to the address goes to at this moment: where several hold it, the one that
// last sent from it. False means nobody.
func (d *Domain) PeerOf(a netip.Addr) (Peer, bool) {
	port := d.link.ActivePort(a)
	if port == nil {
		return Peer{}, false
	}
	if p := d.table.Load().peer(port, a); p != nil {
		return *p, true
	}
	return Peer{}, false
}

func routes(peers []Peer) []link.Route {
	byPrefix := map[netip.Prefix]*link.Route{}
	for _, p := range peers {
		for _, prefix := range p.Prefixes {
			r := byPrefix[prefix]
			if r == nil {
				r = &link.Route{Prefix: prefix}
				byPrefix[prefix] = r
			}
			if !slices.Contains(r.Ports, p.Port) {
				r.Ports = append(r.Ports, p.Port)
			}
		}
	}
	list := make([]link.Route, 0, len(byPrefix))
	for _, r := range byPrefix {
		list = append(list, *r)
	}
	return list
}

// compiled is a Table in the form that packets are judged by. It is immutable.
type compiled struct {
	// peers of each port, and of all ports together.
	peers   map[*link.Port]*holders
	holding *holders
	// places are the domain's own addresses, as numbers, which are hashed faster.
	places map[uint32]*place
	// filtering tells that some network ACL can deny something.
	filtering bool
}

// place is an address of the domain's own: an exposure, an address of the DNS server, or that of a node.
type place struct {
	exposure *exposure
	resolver *Resolver
	// subnet is nil for an address in none. exempt is set where network ACLs do not apply at all.
	subnet *Subnet
	exempt bool
}

// nowhere stands for addresses that the domain does not have.
var nowhere = &place{exempt: true}

// place is what the domain has at an address; never nil.
func (c *compiled) place(a netip.Addr) *place {
	if a.Is4() {
		if p := c.places[number(a)]; p != nil {
			return p
		}
	}
	return nowhere
}

// serves reports whether peers are served at the address, which therefore none of them may send from.
func (p *place) serves() bool { return p.exposure != nil || p.resolver != nil }

type exposure struct {
	Exposure
	ports map[uint16]func() bool
}

// holders finds the peers of an address by longest prefix. Most prefixes are single addresses, so a lookup is one map
// read, or one per prefix length in use.
type holders struct {
	byPrefix map[uint64][]*Peer
	lengths  []uint8 // in use, longest first
}

func newHolders() *holders { return &holders{byPrefix: map[uint64][]*Peer{}} }

func compile(t Table) *compiled {
	c := &compiled{
		peers: map[*link.Port]*holders{}, holding: newHolders(),
		places: make(map[uint32]*place, len(t.Exposures)+len(t.Nodes)+len(t.Resolvers)),
	}
	for _, p := range t.Peers {
		h := c.peers[p.Port]
		if h == nil {
			h = newHolders()
			c.peers[p.Port] = h
		}
		h.add(&p)
		c.holding.add(&p)
		c.filtering = c.filtering || p.Subnet.filters()
	}
	for _, x := range t.Exposures {
		e := &exposure{Exposure: x, ports: make(map[uint16]func() bool, len(x.Services))}
		for _, s := range x.Services {
			e.ports[s.Port] = s.Available
		}
		c.add(x.Address, &place{exposure: e, subnet: x.Subnet})
	}
	for _, n := range t.Nodes {
		c.add(n.Address, &place{subnet: n.Subnet})
	}
	for _, r := range t.Resolvers {
		c.add(r.Address, &place{resolver: &r, subnet: r.Subnet, exempt: !r.Tunnels})
	}
	return c
}

func (c *compiled) add(a netip.Addr, p *place) {
	if !a.Is4() {
		return
	}
	c.places[number(a)] = p
	c.filtering = c.filtering || !p.exempt && p.subnet.filters()
}

// peer is the holder of the address on one port, or nil.
func (c *compiled) peer(port *link.Port, a netip.Addr) *Peer {
	if list := c.peers[port].lookup(a); len(list) > 0 {
		return list[0]
	}
	return nil
}

func (h *holders) add(p *Peer) {
	for _, prefix := range p.Prefixes {
		if !prefix.IsValid() || !prefix.Addr().Is4() {
			continue
		}
		length := uint8(prefix.Bits())
		key := prefixKey(number(prefix.Addr()), length)
		h.byPrefix[key] = append(h.byPrefix[key], p)
		if !slices.Contains(h.lengths, length) {
			h.lengths = append(h.lengths, length)
		}
	}
	slices.SortFunc(h.lengths, func(a, b uint8) int { return int(b) - int(a) })
}

// lookup returns the peers that hold the longest prefix around a. The receiver may be nil.
func (h *holders) lookup(a netip.Addr) []*Peer {
	if h == nil || !a.Is4() {
		return nil
	}
	key := number(a)
	for _, length := range h.lengths {
		if list := h.byPrefix[prefixKey(key, length)]; list != nil {
			return list
		}
	}
	return nil
}

// number is an IPv4 address as an integer.
func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

// prefixKey is a prefix as a map key: its length above its network address.
func prefixKey(a uint32, length uint8) uint64 {
	return uint64(length)<<32 | uint64(a)&(^uint64(0)<<(32-length))
}
