package reconcile

import (
	"errors"
	"fmt"
	"slices"

	"causeway/controlplane/resource"
	"causeway/gateway/spec"
	pb "causeway/proto/causeway/v1"
)

// filters are the network ACLs and security groups under construction, by name.
type filters struct {
	// acls has nil for those that are stored and not in force.
	acls   map[string]*spec.NetworkACL
	groups map[string]*pb.SecurityGroup
}

func newFilters() filters {
	return filters{acls: map[string]*spec.NetworkACL{}, groups: map[string]*pb.SecurityGroup{}}
}

// networkACLs reads the network ACLs. One that cannot be read denies everything.
func (c *compiler) networkACLs() {
	for _, v := range c.in.networkACLs {
		c.filters.acls[v.Name] = nil
	}
	each(c, c.in.networkACLs, func(name string, m *pb.NetworkAcl) error {
		if _, err := c.domain(resource.Parent(name)); err != nil {
			return err
		}
		acl, err := networkACL(name, m)
		if err != nil {
			acl = spec.NetworkACL{Name: name}
			err = fmt.Errorf("everything is denied: %w", err)
		}
		c.filters.acls[name] = &acl
		return err
	})
}

func networkACL(name string, m *pb.NetworkAcl) (spec.NetworkACL, error) {
	ingress, err := aclRules("ingress_rules", m.GetIngressRules())
	if err != nil {
		return spec.NetworkACL{}, err
	}
	egress, err := aclRules("egress_rules", m.GetEgressRules())
	if err != nil {
		return spec.NetworkACL{}, err
	}
	acl := spec.NetworkACL{Name: name, Ingress: ingress, Egress: egress}
	return acl, acl.Validate()
}

func aclRules(field string, rules []*pb.NetworkAclRule) ([]spec.ACLRule, error) {
	var compiled []spec.ACLRule
	for n, m := range rules {
		kind, err := traffic(m.GetProtocol(), m.GetPortRange())
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", field, n, err)
		}
		prefix, err := parsePrefix("cidr_block", m.GetCidrBlock())
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", field, n, err)
		}
		if m.IcmpType != nil {
			kind.ICMPType = int(m.GetIcmpType())
		}
		if m.IcmpCode != nil {
			kind.ICMPCode = int(m.GetIcmpCode())
		}
		action := m.GetAction()
		if action != pb.NetworkAclRule_ALLOW && action != pb.NetworkAclRule_DENY {
			return nil, fmt.Errorf("%s[%d]: action %v is not known", field, n, action)
		}
		compiled = append(compiled, spec.ACLRule{
			Number: int(m.GetRuleNumber()), Allow: action == pb.NetworkAclRule_ALLOW, Prefix: prefix, Traffic: kind,
		})
	}
	return compiled, nil
}

// icmpv6 is the protocol number of ICMP for IPv6 (RFC 4443), which has types as ICMP has.
const icmpv6 = 58

// traffic reads what rules of both kinds say about packets; all types of ICMP.
func traffic(protocol string, ports *pb.PortRange) (spec.Traffic, error) {
	number, ok := resource.ParseProtocol(protocol)
	if !ok {
		return spec.Traffic{}, fmt.Errorf("protocol %q is not known", protocol)
	}
	kind := spec.Traffic{Protocol: number}
	if number == resource.ProtocolICMP || number == icmpv6 {
		kind.ICMPType, kind.ICMPCode = spec.Any, spec.Any
	}
	from, to := ports.GetFrom(), ports.GetTo()
	switch {
	case resource.HasPorts(number) != (ports != nil):
		return kind, fmt.Errorf("protocol %q has or lacks ports", protocol)
	case from < 0 || to > 65535 || from > to:
		return kind, fmt.Errorf("ports %d to %d are no range", from, to)
	}
	kind.FirstPort, kind.LastPort = uint16(from), uint16(to)
	return kind, nil
}

// aclOf gives the network ACL of a subnet: the one it names or the VPC's default one. VPCs made before
// there were any have none: "".
func (c *compiler) aclOf(vpc string, m *pb.Subnet) (string, error) {
	name := m.GetNetworkAcl()
	if name == "" {
		name = resource.NetworkAcls.Name(vpc, resource.DefaultNetworkACL)
		if _, stored := c.filters.acls[name]; !stored {
			return "", nil
		}
	}
	if c.filters.acls[name] == nil || resource.Parent(name) != vpc {
		return "", fmt.Errorf("network ACL %q is not in force", name)
	}
	return name, nil
}

// securityGroups finds the security groups; what their rules admit depends on what else is in force.
func (c *compiler) securityGroups() {
	each(c, c.in.securityGroups, func(name string, m *pb.SecurityGroup) error {
		if _, err := c.domain(resource.Parent(name)); err != nil {
			return err
		}
		c.filters.groups[name] = m
		return nil
	})
}

