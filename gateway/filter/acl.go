package filter

import "causeway/gateway/spec"

// ACL is a compiled network ACL. It is immutable.
type ACL struct {
	// Name is the resource name.
	Name string
	// Ingress is asked about what enters a subnet, Egress about what leaves it.
	Ingress, Egress Rules
}

// CompileACL compiles a valid network ACL.
func CompileACL(a *spec.NetworkACL) *ACL {
	return &ACL{Name: a.Name, Ingress: compileRules(a.Ingress, false), Egress: compileRules(a.Egress, true)}
}

// Open reports whether the ACL can deny nothing in either direction.
func (a *ACL) Open() bool { return a.Ingress.open && a.Egress.open }

// Rules are one direction of a network ACL. The zero Rules deny everything.
type Rules struct {
	list []aclRule
	// egress rules look at the destination, ingress rules at the source.
	egress bool
	open   bool
}

type aclRule struct {
	match
	number int16
	allow  bool
}

// Decision tells which rule decided.
type Decision struct {
	Allow bool
	// Number is the rule's; 0 when no rule matched, which denies.
	Number int
}

func compileRules(rules []spec.ACLRule, egress bool) Rules {
	r := Rules{list: make([]aclRule, 0, len(rules)), egress: egress}
	denies := false
	for i := range rules {
		m, ok := newMatch(rules[i].Traffic, rules[i].Prefix)
		if !ok {
			continue
		}
		c := aclRule{match: m, number: int16(rules[i].Number), allow: rules[i].Allow}
		r.list = append(r.list, c)
		denies = denies || !c.allow
		if c.everything() {
			r.open = !denies
			break // what follows is never reached
		}
	}
	return r
}

// Open reports whether the rules can deny nothing.
func (r *Rules) Open() bool { return r.open }

// Decide finds the first rule that matches the packet. It allocates nothing.
func (r *Rules) Decide(p *Packet) Decision {
	remote := p.Source
	if r.egress {
		remote = p.Destination
	}
	if !remote.Is4() {
		return Decision{}
	}
	address, kind := number(remote), p.kind()
	for i := range r.list {
		if rule := &r.list[i]; rule.holds(address, p.Protocol, kind) {
			return Decision{Allow: rule.allow, Number: int(rule.number)}
		}
	}
	return Decision{}
}
