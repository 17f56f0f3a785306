package api

import (
	"net/netip"
	"strings"
)

// forbiddenTargets maps IPv4 prefixes to the reason why nobody may have a target there. The gateway
// asks the same again at every dial; refusing here tells the provider at once. First match counts.
var forbiddenTargets = []struct {
	prefix netip.Prefix
	reason string
}{
	{netip.MustParsePrefix("0.0.0.0/32"), "the unspecified address"},
	{netip.MustParsePrefix("0.0.0.0/8"), `an address of "this network", 0.0.0.0/8 (RFC 1122)`},
	{netip.MustParsePrefix("127.0.0.0/8"), "a loopback address, 127.0.0.0/8"},
	{netip.MustParsePrefix("169.254.169.254/32"), "an instance metadata service"}, // AWS, Azure, GCP and others
	{netip.MustParsePrefix("169.254.0.0/16"), "a link-local address, 169.254.0.0/16 (RFC 3927)"},
	{netip.MustParsePrefix("100.100.100.200/32"), "an instance metadata service"}, // Alibaba Cloud
	{netip.MustParsePrefix("168.63.129.16/32"), "a platform service of Azure"},
	{netip.MustParsePrefix("192.0.0.0/24"), "a protocol assignment, 192.0.0.0/24 (RFC 6890)"}, // .192: Oracle Cloud
	{netip.MustParsePrefix("224.0.0.0/4"), "a multicast address, 224.0.0.0/4"},
	{netip.MustParsePrefix("255.255.255.255/32"), "the broadcast address"},
	{netip.MustParsePrefix("240.0.0.0/4"), "a reserved address, 240.0.0.0/4 (RFC 1112)"},
}

// targetAddress reads the address of a target. It gives a refusal, in words that follow the field's
// name and value, for whatever is not a canonical IPv4 address that a service may have.
func targetAddress(text string) (addr netip.Addr, refusal string) {
	addr, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return netip.Addr{}, notAnAddress(text)
	case addr.Is4In6():
		return netip.Addr{}, "is an IPv6 spelling of " + addr.Unmap().String() + "; targets are IPv4 addresses in dotted decimal form"
	case addr.Is6():
		return netip.Addr{}, "is an IPv6 address; targets are IPv4 addresses"
	}
	for _, f := range forbiddenTargets {
		if f.prefix.Contains(addr) {
			return netip.Addr{}, "is " + f.reason + ", which no target may have"
		}
	}
	return addr, ""
}

// notAnAddress says what text is instead of an address: the spellings of inet_aton(3), such as
// 010.0.0.1 and 127.1, differ between readers, and a name may change its address at any time.
func notAnAddress(text string) string {
	digits := strings.TrimLeft(text, "0123456789abcdefABCDEFxX.")
	switch {
	case digits == "" && strings.ContainsAny(text[:min(1, len(text))], "0123456789"):
		return "is not an IPv4 address in dotted decimal form, such as 10.0.1.20"
	case strings.ContainsAny(text, "/"):
		return "is not one address; targets are single IPv4 addresses, such as 10.0.1.20"
	case strings.Trim(strings.ToLower(text), "abcdefghijklmnopqrstuvwxyz0123456789-_.") == "" && text != "":
		return "is a name; targets are IPv4 addresses, such as 10.0.1.20"
	}
	return "is not an IPv4 address, such as 10.0.1.20"
}
