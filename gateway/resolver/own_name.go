package resolver

import (
	"net/netip"

	"github.com/miekg/dns"
)

// Own gives the addresses with which a name is answered at this moment without asking others; none if others would be
// asked. Upper and lower case are the same, and the final dot may be left out. Nothing is counted by asking.
func (r *Resolver) Own(name string) []netip.Addr {
	found, _ := r.names.Load().own(dns.CanonicalName(name))
	if found == nil {
		return nil
	}
	return found.addresses(0)
}
