package gateway

import (
	"fmt"
	"net/netip"
	"strings"

	"causeway/gateway/spec"
)

// resolve makes of the question's name an address, the first that the domain's resolver answers by itself. Others are not
// asked: what they answer is no endpoint's.
func (e *explainer) resolve(path domainPath) bool {
	c := spec.Check{Name: "name", Verdict: spec.Deny, Reason: "name_not_found"}
	if path.resolver == nil {
		c.Detail = "the VPC has no resolver"
		return e.add(c)
	}
	addresses := path.resolver.Own(e.question.Name)
	if len(addresses) == 0 {
		c.Detail = fmt.Sprintf("the resolver has no %q of its own", e.question.Name)
		if why := e.unpublished(); why != "" {
			c.Reason, c.Detail = "name_not_verified", "the name is not answered yet: "+why
		}
		return e.add(c)
	}
	e.question.Destination = netip.AddrPortFrom(addresses[0], e.question.Destination.Port())
	c.Verdict, c.Reason = spec.Pass, ""
	c.Detail = fmt.Sprintf("%q is answered with %v", e.question.Name, addresses)
	return e.add(c)
}

// unpublished tells why a name that the domain will have is not answered yet, or nothing.
func (e *explainer) unpublished() string {
	for _, n := range e.gateway.nameStatus() {
		base, wild := strings.CutPrefix(n.Name, "*.")
		if n.Domain == e.question.Domain && !n.Serving && (n.Name == e.question.Name || wild && strings.HasSuffix(e.question.Name, "."+base)) {
			return n.Reason
		}
	}
	return ""
}
