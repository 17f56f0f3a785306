package policy

import "strings"

// spelling is which characters of a text are wildcards.
type spelling bool

const (
	wildcards spelling = true
	literally spelling = false
)

// pattern is text with wildcards and policy variables. What a variable stands for is compared as it is: it has
// no wildcards and no variables.
type pattern struct {
	fixed glob // without variables
	parts []piece
	// late tells that a variable is known with the server name only.
	late bool
	// anyCase tells that texts to be compared are in lower case.
	anyCase bool
}

// piece is a part of a pattern: a variable, or text.
type piece struct {
	variable *key
	text     string
	spelling spelling
}

// match compares a text with the pattern. A variable that the connection has no value for matches nothing.
func (p *pattern) match(text string, r *Request) truth {
	if p.parts == nil {
		return truthOf(p.fixed.match(text))
	}
	if p.late && !r.HelloRead {
		return maybe
	}
	var b globBuilder
	for i := range p.parts {
		if !p.parts[i].add(&b, r, p.anyCase) {
			return no
		}
	}
	g := b.glob()
	return truthOf(g.match(text))
}

// add puts the piece into a glob. False means that a variable has no value.
func (p *piece) add(b *globBuilder, r *Request, anyCase bool) bool {
	switch {
	case p.variable != nil:
		text := p.variable.value(r).text
		if anyCase {
			text = lower(text)
		}
		b.literal(text)
		return text != ""
	case p.spelling == wildcards:
		b.pattern(p.text)
	default:
		b.literal(p.text)
	}
	return true
}

// all reports whether the pattern is * or several of it.
func (p *pattern) all() bool { return p.parts == nil && p.fixed.all() }

// pattern reads text. The policy's version decides whether it may have variables.
func (c *compiler) pattern(n *node, text string, s spelling) pattern {
	var p pattern
	var b globBuilder
	for text != "" {
		before, rest, found := strings.Cut(text, "${")
		plain := piece{text: before, spelling: s}
		if s == wildcards {
			c.questionMarks += strings.Count(before, "?")
		}
		plain.add(&b, nil, false)
		p.parts = append(p.parts, plain)
		if !found {
			break
		}
		inner, after, closed := strings.Cut(rest, "}")
		v, ok := c.variable(n, inner, closed)
		if !ok {
			return pattern{}
		}
		p.parts, text = append(p.parts, v), after
		if v.variable == nil {
			v.add(&b, nil, false)
		} else {
			p.late = p.late || v.variable.late
		}
	}
	if !hasVariable(p.parts) {
		p.parts, p.fixed = nil, b.glob()
	}
	return p
}

func hasVariable(parts []piece) bool {
	for _, p := range parts {
		if p.variable != nil {
			return true
		}
	}
	return false
}

// variable reads what stands between ${ and }.
func (c *compiler) variable(n *node, inner string, closed bool) (piece, bool) {
	text := n.value.(string)
	switch {
	case !closed:
		c.wrong(n, "%.80q has ${ without }", text)
	case !c.variables:
		c.wrong(n, "%.80q has a policy variable, which needs \"Version\": %q", text, versionNew)
	case inner == "*" || inner == "?" || inner == "$":
		return piece{text: inner, spelling: literally}, true
	case strings.Contains(inner, "${"):
		c.wrong(n, "%.80q has a variable inside a variable", text)
	case strings.Contains(inner, ","):
		c.wrong(n, "%.80q: default values of variables are not supported", text)
	default:
		k := keys[strings.ToLower(inner)]
		if k != nil && k.kind.textual() {
			return piece{variable: k}, true
		}
		c.wrong(n, "%.80q: ${%s} is not known; variables are ${*}, ${?}, ${$} and the keys %s", text, inner, keyNames(kind.textual))
	}
	return piece{}, false
}

// splitOutside splits text at a separator outside of variables into at most count parts.
func splitOutside(text string, separator byte, count int) []string {
	var parts []string
	begin := 0
	for i := 0; i < len(text) && len(parts) < count-1; i++ {
		if strings.HasPrefix(text[i:], "${") {
			end := strings.IndexByte(text[i:], '}')
			if end < 0 {
				break
			}
			i += end
			continue
		}
		if text[i] == separator {
			parts, begin = append(parts, text[begin:i]), i+1
		}
	}
	return append(parts, text[begin:])
}
