package gateway

import (
	"reflect"
	"slices"

	"causeway/gateway/domain"
	"causeway/gateway/filter"
	"causeway/gateway/spec"
)

// rules are the network ACLs and security groups of a spec, compiled. What did not change since the spec before is the same
// value as then, so that a change only concerns the domains that use what changed.
type rules struct {
	acls    map[string]compiledACL
	subnets map[string]*domain.Subnet
	groups  map[string]compiledGroup
}

type compiledACL struct {
	spec *spec.NetworkACL
	acl  *filter.ACL
}

type compiledGroup struct {
	spec  *spec.SecurityGroup
	group *filter.Group
}

// next compiles what s has and the receiver has not. The receiver stays as it is.
func (r *rules) next(s *spec.Gateway) *rules {
	n := &rules{acls: map[string]compiledACL{}, subnets: map[string]*domain.Subnet{}, groups: map[string]compiledGroup{}}
	for i := range s.NetworkACLs {
		a := &s.NetworkACLs[i]
		c := r.acls[a.Name]
		if c.acl == nil || !reflect.DeepEqual(c.spec, a) {
			c = compiledACL{a, filter.CompileACL(a)}
		}
		n.acls[a.Name] = c
	}
	for _, subnet := range s.Subnets {
		want := domain.Subnet{Name: subnet.Name, ACL: n.acls[subnet.NetworkACL].acl}
		have := r.subnets[subnet.Name]
		if have == nil || *have != want {
			have = &want
		}
		n.subnets[subnet.Name] = have
	}
	for i := range s.SecurityGroups {
		g := &s.SecurityGroups[i]
		c := r.groups[g.Name]
		if c.group == nil || !reflect.DeepEqual(c.spec, g) {
			c = compiledGroup{g, filter.CompileGroup(g)}
		}
		n.groups[g.Name] = c
	}
	return n
}

// group gives the security groups of the names.
func (r *rules) group(names []string) []*filter.Group {
	list := make([]*filter.Group, 0, len(names))
	for _, name := range names {
		list = append(list, r.groups[name].group)
	}
	return list
}

// border is what rules say about the exposures of a network interface.
type border struct {
	endpoint string
	subnet   *domain.Subnet
	groups   []*filter.Group
}

func (b border) equal(o border) bool {
	return b.endpoint == o.endpoint && b.subnet == o.subnet && slices.Equal(b.groups, o.groups)
}

// bordersIn gives the border of each interface shown in a domain, by uid.
func (x *index) bordersIn(d *spec.Domain, r *rules) map[string]border {
	borders := make(map[string]border, len(d.Exposures))
	for _, e := range d.Exposures {
		n := x.interfaces[e.Interface]
		borders[e.Interface] = border{
			endpoint: n.endpoint.Name, subnet: r.subnets[n.spec.Subnet], groups: r.group(n.endpoint.SecurityGroups),
		}
	}
	return borders
}

// nodesIn are the addresses of the domain's load balancer nodes.
func (x *index) nodesIn(d *spec.Domain, r *rules) []domain.Node {
	var list []domain.Node
	for _, n := range x.nodes[d.Name] {
		for _, a := range n.Addresses() {
			list = append(list, domain.Node{Address: a, Subnet: r.subnets[n.Subnet]})
		}
	}
	return list
}

// subnetsOf are those of the domain's peers, by name.
func (r *rules) subnetsOf(d *spec.Domain) map[string]*domain.Subnet {
	subnets := map[string]*domain.Subnet{}
	for _, t := range d.TunnelEndpoints {
		for _, p := range t.Peers {
			if p.Subnet != "" {
				subnets[p.Subnet] = r.subnets[p.Subnet]
			}
		}
	}
	return subnets
}
