package policy

import "strings"

// resources are what a statement is about.
type resources struct {
	not  bool
	list []resource
}

// resource is one pattern: everything, an endpoint service's port, or what is behind the names of an AWS service.
type resource struct {
	// all is the pattern "*".
	all bool
	// service is nil for an endpoint service. first and rest are the resource up to the first slash and after it.
	service                      *service
	region, account, first, rest pattern
	// everyPort tells that there is no rest: all ports of an endpoint service, or all of a named resource.
	everyPort bool
	// whole tells that the pattern has all that is behind a name which it matches.
	whole bool
}

// match tells whether the connection's resources are meant.
func (s *resources) match(r *Request, to name, allow bool) truth {
	if s.not {
		return not(s.listed(r, to, !allow))
	}
	return s.listed(r, to, allow)
}

func (s *resources) listed(r *Request, to name, admit bool) truth {
	found := no
	for i := range s.list {
		if found = max(found, s.list[i].match(r, to, admit)); found == yes {
			break
		}
	}
	return found
}

func (p *resource) match(r *Request, to name, admit bool) truth {
	switch {
	case p.all:
		return yes
	case p.service == nil:
		return min(p.region.match(r.Service.Region, r), p.account.match(r.Service.Account, r),
			p.first.match(r.Service.UID, r), p.matchPort(r))
	case to.pending:
		return maybe
	case to.service != p.service, !admit && !p.whole:
		return no
	}
	found := yes
	if !p.service.bare {
		found = p.region.match(to.region, r)
	}
	if p.service.named {
		found = min(found, p.matchNamed(r, to, admit))
	}
	return found
}

func (p *resource) matchPort(r *Request) truth {
	if p.everyPort {
		return yes
	}
	return p.rest.match(r.portText(), r)
}

// matchNamed compares what the name is for. A name that withholds it is taken for the worst: it admits nobody by one
// resource, and is refused by one.
func (p *resource) matchNamed(r *Request, to name, admit bool) truth {
	if to.resource == "" {
		return truthOf(!admit || p.first.all())
	}
	return p.first.match(to.resource, r)
}

func (c *compiler) resources(n *node, not, whole bool) resources {
	s := resources{not: not}
	for _, e := range c.texts(n) {
		if p, ok := c.resource(&e, whole); ok {
			s.list = append(s.list, p)
		}
	}
	return s
}

const resourceForm = `write "*", arn:aws:vpce:REGION:ACCOUNT:SERVICE/PORT, or the ARN of an AWS service's resource`

// resource reads one pattern. If whole is set, a part of what is behind a name would have no effect.
func (c *compiler) resource(n *node, whole bool) (resource, bool) {
	text := n.value.(string)
	if text == "*" {
		return resource{all: true}, true
	}
	parts := splitOutside(text, ':', 6)
	switch {
	case len(parts) < 6 || parts[0] != "arn":
		c.wrong(n, "%.80q is no ARN; %s", text, resourceForm)
		return resource{}, false
	case parts[1] != "aws":
		c.wrong(n, "%.80q: the partition must be aws; %s", text, resourceForm)
		return resource{}, false
	case parts[5] == "":
		c.wrong(n, "%.80q ends before the resource; %s", text, resourceForm)
		return resource{}, false
	}
	p := resource{service: services[parts[2]]}
	if p.service == nil && parts[2] != connectService {
		c.wrong(n, "%.80q: service %q is not known; known are vpce, %s", text, parts[2], serviceNames())
		return p, false
	}
	at := splitOutside(parts[5], '/', 2)
	if p.everyPort = len(at) == 1; p.everyPort {
		at = append(at, "")
	}
	p.region, p.account = c.pattern(n, parts[3], wildcards), c.pattern(n, parts[4], wildcards)
	p.first, p.rest = c.pattern(n, at[0], wildcards), c.pattern(n, at[1], wildcards)
	before := len(c.problems)
	c.checkARN(n, &p, parts)
	p.whole = p.wholeName()
	if whole && p.service != nil && !p.whole {
		c.wrong(n, "%.80q alone cannot be denied: a connection carries requests for everything behind its name; %s", text, p.service.wholeForm())
	}
	return p, len(c.problems) == before
}

// checkARN checks the parts that have few forms.
func (c *compiler) checkARN(n *node, p *resource, parts []string) {
	text, region, account := n.value.(string), parts[3], parts[4]
	if p.service != nil && p.service.bare {
		if region != "" || account != "" {
			c.wrong(n, "%.80q: ARNs of %s have neither region nor account; write arn:aws:%s:::...", text, parts[2], parts[2])
		}
		return
	}
	if region == "" || account == "" {
		c.wrong(n, `%.80q: region or account is empty; "*" stands for any`, text)
		return
	}
	if account != "*" && strings.ContainsAny(account, "*?") {
		c.wrong(n, "%.80q: the account must be an ID or *, not both", text)
	}
	if p.service == nil && !p.everyPort && !validPort(splitOutside(parts[5], '/', 2)[1]) {
		c.wrong(n, "%.80q: after the slash must be a port from 1 to 65535, or *", text)
	}
}

// wholeName tells whether the pattern leaves out nothing that is behind a name.
func (p *resource) wholeName() bool {
	switch {
	case p.service == nil:
		return true
	case p.service.named:
		return (p.service.bare || p.account.all()) && (p.everyPort || p.rest.all())
	}
	return p.account.all() && p.first.all() && (p.everyPort || p.rest.all())
}

// wholeForm says how to deny all that is behind a name.
func (s *service) wholeForm() string {
	switch {
	case s.bare:
		return "deny arn:aws:" + s.word + ":::NAME/*"
	case s.named:
		return "deny arn:aws:" + s.word + ":REGION:*:NAME/*"
	}
	return "deny arn:aws:" + s.word + ":REGION:*:*"
}

func validPort(text string) bool {
	if text == "*" {
		return true
	}
	number := 0
	for _, c := range text {
		if !digit(c) || number > 65535 {
			return false
		}
		number = number*10 + int(c-'0')
	}
	return text != "" && text[0] != '0' && number <= 65535
}
