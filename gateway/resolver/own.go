package resolver

import (
	"net"
	"time"

	"github.com/miekg/dns"
)

// Times to live of own records, in seconds. 60 is what AWS has for names of endpoints and load balancers.
const (
	ownTTL = 60
	// negativeTTL is how long others may remember that something is not there: shorter, for it may be published.
	negativeTTL = 30
)

// authoritative answers what needs no other server: own names, what is below the zone of endpoint names, and ANY. Nil is
// for questions that others have to answer.
func (r *Resolver) authoritative(t topic, now time.Time) *answer {
	n := r.names.Load()
	found, zone := n.own(t.name)
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Authoritative: true}}
	switch {
	case found == nil && dns.IsSubDomain(r.zone, t.name):
		if zone = r.zone; t.name != zone && !n.parents[t.name] {
			m.Rcode = dns.RcodeNameError
		}
	case found == nil && t.kind != dns.TypeANY:
		return nil
	}
	switch {
	case m.Rcode == dns.RcodeSuccess && t.kind == dns.TypeANY: // RFC 8482 section 4.2
		m.Authoritative = zone != ""
		m.Answer = []dns.RR{&dns.HINFO{Hdr: header(t.name, dns.TypeHINFO, ownTTL), Cpu: "RFC8482"}}
	case found != nil && t.kind == dns.TypeA:
		m.Answer = r.records(found, t.name)
	case t.kind == dns.TypeSOA && t.name == zone:
		m.Answer = []dns.RR{authority(zone)}
	default:
		m.Ns = []dns.RR{authority(zone)}
	}
	a, err := pack(t, m, now, now)
	if err != nil {
		// Own names are valid, so only one that has more addresses than a message holds comes here.
		return r.failure(t, now)
	}
	return a
}

// records are the addresses of an own name.
func (r *Resolver) records(n *Name, name string) []dns.RR {
	addrs := n.addresses(r.turn.Add(1))
	list := make([]dns.RR, 0, len(addrs))
	for _, a := range addrs {
		list = append(list, &dns.A{Hdr: header(name, dns.TypeA, ownTTL), A: net.IP(a.AsSlice())})
	}
	return list
}

// authority is the SOA record of a zone of our own, which RFC 2308 asks for in negative answers.
func authority(zone string) *dns.SOA {
	return &dns.SOA{
		Hdr: header(zone, dns.TypeSOA, negativeTTL), Ns: zone, Mbox: ".", Serial: 1,
		Refresh: 7200, Retry: 900, Expire: 1209600, Minttl: negativeTTL,
	}
}

func header(name string, kind uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
}

// failure is SERVFAIL. It is remembered for as long as RFC 9520 section 3.2 asks for at least, and a little more.
func (r *Resolver) failure(t topic, now time.Time) *answer {
	a, err := pack(t, &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeServerFailure}}, now, now.Add(failureTTL))
	if err != nil {
		// Every name that was read from a message can be written; if one cannot, a header says enough.
		return &answer{wire: make([]byte, headerLen), code: dns.RcodeServerFailure, made: now, expires: now}
	}
	return a
}
