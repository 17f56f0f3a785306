package policy

import (
	"encoding/json"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// operand reads one value for an operator.
func (c *compiler) operand(n *node, to *condition) (operand, bool) {
	text, ok := c.scalar(n, to.operator.family)
	if !ok {
		return operand{}, false
	}
	switch to.operator.family {
	case familyNumeric:
		return c.number(n, text)
	case familyDate:
		return c.date(n, text)
	case familyBool, familyNull:
		if text != "true" && text != "false" {
			c.wrong(n, "%.80q is neither true nor false", text)
			return operand{}, false
		}
		return operand{flag: text == "true"}, true
	case familyAddress:
		return c.prefix(n, text)
	case familyARN:
		return c.arn(n, text)
	}
	return c.string(n, text, to)
}

// scalar gives a value as text. Numbers and booleans may stand without quotes where they are wanted.
func (c *compiler) scalar(n *node, f family) (string, bool) {
	switch v := n.value.(type) {
	case json.Number:
		if f == familyNumeric || f == familyDate {
			return v.String(), true
		}
	case bool:
		if f == familyBool || f == familyNull {
			return strconv.FormatBool(v), true
		}
	}
	return c.text(n)
}

// A number has so few digits that it is exact.
var formNumber = regexp.MustCompile(`^-?[0-9]{1,15}(\.[0-9]{1,6})?$`)

func (c *compiler) number(n *node, text string) (operand, bool) {
	number, err := strconv.ParseFloat(text, 64)
	if err != nil || !formNumber.MatchString(text) {
		c.wrong(n, "%.80q is no number of at most 15 digits and 6 decimals", text)
		return operand{}, false
	}
	return operand{number: number}, true
}

// Dates are those of ISO 8601 that W3C's note on date and time formats has, except for years and months alone, which
// look like seconds; and seconds since 1970.
var (
	formDate  = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:[0-9]{2}))?$`)
	formEpoch = regexp.MustCompile(`^[0-9]{1,11}$`)
)

func (c *compiler) date(n *node, text string) (operand, bool) {
	if formEpoch.MatchString(text) {
		seconds, err := strconv.ParseInt(text, 10, 64)
		return operand{time: time.Unix(seconds, 0)}, err == nil
	}
	if formDate.MatchString(text) {
		for _, layout := range []string{time.DateOnly, "2006-01-02T15:04Z07:00", time.RFC3339} {
			if t, err := time.Parse(layout, text); err == nil {
				return operand{time: t}, true
			}
		}
	}
	c.wrong(n, "%.80q is no date such as 2026-01-31T23:59:59Z or 2026-01-31, and no seconds since 1970", text)
	return operand{}, false
}

func (c *compiler) prefix(n *node, text string) (operand, bool) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" && !a.Is4In6() {
		return operand{prefix: netip.PrefixFrom(a, a.BitLen())}, true
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil || p.Addr().Is4In6():
		c.wrong(n, "%.80q is no address or CIDR block such as 10.0.0.0/16", text)
	case p != p.Masked():
		c.wrong(n, "%.80q has bits beyond its length; the block it lies in is %q", text, p.Masked())
	default:
		return operand{prefix: p}, true
	}
	return operand{}, false
}

func (c *compiler) arn(n *node, text string) (operand, bool) {
	parts := splitOutside(text, ':', 6)
	if len(parts) != 6 || parts[0] != "arn" {
		c.wrong(n, "%.80q is no ARN of six parts", text)
		return operand{}, false
	}
	if account := parts[4]; account != "*" && strings.ContainsAny(strings.ReplaceAll(account, "${", ""), "*?") {
		c.wrong(n, "%.80q: the account must be an ID or *, not both", text)
		return operand{}, false
	}
	o := operand{}
	for _, part := range parts {
		o.arn = append(o.arn, c.pattern(n, part, wildcards))
	}
	return o, true
}

// minAround is how many characters there must be on one side of a wildcard (AWS, "Considerations" of endpoint policies).
const minAround = 6

func (c *compiler) string(n *node, text string, to *condition) (operand, bool) {
	wild := wildcardRuns(text)
	switch {
	case len(wild) == 0:
	case !to.operator.like:
		c.wrong(n, "%.80q: %s are no wildcards here; use StringLike, or ${*} for the character itself", text, "* and ?")
		return operand{}, false
	case to.key.kind == kindID:
		c.wrong(n, "%.80q: wildcards do not go with %s, of which the system makes the values", text, to.key.name)
		return operand{}, false
	default:
		if around := loneliest(text, wild); around < minAround {
			c.wrong(n, "%.80q: a wildcard needs at least %d characters directly before or after it", text, minAround)
			return operand{}, false
		}
	}
	if to.operator.anyCase {
		text = lower(text) // keys have no case, so variables may be lowered as well
	}
	o := operand{pattern: c.pattern(n, text, spelling(to.operator.like))}
	o.pattern.anyCase = to.operator.anyCase
	return o, true
}

// wildcardRuns gives where each run of wildcards outside of variables begins and ends.
func wildcardRuns(text string) [][2]int {
	var runs [][2]int
	for i := 0; i < len(text); i++ {
		if strings.HasPrefix(text[i:], "${") {
			if end := strings.IndexByte(text[i:], '}'); end > 0 {
				i += end
				continue
			}
		}
		if text[i] != '*' && text[i] != '?' {
			continue
		}
		if last := len(runs) - 1; last >= 0 && runs[last][1] == i {
			runs[last][1]++
			continue
		}
		runs = append(runs, [2]int{i, i + 1})
	}
	return runs
}

// loneliest gives, of the wildcards, the least number of characters that one has on its better side.
func loneliest(text string, runs [][2]int) int {
	least := len(text)
	for i, run := range runs {
		before, after := run[0], len(text)-run[1]
		if i > 0 {
			before = run[0] - runs[i-1][1]
		}
		if i < len(runs)-1 {
			after = runs[i+1][0] - run[1]
		}
		least = min(least, max(before, after))
	}
	return least
}

// lower makes ASCII letters lower case. Letters of other scripts that fold to ASCII stay what they are: they only
// look alike.
func lower(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, text)
}
