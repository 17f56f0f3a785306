package policy

import (
	"maps"
	"slices"
	"strings"
)

// family is a group of operators that compare the same kind of values.
type family uint8

const (
	familyString family = iota
	familyNumeric
	familyDate
	familyBool
	familyAddress
	familyARN
	familyNull
)

// operator is a condition operator without its prefix and suffix.
type operator struct {
	family  family
	negated bool
	// like makes * and ? wildcards, and anyCase makes ASCII letters equal in any case.
	like, anyCase bool
	// order gives what may come of comparing the connection's value with the policy's: -1, 0, 1.
	order []int
}

// operators are those of
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html, by word. There is
// no BinaryEquals, for there is no key with binary values.
var operators = withOrders(map[string]operator{
	"StringEquals":              {family: familyString},
	"StringNotEquals":           {family: familyString, negated: true},
	"StringEqualsIgnoreCase":    {family: familyString, anyCase: true},
	"StringNotEqualsIgnoreCase": {family: familyString, anyCase: true, negated: true},
	"StringLike":                {family: familyString, like: true},
	"StringNotLike":             {family: familyString, like: true, negated: true},
	"Bool":                      {family: familyBool},
	"IpAddress":                 {family: familyAddress},
	"NotIpAddress":              {family: familyAddress, negated: true},
	"ArnEquals":                 {family: familyARN, like: true},
	"ArnLike":                   {family: familyARN, like: true},
	"ArnNotEquals":              {family: familyARN, like: true, negated: true},
	"ArnNotLike":                {family: familyARN, like: true, negated: true},
	"Null":                      {family: familyNull},
})

// withOrders adds the operators of ordered values.
func withOrders(m map[string]operator) map[string]operator {
	for word, f := range map[string]family{"Numeric": familyNumeric, "Date": familyDate} {
		m[word+"Equals"] = operator{family: f, order: []int{0}}
		m[word+"NotEquals"] = operator{family: f, order: []int{0}, negated: true}
		m[word+"LessThan"] = operator{family: f, order: []int{-1}}
		m[word+"LessThanEquals"] = operator{family: f, order: []int{-1, 0}}
		m[word+"GreaterThan"] = operator{family: f, order: []int{1}}
		m[word+"GreaterThanEquals"] = operator{family: f, order: []int{0, 1}}
	}
	return m
}

func operatorNames() string { return strings.Join(slices.Sorted(maps.Keys(operators)), ", ") }

// fits tells whether the operator compares values of the kind.
func (o *operator) fits(k kind) bool {
	switch o.family {
	case familyNull:
		return true
	case familyString:
		return k.textual()
	case familyARN:
		return k == kindARN
	case familyNumeric:
		return k == kindNumber || k == kindEpoch
	case familyDate:
		return k == kindDate || k == kindEpoch
	case familyBool:
		return k == kindBool
	}
	return k == kindAddress
}

// fitting names the operators for a kind.
func (k kind) fitting() string {
	switch k {
	case kindString, kindID:
		return "use a String operator"
	case kindARN:
		return "use an Arn or String operator"
	case kindNumber:
		return "use a Numeric operator"
	case kindDate:
		return "use a Date operator"
	case kindEpoch:
		return "use a Date or Numeric operator"
	case kindBool:
		return "use Bool"
	}
	return "use IpAddress or NotIpAddress"
}

// compare tells whether the connection's value is, to an operator that is not negated, as the policy wants it.
func (o *operator) compare(have *value, want *operand, r *Request) bool {
	switch o.family {
	case familyNumeric:
		return slices.Contains(o.order, compareNumbers(have.number, want.number))
	case familyDate:
		return slices.Contains(o.order, have.time.Compare(want.time))
	case familyBool:
		return have.flag == want.flag
	case familyAddress:
		return want.prefix.Contains(have.address)
	case familyARN:
		return matchARN(have.text, want.arn, r)
	}
	text := have.text
	if o.anyCase {
		text = lower(text)
	}
	return want.pattern.match(text, r) == yes
}

func compareNumbers(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// matchARN compares the six parts of ARNs each by itself, as ArnLike does.
func matchARN(text string, want []pattern, r *Request) bool {
	parts := strings.SplitN(text, ":", len(want))
	if len(parts) != len(want) {
		return false
	}
	for i := range want {
		if want[i].match(parts[i], r) != yes {
			return false
		}
	}
	return true
}
