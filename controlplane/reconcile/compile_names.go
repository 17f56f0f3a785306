package reconcile

import (
	"cmp"
	"slices"

	"causeway/controlplane/dnsname"
	"causeway/controlplane/resource"
	"causeway/gateway/spec"
	pb "causeway/proto/causeway/v1"
)

// namedEndpoint is what the names of an endpoint in force follow from.
type namedEndpoint struct {
	name       string
	interfaces []spec.NetworkInterface
	// public are its own names, private those of its service that it holds.
	public, private []string
}

// nameIn is a name of an endpoint in a domain.
type nameIn struct{ domain, name string }

// named notes the names of an endpoint that may be used.
func (c *compiler) named(d *domain, e *spec.Endpoint, m *pb.Endpoint, s *service) {
	of := dnsname.Endpoint{
		UID: e.UID, ServiceName: m.GetServiceName(), ServiceUID: m.GetServiceUid(),
		Region: c.regions[e.Interfaces[0].Zone], Suffix: c.opts.dnsSuffix,
	}
	n := namedEndpoint{name: e.Name, interfaces: e.Interfaces, public: []string{of.Regional()}}
	for _, ni := range e.Interfaces {
		n.public = append(n.public, of.Zonal(ni.Zone))
	}
	for _, name := range resource.PrivateNames(m) {
		if slices.Contains(s.names, name) {
			n.private = append(n.private, name)
		}
	}
	d.named = append(d.named, n)
}

// names gives every domain the names that are answered there: those of its own endpoints first, then those of
// peered VPCs, the older peering first. A name belongs to the first that has it.
func (c *compiler) names() {
	for _, d := range c.domains {
		if d.Resolver == nil {
			continue
		}
		answered := map[string]bool{}
		d.answer(answered, d, true)
		for _, peer := range d.peers {
			d.answer(answered, peer.domain, peer.names)
		}
		slices.SortFunc(d.Resolver.Names, func(a, b spec.DNSName) int { return cmp.Compare(a.Name, b.Name) })
		for _, n := range d.Resolver.Names {
			c.out.names[nameIn{d.Name, n.Name}] = n
		}
	}
}

// answer adds the names of the endpoints of another domain, or of the domain itself.
func (d *domain) answer(answered map[string]bool, of *domain, private bool) {
	for _, e := range of.named {
		all := interfaceUIDs(e.interfaces, "")
		for n, name := range e.public {
			uids := all
			if n > 0 {
				uids = interfaceUIDs(e.interfaces, e.interfaces[n-1].Zone)
			}
			d.answerOne(answered, spec.DNSName{Name: name, Endpoint: e.name, Interfaces: uids})
		}
		if !private {
			continue
		}
		for _, name := range e.private {
			d.answerOne(answered, spec.DNSName{Name: name, Endpoint: e.name, Interfaces: all, Probed: true})
		}
	}
}

func (d *domain) answerOne(answered map[string]bool, n spec.DNSName) {
	if answered[n.Name] || !dnsname.Valid(n.Name) {
		return
	}
	answered[n.Name] = true
	d.Resolver.Names = append(d.Resolver.Names, n)
}

// interfaceUIDs gives the uids of the network interfaces in a zone, or of all.
func interfaceUIDs(interfaces []spec.NetworkInterface, zone string) []string {
	var uids []string
	for _, ni := range interfaces {
		if zone == "" || ni.Zone == zone {
			uids = append(uids, ni.UID)
		}
	}
	slices.Sort(uids)
	return uids
}

// resolver gives a domain its DNS server, whose address nothing else in the VPC has.
func (d *domain) resolver() {
	addr := dnsname.Server(d.prefix)
	if !d.prefix.Contains(addr) || d.take(addr, "the VPC's DNS server") != nil {
		return // a stored range that is no VPC's
	}
	d.Resolver = &spec.Resolver{Address: addr}
}

// dnsServer gives the address of the domain's DNS server; "" if it has none.
func (d *domain) dnsServer() string {
	if d.Resolver == nil {
		return ""
	}
	return d.Resolver.Address.String()
}
