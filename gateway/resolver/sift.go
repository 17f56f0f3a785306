package resolver

import (
	"slices"
	"time"

	"github.com/miekg/dns"
)

// maxAliases bounds a chain of CNAMEs.
const maxAliases = 16

// sift makes an answer of what another server said, with nothing in it but what answers the question: the chain of aliases
// from the name asked for, the records at its end, or the proof that there are none. Whatever else the server wanted to
// tell is left out (RFC 2181 section 5.4.1), so that nothing about other names is ever remembered.
func sift(t topic, in *dns.Msg, now time.Time) (*answer, error) {
	out := &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: in.Rcode}}
	aliases, name := follow(t, in.Answer)
	for _, c := range aliases {
		out.Answer = append(out.Answer, c)
		out.Answer = signatures(out.Answer, t, in.Answer, c.Hdr.Name, dns.TypeCNAME)
	}
	found := false
	if t.kind != dns.TypeCNAME && in.Rcode == dns.RcodeSuccess {
		for _, rr := range in.Answer {
			if h := rr.Header(); h.Rrtype == t.kind && h.Class == dns.ClassINET && dns.CanonicalName(h.Name) == name {
				out.Answer, found = append(out.Answer, rr), true
			}
		}
		out.Answer = signatures(out.Answer, t, in.Answer, name, t.kind)
	}
	found = found || t.kind == dns.TypeCNAME && len(aliases) > 0
	ttl := maxTTL
	if !found {
		var ok bool
		if ttl, ok = negative(out, t, in.Ns, name); !ok {
			return nil, errAnswer
		}
	}
	for _, rr := range slices.Concat(out.Answer, out.Ns) {
		h := rr.Header()
		if h.Ttl > 1<<31-1 { // RFC 2181 section 8
			h.Ttl = 0
		}
		ttl = min(ttl, time.Duration(h.Ttl)*time.Second)
	}
	a, err := pack(t, out, now, now.Add(ttl))
	if err != nil {
		return nil, err
	}
	// The library reads records without data, which it would write in a way that nobody can read.
	if new(dns.Msg).Unpack(a.wire) != nil {
		return nil, errAnswer
	}
	a.aliases = aliases
	return a, nil
}

// follow is the chain of aliases from the name asked for and where it leads. A question for a CNAME follows none beyond it.
func follow(t topic, records []dns.RR) (aliases []*dns.CNAME, name string) {
	name = t.name
	for range maxAliases {
		var next *dns.CNAME
		for _, rr := range records {
			if c, ok := rr.(*dns.CNAME); ok && c.Hdr.Class == dns.ClassINET && dns.CanonicalName(c.Hdr.Name) == name {
				next = c
				break
			}
		}
		if next == nil {
			break
		}
		aliases, name = append(aliases, next), dns.CanonicalName(next.Target)
		if t.kind == dns.TypeCNAME {
			break
		}
	}
	return aliases, name
}

// signatures adds the signatures of records for who asked for them (RFC 4035 section 3.1.1).
func signatures(list []dns.RR, t topic, records []dns.RR, name string, covered uint16) []dns.RR {
	if !t.dnssec {
		return list
	}
	for _, rr := range records {
		if s, ok := rr.(*dns.RRSIG); ok && s.TypeCovered == covered && dns.CanonicalName(s.Hdr.Name) == dns.CanonicalName(name) {
			list = append(list, s)
		}
	}
	return list
}

// negative adds the authority of an answer without the records asked for, and tells how long it may be remembered (RFC
// 2308): not at all without a SOA record of a zone around the name. False is for a server that only refers to others, or
// whose chain of aliases it did not follow to the end.
func negative(out *dns.Msg, t topic, authority []dns.RR, name string) (ttl time.Duration, ok bool) {
	refers, proved := false, false
	for _, rr := range authority {
		h := rr.Header()
		if h.Class != dns.ClassINET || !dns.IsSubDomain(dns.CanonicalName(h.Name), name) {
			if t.dnssec && (h.Rrtype == dns.TypeNSEC || h.Rrtype == dns.TypeNSEC3 || h.Rrtype == dns.TypeRRSIG) {
				out.Ns = append(out.Ns, rr) // proofs are about names beside the one asked for
			}
			continue
		}
		switch x := rr.(type) {
		case *dns.SOA:
			ttl = min(maxNegativeTTL, time.Duration(min(x.Hdr.Ttl, x.Minttl))*time.Second)
			x.Hdr.Ttl = min(x.Hdr.Ttl, x.Minttl)
			out.Ns, proved = append(out.Ns, x), true
		case *dns.NS:
			refers = true
		case *dns.NSEC, *dns.NSEC3, *dns.RRSIG:
			if t.dnssec {
				out.Ns = append(out.Ns, rr)
			}
		}
	}
	return ttl, proved || !refers
}
