package reconcile

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"causeway/controlplane/resource"
	"causeway/gateway/spec"
	pb "causeway/proto/causeway/v1"
)

// device is a tunnel endpoint that peers need, under construction.
type device struct {
	slot
	peers    []spec.Peer
	keys     map[spec.Key]string
	prefixes map[netip.Prefix]string
	// dependents are the resources that need it.
	dependents []string
}

// device gives the tunnel endpoint of a slot.
func (c *compiler) device(s slot) *device {
	d, ok := c.slots[s]
	if !ok {
		d = &device{slot: s, keys: map[spec.Key]string{}, prefixes: map[netip.Prefix]string{}}
		c.slots[s] = d
	}
	return d
}

// accepts tells why a peer cannot be on the tunnel endpoint: a key or a prefix is another's there.
func (d *device) accepts(p spec.Peer) error {
	if other, taken := d.keys[p.PublicKey]; taken {
		return fmt.Errorf("public key is in use by %q", other)
	}
	for _, prefix := range p.AllowedIPs {
		if other, taken := d.prefixes[prefix]; taken {
			return fmt.Errorf("prefix %v is in use by %q", prefix, other)
		}
	}
	return nil
}

func (d *device) add(p spec.Peer, owner string) {
	d.keys[p.PublicKey] = p.Name
	for _, prefix := range p.AllowedIPs {
		d.prefixes[prefix] = p.Name
	}
	d.peers = append(d.peers, p)
	d.dependents = append(d.dependents, owner)
}

func (c *compiler) attachments() {
	each(c, c.in.attachments, func(name string, m *pb.Attachment) error {
		in, ok := c.subnets[resource.Parent(name)]
		if !ok {
			return fmt.Errorf("subnet %q is not in force", resource.Parent(name))
		}
		key, err := parseKey(m.GetPublicKey())
		if err != nil {
			return err
		}
		d := c.domains[in.vpc]
		addr, err := d.takeOwn(m.GetIpAddress(), name)
		if err != nil {
			return err
		}
		peer := spec.Peer{
			Name: name, Kind: spec.Attachment, PublicKey: key,
			AllowedIPs: []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())},
			Subnet:     resource.Parent(name),
		}
		// Without a group it is admitted to less.
		groups, partly := c.join(in.vpc, m.GetSecurityGroups())
		peer.SecurityGroups = groups
		on := c.device(slot{vpc: in.vpc, zone: in.zone})
		if err := on.accepts(peer); err != nil {
			return err
		}
		on.add(peer, name)
		c.out.peers[name] = place{routes: d.routes(spec.Attachment), dnsServer: d.dnsServer()}
		return partly
	})
}

func (c *compiler) vpnConnections() {
	keys := map[string]string{}
	for _, v := range c.in.customerGateways {
		keys[v.Name] = v.Value.GetPublicKey()
	}
	each(c, c.in.vpnConnections, func(name string, m *pb.VpnConnection) error {
		d, err := c.domain(m.GetVpc())
		if err != nil {
			return err
		}
		key, err := parseKey(keys[m.GetCustomerGateway()])
		if err != nil {
			return fmt.Errorf("customer gateway %q: %w", m.GetCustomerGateway(), err)
		}
		routes, err := siteRoutes(d, m.GetStaticRoutes())
		if err != nil {
			return err
		}
		return c.tunnels(d, name, key, routes, m.GetTunnels())
	})
}

// siteRoutes gives a site's prefixes, of which none may take addresses that are in use otherwise.
func siteRoutes(d *domain, texts []string) ([]netip.Prefix, error) {
	var routes []netip.Prefix
	for _, text := range texts {
		prefix, err := parsePrefix("static route", text)
		if err != nil {
			return nil, err
		}
		if prefix.Overlaps(d.prefix) {
			return nil, fmt.Errorf("static route %v overlaps the VPC's %v", prefix, d.prefix)
		}
		routes = append(routes, prefix)
	}
	slices.SortFunc(routes, netip.Prefix.Compare)
	return slices.Compact(routes), nil
}

// tunnels places both tunnels of a connection, or none.
func (c *compiler) tunnels(d *domain, connection string, key spec.Key, routes []netip.Prefix, tunnels []*pb.Tunnel) error {
	if len(tunnels) == 0 {
		return errors.New("it has no tunnels")
	}
	used := map[slot]bool{}
	devices := make([]*device, len(tunnels))
	peers := make([]spec.Peer, len(tunnels))
	for i, m := range tunnels {
		name := tunnelName(connection, i)
		if !c.served[m.GetAvailabilityZone()] {
			return fmt.Errorf("no gateway serves the availability zone %q", m.GetAvailabilityZone())
		}
		inside, err := netip.ParseAddr(m.GetIpAddress())
		if err != nil || !inside.Is4() {
			return fmt.Errorf("tunnel %q: inside address %q is no IPv4 address", name, m.GetIpAddress())
		}
		s := slot{vpc: d.Name, zone: m.GetAvailabilityZone()}
		for used[s] {
			s.index++
		}
		used[s] = true
		allowed := slices.Concat(routes, []netip.Prefix{netip.PrefixFrom(inside, inside.BitLen())})
		slices.SortFunc(allowed, netip.Prefix.Compare)
		peers[i] = spec.Peer{
			Name: name, Kind: spec.Tunnel, PublicKey: key, AllowedIPs: slices.Compact(allowed),
		}
		devices[i] = c.device(s)
		if err := devices[i].accepts(peers[i]); err != nil {
			return fmt.Errorf("tunnel %q: %w", name, err)
		}
	}
	for i, peer := range peers {
		devices[i].add(peer, connection)
		c.out.peers[peer.Name] = place{routes: d.routes(spec.Tunnel)}
	}
	return nil
}

