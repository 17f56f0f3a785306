// Package resolver is the DNS server of a VPC.
//
// A [Resolver] answers the names of the VPC's endpoints itself, from a [Table] that is replaced whole, and asks other name
// servers for the rest: those of the forward rule with the longest suffix, else the gateway's own forwarders. It validates
// what they answer, passes on only what answers the question, and caches it within bounds. It resolves nothing from the
// root and validates no DNSSEC; it carries the records of those who do.
//
// Names that are the VPC's own never depend on another server. Everything a client can make it do is bounded: questions a
// second, questions that wait, connections, the size of messages and of the cache; and one question is under way to other
// servers only once, however many ask it.
//
// Sources: RFC 1034 and 1035; RFC 2308 (negative answers), RFC 5452 (forged answers), RFC 6891 (EDNS), RFC 7766 (TCP), RFC
// 8482 (ANY), RFC 9520 (failures are cached), draft-vixie-dnsext-dns0x20 (case of questions).
package resolver
