package reconcile

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"causeway/controlplane/resource"
	"causeway/gateway/spec"
	pb "causeway/proto/causeway/v1"
)

// options are what a spec depends on besides the store.
type options struct {
	zones []Zone
	ports PortRange
	// dnsSuffix ends the names of endpoints.
	dnsSuffix string
	// secrets opens the private keys of certificates.
	secrets Opener
	// policies may be nil: then nothing is known from the compilation before.
	policies *policyChecks
}

// Zone is an availability zone that the gateway serves.
type Zone struct{ Region, Name string }

// result is a compiled snapshot.
type result struct {
	// revision is that of the snapshot. The spec's is smaller where what changed since does not concern
	// the gateway.
	revision int64
	spec     spec.Gateway
	// objects has every resource with a life that is not being deleted, by name: why it is left out,
	// wholly or in part, or "".
	objects map[string]string
	// peers tells where the WireGuard peers in the spec connect to, by name.
	peers map[string]place
	// names are those that are answered in the domains.
	names map[nameIn]spec.DNSName
	// missing are the tunnel endpoints that dependents wait for; they are not in the spec yet.
	missing []allocation
	// unused are stored tunnel endpoints that are not in the spec and nothing waits for.
	unused []string
	// deleting are the resources to be removed when the spec is in force, dependents first.
	deleting []doomed
}

// place is where a peer connects to and what it routes there.
type place struct {
	tunnelEndpoint string // uid; "" while it is missing
	routes         []netip.Prefix
	// dnsServer is what an attachment may ask; "" for tunnels.
	dnsServer string
}

// allocation is a tunnel endpoint to be stored.
type allocation struct {
	slot
	port uint16
	// stored says that the tunnel endpoint is there and has lost its port.
	stored bool
}

// doomed is a resource that its user has deleted.
type doomed struct {
	kind *resource.Info
	name string
}

// compiler holds what the steps of a compilation have found so far. What a step leaves out, later
// ones do not find.
type compiler struct {
	in     input
	opts   options
	served map[string]bool // zones
	out    result
	// regions has the region of each zone.
	regions map[string]string
	// interfaceUIDs are those of all network interfaces so far.
	interfaceUIDs map[string]bool

	filters   filters
	domains   map[string]*domain
	subnets   map[string]subnet
	groups    map[string]string // target group to its VPC
	balancers map[string]bool
	services  map[string]*service // by name and by uid
	slots     map[slot]*device
}

// domain is a VPC that is served, under construction.
type domain struct {
	spec.Domain
	prefix netip.Prefix
	region string
	// subnets are the names of the VPC's subnets, in order.
	subnets []string
	// taken has the owner of each address in use.
	taken map[netip.Addr]string
	// own are the network interfaces of the VPC's endpoints.
	own []spec.NetworkInterface
	// peers are the domains whose exposures are shown here.
	peers []peerDomain
	// named are the VPC's endpoints with their DNS names.
	named []namedEndpoint
}

type peerDomain struct {
	*domain
	tunnels bool
	// names says whether both sides have private DNS names answered across.
	names bool
}

type subnet struct {
	vpc, zone string
	prefix    netip.Prefix
	acl       string // "" lets everything pass
}

type service struct {
	name, uid string
	balancers []string
	// names are its own DNS names.
	names []string
}

// compile makes a spec of everything that can be served. It is deterministic and never fails.
func compile(in input, opts options) result {
	if opts.policies == nil {
		opts.policies = &policyChecks{}
	}
	opts.policies.begin()
	c := &compiler{
		in: in, opts: opts, filters: newFilters(),
		served: map[string]bool{}, regions: map[string]string{}, interfaceUIDs: map[string]bool{},
		domains:   map[string]*domain{},
		subnets:   map[string]subnet{},
		groups:    map[string]string{},
		balancers: map[string]bool{},
		services:  map[string]*service{},
		slots:     map[slot]*device{},
		out:       result{objects: map[string]string{}, peers: map[string]place{}, names: map[nameIn]spec.DNSName{}},
	}
	c.out.revision, c.out.spec.Revision = in.revision, in.revision
	for _, zone := range opts.zones {
		c.served[zone.Name], c.regions[zone.Name] = true, zone.Region
		c.out.spec.Zones = append(c.out.spec.Zones, zone.Name)
	}
	slices.Sort(c.out.spec.Zones)
	c.vpcs()
	c.networkACLs()
	c.securityGroups()
	c.subnetZones()
	c.targetGroups()
	c.loadBalancers()
	c.endpointServices()
	c.endpoints()
	c.peerings()
	c.names()
	c.resolverEndpoints()
	c.attachments()
	c.vpnConnections()
	c.resolverRules()
	c.tunnelEndpoints()
	c.assemble()
	c.rules()
	c.deletions()
	return c.out
}

