package spec

import (
	"errors"
	"fmt"
	"net/netip"
)

// The ranges of rules: the quotas of AWS at their highest.
const (
	MinACLRule = 1
	MaxACLRule = 32766
	// MaxACLRules bounds each direction of a network ACL, MaxGroupRules a security group, and MaxGroups the groups of
	// an attachment or endpoint.
	MaxACLRules   = 40
	MaxGroupRules = 60
	MaxGroups     = 16

	maxProtocol = 255
	maxICMP     = 255
	icmpv4      = 1
	protocolTCP = 6
	protocolUDP = 17
	icmpv6      = 58
)

func (v *validation) rules(g *Gateway) error {
	for i := range g.NetworkACLs {
		a := &g.NetworkACLs[i]
		if a.Name == "" || v.acls[a.Name] {
			return fmt.Errorf("network ACL %q: name is empty or taken", a.Name)
		}
		if err := a.Validate(); err != nil {
			return fmt.Errorf("network ACL %q: %w", a.Name, err)
		}
		v.acls[a.Name] = true
	}
	for _, s := range g.Subnets {
		if s.Name == "" || v.subnets[s.Name] {
			return fmt.Errorf("subnet %q: name is empty or taken", s.Name)
		}
		if s.NetworkACL != "" && !v.acls[s.NetworkACL] {
			return fmt.Errorf("subnet %q: network ACL %q does not exist", s.Name, s.NetworkACL)
		}
		v.subnets[s.Name] = true
	}
	return v.securityGroups(g)
}

func (v *validation) securityGroups(g *Gateway) error {
	for _, group := range g.SecurityGroups {
		if group.Name == "" || v.securityGroup[group.Name] {
			return fmt.Errorf("security group %q: name is empty or taken", group.Name)
		}
		v.securityGroup[group.Name] = true
	}
	for i := range g.SecurityGroups {
		group := &g.SecurityGroups[i]
		if err := group.Validate(); err != nil {
			return fmt.Errorf("security group %q: %w", group.Name, err)
		}
		for j, r := range group.Ingress {
			if r.Group != "" && !v.securityGroup[r.Group] {
				return fmt.Errorf("security group %q: rule %d: security group %q does not exist", group.Name, j+1, r.Group)
			}
		}
	}
	return nil
}

// inSubnet checks the reference of something that lies in a subnet, or in none.
func (v *validation) inSubnet(name string) error {
	if name != "" && !v.subnets[name] {
		return fmt.Errorf("subnet %q does not exist", name)
	}
	return nil
}

// inGroups checks the references of a member of security groups.
func (v *validation) inGroups(names []string) error {
	if len(names) > MaxGroups {
		return fmt.Errorf("%d security groups, more than %d", len(names), MaxGroups)
	}
	seen := map[string]bool{}
	for _, name := range names {
		if !v.securityGroup[name] || seen[name] {
			return fmt.Errorf("security group %q does not exist or is repeated", name)
		}
		seen[name] = true
	}
	return nil
}

// Validate reports the first rule of the ACL that is out of range or out of order. It does not look at the name.
func (a *NetworkACL) Validate() error {
	if err := validateACLRules(a.Ingress); err != nil {
		return fmt.Errorf("ingress: %w", err)
	}
	if err := validateACLRules(a.Egress); err != nil {
		return fmt.Errorf("egress: %w", err)
	}
	return nil
}

func validateACLRules(rules []ACLRule) error {
	if len(rules) > MaxACLRules {
		return fmt.Errorf("%d rules, more than %d", len(rules), MaxACLRules)
	}
	last := 0
	for i := range rules {
		r := &rules[i]
		if r.Number < MinACLRule || r.Number > MaxACLRule {
			return fmt.Errorf("rule %d: number is outside %d to %d", r.Number, MinACLRule, MaxACLRule)
		}
		if r.Number <= last {
			return fmt.Errorf("rule %d: number is repeated or not sorted", r.Number)
		}
		last = r.Number
		if err := validateRulePrefix(r.Prefix); err != nil {
			return fmt.Errorf("rule %d: %w", r.Number, err)
		}
		if err := r.Traffic.Validate(); err != nil {
			return fmt.Errorf("rule %d: %w", r.Number, err)
		}
	}
	return nil
}

// Validate reports the first rule of the group that is out of range. It does not look at names.
func (g *SecurityGroup) Validate() error {
	if len(g.Ingress) > MaxGroupRules {
		return fmt.Errorf("%d rules, more than %d", len(g.Ingress), MaxGroupRules)
	}
	for i := range g.Ingress {
		if err := g.Ingress[i].validate(); err != nil {
			return fmt.Errorf("rule %d: %w", i+1, err)
		}
	}
	return nil
}

func (r *GroupRule) validate() error {
	if (r.Group == "") == (r.Prefix == netip.Prefix{}) {
		return errors.New("either a prefix or a group admits")
	}
	if r.Group == "" {
		if err := validateRulePrefix(r.Prefix); err != nil {
			return err
		}
	}
	return r.Traffic.Validate()
}

func validateRulePrefix(p netip.Prefix) error {
	if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
		return fmt.Errorf("prefix %v is not canonical", p)
	}
	return nil
}

// Validate reports what of the kind of packet is out of range. Ports and ICMP types that the protocol does not have are
// refused, since the rule would match more than it seems to say.
func (t *Traffic) Validate() error {
	if t.Protocol < AllProtocols || t.Protocol > maxProtocol {
		return fmt.Errorf("protocol %d is neither %d nor in 0 to %d", t.Protocol, AllProtocols, maxProtocol)
	}
	hasPorts := t.Protocol == protocolTCP || t.Protocol == protocolUDP
	if !hasPorts && (t.FirstPort != 0 || t.LastPort != 0) {
		return fmt.Errorf("protocol %d has no ports, but the rule has %d-%d", t.Protocol, t.FirstPort, t.LastPort)
	}
	if t.FirstPort > t.LastPort {
		return fmt.Errorf("ports %d-%d are not in order", t.FirstPort, t.LastPort)
	}
	if t.Protocol != icmpv4 && t.Protocol != icmpv6 {
		if t.ICMPType != 0 || t.ICMPCode != 0 {
			return fmt.Errorf("protocol %d has no ICMP type, but the rule has %d, code %d", t.Protocol, t.ICMPType, t.ICMPCode)
		}
		return nil
	}
	switch {
	case t.ICMPType < Any || t.ICMPType > maxICMP || t.ICMPCode < Any || t.ICMPCode > maxICMP:
		return fmt.Errorf("ICMP type %d, code %d are neither %d nor in 0 to %d", t.ICMPType, t.ICMPCode, Any, maxICMP)
	case t.ICMPType == Any && t.ICMPCode != Any:
		return fmt.Errorf("ICMP code %d without a type", t.ICMPCode)
	}
	return nil
}
