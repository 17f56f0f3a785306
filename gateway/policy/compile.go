package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxProblems is how many mistakes one error tells.
const maxProblems = 8

// compiler makes a Policy of JSON and notes what is wrong with it.
type compiler struct {
	problems []string
	// variables tells whether the version has policy variables.
	variables bool
	sids      map[string]bool
	// questionMarks counts those that are wildcards.
	questionMarks int
}

func (c *compiler) wrong(n *node, format string, args ...any) {
	c.problems = append(c.problems, n.place()+": "+fmt.Sprintf(format, args...))
}

// err joins what is wrong.
func (c *compiler) err() error {
	if len(c.problems) == 0 {
		return nil
	}
	told := c.problems
	if more := len(told) - maxProblems; more > 0 {
		told = append(slices.Clone(told[:maxProblems]), fmt.Sprintf("and %d more", more))
	}
	return errors.New(strings.Join(told, "; "))
}

// Versions of the language. A policy without one is of the older.
const (
	versionOld = "2008-10-17"
	versionNew = "2012-10-17"
)

func (c *compiler) policy(root node) *Policy {
	p := &Policy{}
	members := c.object(&root, "Version", "Id", "Statement")
	if version := members["Version"]; version != nil {
		switch text, _ := version.value.(string); text {
		case versionNew:
			c.variables = true
		case versionOld:
		default:
			c.wrong(version, "must be %q or %q", versionNew, versionOld)
		}
	}
	if id := members["Id"]; id != nil {
		c.text(id)
	}
	statements := members["Statement"]
	if statements == nil {
		if root.object {
			c.wrong(&root, "Statement is missing")
		}
		return p
	}
	if statements.isArray && len(statements.array) == 0 {
		c.wrong(statements, "is empty; one statement with Effect Deny denies everything")
	}
	c.sids = map[string]bool{}
	for i, n := range statements.list() {
		p.statements = append(p.statements, c.statement(&n, i+1))
	}
	return p
}

// object gives the members of an object that has no others than those known.
func (c *compiler) object(n *node, known ...string) map[string]*node {
	members := map[string]*node{}
	if !n.object {
		c.wrong(n, "must be an object")
		return members
	}
	for i := range n.members {
		m := &n.members[i]
		if !slices.Contains(known, m.key) {
			c.wrong(&m.value, "is not known; there may be %s, in exactly this case", strings.Join(known, ", "))
			continue
		}
		members[m.key] = &m.value
	}
	return members
}

// text gives a string.
func (c *compiler) text(n *node) (string, bool) {
	text, ok := n.value.(string)
	switch {
	case !ok:
		c.wrong(n, "must be a string")
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }):
		c.wrong(n, "has a control character or half of a surrogate pair")
		return "", false
	}
	return text, ok
}

// texts gives a string or the strings of an array.
func (c *compiler) texts(n *node) []node {
	if n.isArray && len(n.array) == 0 {
		c.wrong(n, "is empty")
	}
	var list []node
	for _, e := range n.list() {
		if _, ok := c.text(&e); ok {
			list = append(list, e)
		}
	}
	return list
}

func (c *compiler) statement(n *node, number int) statement {
	s := statement{id: fmt.Sprintf("#%d", number)}
	members := c.object(n, "Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition")
	if !n.object {
		return s
	}
	if sid := members["Sid"]; sid != nil {
		c.sid(sid, &s)
	}
	c.effect(n, members["Effect"], &s)
	if e, not := c.either(n, members, "Principal"); e != nil {
		if not && s.allow {
			c.wrong(e, "goes with Effect Deny only: with Allow it would admit everybody else, whoever they are")
		}
		s.principals = c.principals(e, not)
	}
	if e, not := c.either(n, members, "Action"); e != nil {
		s.actions = c.actions(e, not, !s.allow && !not)
	}
	if e, not := c.either(n, members, "Resource"); e != nil {
		s.resources = c.resources(e, not, !s.allow && !not)
	}
	if e := members["Condition"]; e != nil {
		s.conditions = c.conditions(e)
	}
	return s
}

// either gives the element of a name or its opposite, of which there is exactly one.
func (c *compiler) either(n *node, members map[string]*node, name string) (e *node, not bool) {
	plain, opposite := members[name], members["Not"+name]
	switch {
	case plain != nil && opposite != nil:
		c.wrong(n, "has both %s and Not%s; keep one", name, name)
	case plain == nil && opposite == nil:
		c.wrong(n, "%s is missing", name)
	case plain != nil:
		return plain, false
	case opposite != nil:
		return opposite, true
	}
	return nil, false
}

// ImplicitDeny stands in the place of a Sid when no statement decided.
const ImplicitDeny = "implicit-deny"

const maxSid = 128

func (c *compiler) sid(n *node, s *statement) {
	text, ok := c.text(n)
	if !ok {
		return
	}
	fits := func(r rune) bool { return letter(r) || digit(r) || strings.ContainsRune(" -_.", r) }
	switch {
	case text == "" || len(text) > maxSid || strings.ContainsFunc(text, func(r rune) bool { return !fits(r) }):
		c.wrong(n, "must be 1 to %d letters, digits, spaces, hyphens, underscores and dots", maxSid)
	case text == ImplicitDeny:
		c.wrong(n, "%q is what flow records say when no statement decided", ImplicitDeny)
	case c.sids[text]:
		c.wrong(n, "%.80q is the Sid of another statement", text)
	}
	c.sids[text] = true
	s.id = text
}

func (c *compiler) effect(statement, n *node, s *statement) {
	if n == nil {
		c.wrong(statement, "Effect is missing")
		return
	}
	switch text, _ := n.value.(string); text {
	case "Allow":
		s.allow = true
	case "Deny":
	default:
		c.wrong(n, `must be "Allow" or "Deny", in exactly this case`)
	}
}
