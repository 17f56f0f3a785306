package policy

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// quantifier says how the values that a connection has for a key are counted. It has one or none.
type quantifier uint8

const (
	single quantifier = iota
	forAll
	forAny
)

// condition is one key under one operator.
type condition struct {
	key        *key
	operator   operator
	ifExists   bool
	quantifier quantifier
	// late tells that it is known with the server name only.
	late   bool
	wanted []operand
}

// operand is a value in the policy; which field counts, the operator's family says.
type operand struct {
	pattern pattern
	arn     []pattern
	number  float64
	time    time.Time
	prefix  netip.Prefix
	flag    bool
}

// match tells whether the condition is met.
func (c *condition) match(r *Request) truth {
	if c.late && !r.HelloRead {
		return maybe
	}
	v := c.key.value(r)
	if c.operator.family == familyNull {
		absent := !v.ok
		return truthOf(slices.ContainsFunc(c.wanted, func(o operand) bool { return o.flag == absent }))
	}
	if !v.ok {
		return truthOf(c.withoutValue())
	}
	for i := range c.wanted {
		if c.operator.compare(&v, &c.wanted[i], r) {
			return truthOf(!c.operator.negated)
		}
	}
	return truthOf(c.operator.negated)
}

// withoutValue tells whether the condition is met by a connection that has no value for the key
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html).
func (c *condition) withoutValue() bool {
	switch {
	case c.quantifier == forAny:
		return false
	case c.quantifier == forAll, c.ifExists:
		return true
	}
	return c.operator.negated
}

func (c *compiler) conditions(n *node) []condition {
	var list []condition
	if !n.object {
		c.wrong(n, "must be an object")
		return nil
	}
	if len(n.members) == 0 {
		c.wrong(n, "is empty; leave it out")
	}
	for i := range n.members {
		list = append(list, c.underOperator(&n.members[i])...)
	}
	return list
}

// underOperator reads an operator and the keys under it.
func (c *compiler) underOperator(m *member) []condition {
	n := &m.value
	base := condition{}
	word := m.key
	if rest, ok := strings.CutPrefix(word, "ForAllValues:"); ok {
		word, base.quantifier = rest, forAll
	} else if rest, ok := strings.CutPrefix(word, "ForAnyValue:"); ok {
		word, base.quantifier = rest, forAny
	}
	word, base.ifExists = strings.CutSuffix(word, "IfExists")
	var known bool
	if base.operator, known = operators[word]; !known {
		c.wrong(n, "operator is not known; known are %s, in exactly this case", operatorNames())
		return nil
	}
	if base.operator.family == familyNull && (base.ifExists || base.quantifier != single) {
		c.wrong(n, "Null has neither IfExists nor ForAllValues nor ForAnyValue")
	}
	if !n.object {
		c.wrong(n, "must be an object of condition keys")
		return nil
	}
	if len(n.members) == 0 {
		c.wrong(n, "is empty; leave it out")
	}
	var list []condition
	seen := map[*key]bool{}
	for i := range n.members {
		v := &n.members[i].value
		k := keys[strings.ToLower(n.members[i].key)]
		switch {
		case k == nil:
			c.wrong(v, "condition key is not known; known are %s", keyNames(func(kind) bool { return true }))
			continue
		case seen[k]:
			c.wrong(v, "is there twice: keys are the same in any case")
			continue
		case !base.operator.fits(k.kind):
			c.wrong(v, "%s does not go with this operator; %s", k.name, k.kind.fitting())
			continue
		}
		seen[k] = true
		one := base
		one.key, one.late = k, k.late
		c.operands(v, &one)
		list = append(list, one)
	}
	return list
}

// operands reads the values of a key.
func (c *compiler) operands(n *node, to *condition) {
	if n.isArray && len(n.array) == 0 {
		c.wrong(n, "is empty")
	}
	for _, e := range n.list() {
		o, ok := c.operand(&e, to)
		if !ok {
			continue
		}
		to.late = to.late || o.pattern.late
		for i := range o.arn {
			to.late = to.late || o.arn[i].late
		}
		to.wanted = append(to.wanted, o)
	}
}