// each visits the resources that are not being deleted, notes them as in force, and leaves out with
// a reason those for which visit gives an error.
func each[T resource.Message](c *compiler, resources list[T], visit func(name string, m T) error) {
	for _, v := range resources {
		if resource.Deleting(v.Value) {
			continue
		}
		c.out.objects[v.Name] = ""
		if err := visit(v.Name, v.Value); err != nil {
			c.out.objects[v.Name] = err.Error()
		}
	}
}

func (c *compiler) vpcs() {
	each(c, c.in.vpcs, func(name string, vpc *pb.Vpc) error {
		prefix, err := parsePrefix("cidr_block", vpc.GetCidrBlock())
		if err != nil {
			return err
		}
		d := &domain{prefix: prefix, region: vpc.GetRegion(), taken: map[netip.Addr]string{}}
		d.UID = vpc.GetUid()
		d.Name, d.Prefixes = name, []netip.Prefix{prefix}
		d.resolver()
		c.domains[name] = d
		return nil
	})
}

func (c *compiler) subnetZones() {
	each(c, c.in.subnets, func(name string, m *pb.Subnet) error {
		vpc := resource.Parent(name)
		d, err := c.domain(vpc)
		if err != nil {
			return err
		}
		prefix, err := parsePrefix("cidr_block", m.GetCidrBlock())
		if err != nil {
			return err
		}
		if prefix.Bits() < d.prefix.Bits() || !d.prefix.Contains(prefix.Addr()) {
			return fmt.Errorf("cidr_block %v lies outside that of the VPC, %v", prefix, d.prefix)
		}
		if !c.served[m.GetAvailabilityZone()] {
			return fmt.Errorf("no gateway serves the availability zone %q", m.GetAvailabilityZone())
		}
		acl, err := c.aclOf(vpc, m)
		if err != nil {
			return err
		}
		c.subnets[name] = subnet{vpc: vpc, zone: m.GetAvailabilityZone(), prefix: prefix, acl: acl}
		d.subnets = append(d.subnets, name)
		return nil
	})
}

// domain gives a VPC that is served.
func (c *compiler) domain(vpc string) (*domain, error) {
	if d, ok := c.domains[vpc]; ok {
		return d, nil
	}
	return nil, fmt.Errorf("VPC %q is not in force", vpc)
}

// subnetAt gives the subnet of a VPC that an address lies in.
func (c *compiler) subnetAt(d *domain, addr netip.Addr) (name string, err error) {
	for _, name := range d.subnets {
		if c.subnets[name].prefix.Contains(addr) {
			return name, nil
		}
	}
	return "", fmt.Errorf("address %v lies in no subnet that is in force", addr)
}

// take gives owner an address of the domain.
func (d *domain) take(addr netip.Addr, owner string) error {
	if other, taken := d.taken[addr]; taken {
		return fmt.Errorf("address %v is in use by %q", addr, other)
	}
	d.taken[addr] = owner
	return nil
}

// takeOwn gives owner an address of the VPC itself.
func (d *domain) takeOwn(text, owner string) (netip.Addr, error) {
	addr, err := parseAddress(text)
	if err != nil {
		return addr, err
	}
	if !d.prefix.Contains(addr) {
		return addr, fmt.Errorf("address %v lies outside the VPC's %v", addr, d.prefix)
	}
	return addr, d.take(addr, owner)
}

// assemble puts the domains into the spec, with everything in order.
func (c *compiler) assemble() {
	for _, d := range c.domains {
		slices.SortFunc(d.TunnelEndpoints, func(a, b spec.TunnelEndpoint) int { return cmp.Compare(a.UID, b.UID) })
		slices.SortFunc(d.Exposures, func(a, b spec.Exposure) int { return cmp.Compare(a.Interface, b.Interface) })
		c.out.spec.Domains = append(c.out.spec.Domains, d.Domain)
	}
	slices.SortFunc(c.out.spec.Domains, func(a, b spec.Domain) int { return cmp.Compare(a.Name, b.Name) })
}
