package policy

import (
	"slices"
	"strings"
)

// principals are the accounts that a statement is about.
type principals struct {
	not      bool
	all      bool
	accounts []string
}

func (p *principals) match(account string) bool {
	return (p.all || account != "" && slices.Contains(p.accounts, account)) != p.not
}

const principalForm = `write "*", or {"AWS": ...} with account IDs or arn:aws:iam::ACCOUNT:root`

func (c *compiler) principals(n *node, not bool) principals {
	p := principals{not: not}
	if text, ok := n.value.(string); ok {
		p.all = text == "*"
		if !p.all {
			c.wrong(n, "%.80q names nobody; %s", text, principalForm)
		}
		return p
	}
	if !n.object {
		c.wrong(n, principalForm)
		return p
	}
	if len(n.members) == 0 {
		c.wrong(n, "is empty; %s", principalForm)
	}
	for i := range n.members {
		m := &n.members[i]
		if m.key != "AWS" {
			c.wrong(&m.value, "is not known: connections come from accounts; %s", principalForm)
			continue
		}
		for _, e := range c.texts(&m.value) {
			c.principal(&e, &p)
		}
	}
	return p
}

func (c *compiler) principal(n *node, p *principals) {
	text := n.value.(string)
	account := text
	if rest, isARN := strings.CutPrefix(text, "arn:"); isARN {
		parts := strings.Split(rest, ":")
		if len(parts) != 5 || parts[0] != "aws" || parts[1] != "iam" || parts[2] != "" || parts[4] != "root" {
			c.wrong(n, "%.80q is no whole account: connections have no IAM user or role; %s", text, principalForm)
			return
		}
		account = parts[3]
	}
	switch {
	case account == "*":
		p.all = true
	case validAccount(account):
		p.accounts = append(p.accounts, account)
	default:
		c.wrong(n, "%.80q is no account; %s", text, principalForm)
	}
}

// validAccount tells whether a is an account ID: 1 to 63 lower-case letters, digits and hyphens inside.
func validAccount(a string) bool {
	for _, r := range a {
		if r != '-' && !digit(r) && (r < 'a' || r > 'z') {
			return false
		}
	}
	return a != "" && len(a) <= 63 && a[0] != '-' && a[len(a)-1] != '-'
}