// join gives the security groups of the names, which are all of one VPC. Those that are not in force
// are left out, with an error: a member without them is admitted to less, but an endpoint to more.
func (c *compiler) join(vpc string, names []string) (joined []string, err error) {
	for _, name := range names {
		switch {
		case c.filters.groups[name] == nil || resource.Parent(name) != vpc:
			err = errors.Join(err, fmt.Errorf("security group %q is not in force", name))
		case slices.Contains(joined, name):
		case len(joined) == spec.MaxGroups:
			return joined, errors.Join(err, fmt.Errorf("more than %d security groups", spec.MaxGroups))
		default:
			joined = append(joined, name)
		}
	}
	slices.Sort(joined)
	return joined, err
}

// rules puts the subnets, network ACLs and security groups that the spec refers to into it, in the order
// of their names.
func (c *compiler) rules() {
	subnets, groups := referred(&c.out.spec)
	acls := map[string]bool{}
	for _, v := range c.in.subnets {
		if acl := c.subnets[v.Name].acl; subnets[v.Name] {
			c.out.spec.Subnets = append(c.out.spec.Subnets, spec.Subnet{Name: v.Name, NetworkACL: acl})
			acls[acl] = true
		}
	}
	for _, v := range c.in.networkACLs {
		if acls[v.Name] {
			c.out.spec.NetworkACLs = append(c.out.spec.NetworkACLs, *c.filters.acls[v.Name])
		}
	}
	compiled := map[string]spec.SecurityGroup{}
	for _, v := range c.in.securityGroups {
		if c.filters.groups[v.Name] != nil {
			compiled[v.Name] = c.securityGroup(v.Name, v.Value)
		}
	}
	needed := map[string]bool{}
	for name := range groups {
		need(needed, compiled, name)
	}
	for _, v := range c.in.securityGroups {
		if needed[v.Name] {
			c.out.spec.SecurityGroups = append(c.out.spec.SecurityGroups, compiled[v.Name])
		}
	}
}

// referred gives the names of the subnets and security groups that something in a spec lies in.
func referred(g *spec.Gateway) (subnets, groups map[string]bool) {
	subnets, groups = map[string]bool{}, map[string]bool{}
	join := func(names []string) {
		for _, name := range names {
			groups[name] = true
		}
	}
	for _, e := range g.Endpoints {
		join(e.SecurityGroups)
		for _, ni := range e.Interfaces {
			subnets[ni.Subnet] = true
		}
	}
	for _, lb := range g.LoadBalancers {
		for _, node := range lb.Nodes {
			subnets[node.Subnet] = true
		}
	}
	for _, d := range g.Domains {
		for _, te := range d.TunnelEndpoints {
			for _, peer := range te.Peers {
				join(peer.SecurityGroups)
				subnets[peer.Subnet] = true
			}
		}
		if d.Resolver == nil {
			continue
		}
		for _, inbound := range d.Resolver.Inbound {
			subnets[inbound.Subnet] = true
		}
	}
	return subnets, groups
}

// need adds a security group and those that its rules name.
func need(needed map[string]bool, groups map[string]spec.SecurityGroup, name string) {
	if needed[name] {
		return
	}
	needed[name] = true
	for _, rule := range groups[name].Ingress {
		if rule.Group != "" {
			need(needed, groups, rule.Group)
		}
	}
}

// securityGroup reads the rules of a security group. Those that cannot be read admit nobody.
func (c *compiler) securityGroup(name string, m *pb.SecurityGroup) spec.SecurityGroup {
	group := spec.SecurityGroup{Name: name}
	for n, rule := range m.GetIngressRules() {
		compiled, err := c.groupRule(name, rule)
		if err == nil && len(group.Ingress) == spec.MaxGroupRules {
			err = fmt.Errorf("more than %d rules", spec.MaxGroupRules)
		}
		if err != nil {
			c.out.objects[name] = fmt.Sprintf("ingress_rules[%d] admits nobody: %v", n, err)
			continue
		}
		group.Ingress = append(group.Ingress, compiled)
	}
	return group
}

func (c *compiler) groupRule(group string, m *pb.SecurityGroupRule) (spec.GroupRule, error) {
	kind, err := traffic(m.GetProtocol(), m.GetPortRange())
	if err != nil {
		return spec.GroupRule{}, err
	}
	source, ok := m.GetSource().(*pb.SecurityGroupRule_SourceGroup)
	if !ok {
		prefix, err := parsePrefix("cidr_block", m.GetCidrBlock())
		return spec.GroupRule{Traffic: kind, Prefix: prefix}, err
	}
	name := source.SourceGroup
	other := c.filters.groups[name]
	own := c.domains[resource.Parent(group)]
	switch {
	case other == nil || other.GetUid() != m.GetSourceGroupUid():
		return spec.GroupRule{}, fmt.Errorf("source group %q has been deleted", name)
	case resource.Parent(name) != own.Name && !own.sees(resource.Parent(name)):
		return spec.GroupRule{}, fmt.Errorf("no peering with the VPC of source group %q is in force", name)
	}
	return spec.GroupRule{Traffic: kind, Group: name}, nil
}
