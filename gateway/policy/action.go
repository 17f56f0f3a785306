package policy

import "strings"

// Connect is the one action that a gateway sees.
const (
	connectService = "vpce"
	connectAction  = "connect" // in lower case, as actions have none
)

// actions are those that a statement is about. A gateway sees vpce:Connect only. The actions of an AWS service are
// carried by connections to the service's names.
type actions struct {
	not bool
	// connect tells that vpce:Connect is among them.
	connect bool
	// carried are the AWS services of which some action is among them; the value tells whether every one is.
	carried map[*service]bool
}

// match tells whether a connection to a service's name, which may be no AWS service's, is meant.
func (a *actions) match(to name, allow bool) truth {
	if a.not {
		return not(a.listed(to, !allow))
	}
	return a.listed(to, allow)
}

// listed tells whether the listed actions have part in the connection. To admit it, one that it may carry is
// enough; to refuse it, all that it may carry have to be there.
func (a *actions) listed(to name, admit bool) truth {
	switch {
	case a.connect:
		return yes
	case len(a.carried) == 0:
		return no
	case to.pending:
		return maybe
	}
	whole, listed := a.carried[to.service]
	return truthOf(listed && (admit || whole))
}

func (c *compiler) actions(n *node, not, whole bool) actions {
	a := actions{not: not, carried: map[*service]bool{}}
	for _, e := range c.texts(n) {
		c.action(&e, whole, &a)
	}
	return a
}

const actionForm = `write "*", "vpce:Connect", or an AWS service's action such as "s3:GetObject"`

// action adds one pattern. If whole is set, a part of a service's actions would have no effect.
func (c *compiler) action(n *node, whole bool, a *actions) {
	text := n.value.(string)
	if text == "*" {
		a.connect = true
		return
	}
	prefix, pattern, found := strings.Cut(strings.ToLower(text), ":")
	switch {
	case !found || prefix == "" || pattern == "":
		c.wrong(n, "%.80q is no action; %s", text, actionForm)
		return
	case strings.ContainsAny(prefix, "*?"):
		c.wrong(n, "%.80q has a wildcard before the colon; %s", text, actionForm)
		return
	case strings.ContainsFunc(pattern, func(r rune) bool { return !letter(r) && !digit(r) && r != '*' && r != '?' }):
		c.wrong(n, "%.80q has characters that no action has; %s", text, actionForm)
		return
	}
	if prefix == connectService {
		a.connect = true
		if g := newGlob(pattern); !g.match(connectAction) {
			c.wrong(n, "%.80q is not known: the only action of %s is Connect", text, connectService)
		}
		return
	}
	s := services[prefix]
	if s == nil {
		c.wrong(n, "%.80q: service %q is not known; known are vpce, %s", text, prefix, serviceNames())
		return
	}
	all := strings.Trim(pattern, "*") == ""
	if whole && !all {
		c.wrong(n, `%.80q alone cannot be denied: a connection carries every action of the service; deny "%s:*" or "vpce:Connect"`, text, prefix)
		return
	}
	a.carried[s] = a.carried[s] || all
}
