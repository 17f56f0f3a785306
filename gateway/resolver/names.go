package resolver

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// Table is what a [Resolver] goes by.
type Table struct {
	// Names are those that the domain answers itself.
	Names []Name
	// Rules say which servers are asked for other names. The rule with the longest domain counts.
	Rules []Rule
}

// Name is a domain name with the addresses of an endpoint's network interfaces.
type Name struct {
	// Name is a lower-case domain name without the final dot. A leading "*." stands for one or more labels; an exact name
	// has precedence, then the longest of those.
	Name string
	// Published tells whether the name is answered here at the moment. While it is not, the name is like any other. Nil is
	// always. It is called for every question about the name and must be cheap.
	Published func() bool
	// Interfaces are never empty.
	Interfaces []Interface
}

// Interface is a network interface that a name leads to.
type Interface struct {
	Address netip.Addr
	// Serves tells whether a connection to it would find a target now. It must be cheap.
	Serves func() bool
}

// Rule sends questions for a domain name and those below it to other servers.
type Rule struct {
	// Domain is a lower-case domain name without the final dot; "." is all.
	Domain string
	// Servers are asked in turn.
	Servers []netip.AddrPort
}

// names is a Table in the form in which questions are looked up; names are lower-case and end in a dot. It is immutable.
type names struct {
	exact map[string]*Name
	// wild has the names that begin with "*.", without that.
	wild map[string]*Name
	// parents are the names above own ones, which exist without having records of their own (RFC 8020).
	parents map[string]bool
	rules   map[string][]netip.AddrPort
}

func compile(t Table) *names {
	n := &names{exact: map[string]*Name{}, wild: map[string]*Name{}, parents: map[string]bool{}, rules: map[string][]netip.AddrPort{}}
	for i := range t.Names {
		name := &t.Names[i]
		if base, wild := strings.CutPrefix(name.Name, "*."); wild {
			n.wild[dns.Fqdn(base)] = name
		} else {
			n.exact[dns.Fqdn(name.Name)] = name
		}
		for parent := range above(dns.Fqdn(name.Name)) {
			n.parents[parent] = true
		}
	}
	for _, r := range t.Rules {
		n.rules[dns.Fqdn(r.Domain)] = r.Servers
	}
	return n
}

// above yields the names above one, the nearest first and the root last.
func above(name string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for end := name == "."; !end; {
			var next int
			if next, end = dns.NextLabel(name, 0); end {
				name = "."
			} else {
				name = name[next:]
			}
			if !yield(name) {
				return
			}
		}
	}
}

// own is what the domain itself says of a name: the name it matched, and the domain name that its zone begins at.
func (n *names) own(name string) (found *Name, zone string) {
	if x := n.exact[name]; x != nil && x.published() {
		return x, name
	}
	if len(n.wild) == 0 {
		return nil, ""
	}
	for parent := range above(name) {
		if x := n.wild[parent]; x != nil && x.published() {
			return x, parent
		}
	}
	return nil, ""
}

// servers are those of the rule with the longest domain around a name; false without one.
func (n *names) servers(name string) ([]netip.AddrPort, bool) {
	if len(n.rules) == 0 {
		return nil, false
	}
	if list, ok := n.rules[name]; ok {
		return list, true
	}
	for parent := range above(name) {
		if list, ok := n.rules[parent]; ok {
			return list, true
		}
	}
	return nil, false
}

func (n *Name) published() bool { return n.Published == nil || n.Published() }

// addresses are those of the interfaces that can serve, or all if none can: an answer that may fail is better than none,
// and an empty one would be remembered. They begin with another one each time.
func (n *Name) addresses(turn uint64) []netip.Addr {
	list := make([]netip.Addr, 0, len(n.Interfaces))
	for _, i := range n.Interfaces {
		if i.Serves() {
			list = append(list, i.Address)
		}
	}
	if len(list) == 0 {
		for _, i := range n.Interfaces {
			list = append(list, i.Address)
		}
	}
	if len(list) < 2 {
		return list
	}
	first := int(turn % uint64(len(list)))
	return slices.Concat(list[first:], list[:first])
}
