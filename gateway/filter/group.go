package filter

import (
	"slices"

	"causeway/gateway/spec"
)

// Group is a compiled security group. It is immutable.
type Group struct {
	// Name is the resource name.
	Name string
	list []groupRule
}

type groupRule struct {
	match
	// group is whose members the rule admits; empty in a rule by prefix.
	group string
	// index is the rule's among those of the spec.
	index int
}

// CompileGroup compiles a valid security group.
func CompileGroup(g *spec.SecurityGroup) *Group {
	c := &Group{Name: g.Name, list: make([]groupRule, 0, len(g.Ingress))}
	for i := range g.Ingress {
		rule := &g.Ingress[i]
		m, ok := anywhere(rule.Traffic), true
		if rule.Group == "" {
			m, ok = newMatch(rule.Traffic, rule.Prefix)
		}
		if ok {
			c.list = append(c.list, groupRule{match: m, group: rule.Group, index: i})
		}
	}
	return c
}

// Admits reports whether a rule admits a packet whose sender is a member of the named groups, and the index of that rule
// in the spec. It allocates nothing.
func (g *Group) Admits(p *Packet, memberOf []string) (rule int, ok bool) {
	if !p.Source.Is4() {
		return 0, false
	}
	source, kind := number(p.Source), p.kind()
	for i := range g.list {
		r := &g.list[i]
		if r.holds(source, p.Protocol, kind) && (r.group == "" || slices.Contains(memberOf, r.group)) {
			return r.index, true
		}
	}
	return 0, false
}