func tunnelName(connection string, i int) string {
	return fmt.Sprintf("%s/tunnels/%d", connection, i+1)
}

// tunnelEndpoints gives every device that has a peer its stored identity, or asks for one.
func (c *compiler) tunnelEndpoints() {
	stored := map[string]*pb.TunnelEndpoint{}
	taken := map[uint16]bool{}
	for _, port := range c.in.ports {
		taken[port] = true
	}
	uids := map[string]bool{}
	needed := map[string]bool{}
	for _, v := range c.in.tunnelEndpoints {
		stored[v.Name] = v.Value
	}
	for _, d := range c.orderedDevices() {
		name := d.name()
		needed[name] = true
		m, exists := stored[name]
		port := c.in.ports[name]
		switch {
		case exists && (!validUID(m.GetUid()) || uids[m.GetUid()]):
			c.strand(d, fmt.Sprintf("tunnel endpoint %q: uid is invalid or taken", name))
		case exists && port != 0:
			uids[m.GetUid()] = true
			c.place(d, m.GetUid(), port)
		default:
			free, ok := port, port != 0
			if !ok {
				free, ok = c.opts.ports.lowestFree(taken)
			}
			if !ok {
				c.strand(d, fmt.Sprintf("no UDP port is free in wireguard.ports, %d-%d", c.opts.ports.First, c.opts.ports.Last))
				continue
			}
			taken[free] = true
			c.out.missing = append(c.out.missing, allocation{slot: d.slot, port: free, stored: exists})
		}
	}
	for _, v := range c.in.tunnelEndpoints {
		if !needed[v.Name] {
			c.out.unused = append(c.out.unused, v.Name)
		}
	}
}

// orderedDevices gives the tunnel endpoints that have a peer, by name.
func (c *compiler) orderedDevices() []*device {
	var devices []*device
	for _, d := range c.slots {
		if len(d.peers) > 0 {
			devices = append(devices, d)
		}
	}
	slices.SortFunc(devices, func(a, b *device) int {
		return cmp.Or(cmp.Compare(a.vpc, b.vpc), cmp.Compare(a.zone, b.zone), cmp.Compare(a.index, b.index))
	})
	return devices
}

// place puts a device with its peers into its domain.
func (c *compiler) place(d *device, uid string, port uint16) {
	slices.SortFunc(d.peers, func(a, b spec.Peer) int { return cmp.Compare(a.Name, b.Name) })
	for _, peer := range d.peers {
		at := c.out.peers[peer.Name]
		at.tunnelEndpoint = uid
		c.out.peers[peer.Name] = at
	}
	domain := c.domains[d.vpc]
	domain.TunnelEndpoints = append(domain.TunnelEndpoints, spec.TunnelEndpoint{
		UID: uid, Zone: d.zone, Port: port, Peers: d.peers,
	})
}

// strand notes why those who need a device cannot be served.
func (c *compiler) strand(d *device, reason string) {
	for _, name := range d.dependents {
		c.out.objects[name] = reason
	}
}

// deletions lists what users have deleted, in an order in which dependents come first.
func (c *compiler) deletions() {
	doom(c, resource.Endpoints, c.in.endpoints)
	doom(c, resource.EndpointServices, c.in.endpointServices)
	doom(c, resource.Listeners, c.in.listeners)
	doom(c, resource.LoadBalancers, c.in.loadBalancers)
	doom(c, resource.TargetGroups, c.in.targetGroups)
	doom(c, resource.ResolverRules, c.in.resolverRules)
	doom(c, resource.ResolverEndpoints, c.in.resolverEndpoints)
	doom(c, resource.VpnConnections, c.in.vpnConnections)
	doom(c, resource.Peerings, c.in.peerings)
	doom(c, resource.Attachments, c.in.attachments)
	doom(c, resource.Subnets, c.in.subnets)
	doom(c, resource.SecurityGroups, c.in.securityGroups)
	doom(c, resource.NetworkAcls, c.in.networkACLs)
	doom(c, resource.Vpcs, c.in.vpcs)
}

func doom[T resource.Message](c *compiler, kind *resource.Kind[T], resources list[T]) {
	for _, v := range resources {
		if resource.Deleting(v.Value) {
			c.out.deleting = append(c.out.deleting, doomed{kind: kind.Info, name: v.Name})
		}
	}
}
