package api

import (
	"net/netip"

	"causeway/controlplane/apierr"
)

// notVPC are the IPv4 ranges that no VPC may touch: they mean something else to every host.
var notVPC = []struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), `"this network" (RFC 1122)`},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local (RFC 3927)"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved (RFC 1112)"},
}

// checkPrefix reads an IPv4 prefix in canonical form that hosts can have, between /shortest and
// /longest, and notes what is wrong with any other.
func checkPrefix(wrong *apierr.Violations, field, text string, shortest, longest int) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil || !p.Addr().Is4():
		wrong.Add(field, "%s is not an IPv4 prefix such as 10.0.0.0/16", quote(text))
		return netip.Prefix{}, false
	case p.Masked() != p:
		wrong.Add(field, "%s has host bits set; use %q", quote(text), p.Masked())
		return netip.Prefix{}, false
	case p.Bits() < shortest || p.Bits() > longest:
		wrong.Add(field, "%s must be between /%d and /%d", quote(text), shortest, longest)
		return netip.Prefix{}, false
	}
	for _, not := range notVPC {
		if not.prefix.Overlaps(p) {
			wrong.Add(field, "%s overlaps %s, which is %s", quote(text), not.prefix, not.what)
			return netip.Prefix{}, false
		}
	}
	return p, true
}
