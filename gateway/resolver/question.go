package resolver

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

const (
	headerLen = 12
	// maxQuestion bounds a request: one question takes 271 bytes at most, and EDNS options have the rest.
	maxQuestion = 1232
	// maxDatagram is the largest answer over UDP: with it no packet of 1280 bytes is ever fragmented (DNS flag day 2020).
	maxDatagram = 1232
	// classicDatagram is what a client without EDNS takes (RFC 1035 section 4.2.1).
	classicDatagram = 512
	// hopOption is an EDNS option of the range for local use (RFC 6891 section 9) in which resolvers count how often a
	// question was forwarded, and maxHops how often it may be.
	hopOption = 65312
	maxHops   = 4
)

// question is a well-formed request.
type question struct {
	id     uint16
	opcode byte
	class  uint16
	topic  topic
	// spelt is the name on the wire as the client wrote it: with its length bytes and its case.
	spelt []byte
	// recursive is set if the client wants other servers to be asked.
	recursive bool
	// edns is set if the client speaks it; limit is the largest datagram it takes.
	edns  bool
	limit int
	hops  byte
}

// topic is what a question is about: equal topics have equal answers.
type topic struct {
	name string // lower-case, with final dot
	kind uint16 // the type asked for
	// dnssec asks for signatures, unchecked for data that failed validation elsewhere (RFC 4035 section 3.2).
	dnssec, unchecked bool
}

// read takes a request apart. The code is what it is answered with, NOERROR if it is in order. False drops it without
// an answer: it is not a request at all. What q holds when the code is another is enough to answer. Nothing is allocated
// before the header is found to be that of one question.
func read(b []byte) (q question, code int, ok bool) {
	if len(b) < headerLen || len(b) > maxQuestion || b[2]&0x80 != 0 {
		return q, 0, false
	}
	q.id, q.limit = binary.BigEndian.Uint16(b), classicDatagram
	q.recursive, q.topic.unchecked = b[2]&1 != 0, b[3]&0x10 != 0
	if q.opcode = b[2] >> 3 & 15; q.opcode != dns.OpcodeQuery {
		return q, dns.RcodeNotImplemented, true
	}
	count := func(at int) uint16 { return binary.BigEndian.Uint16(b[at:]) }
	if count(4) != 1 || count(6) != 0 || count(8) != 0 || count(10) > 2 {
		return q, dns.RcodeFormatError, true
	}
	end := nameEnd(b, headerLen)
	if end < 0 || end+4 > len(b) {
		return q, dns.RcodeFormatError, true
	}
	name, _, err := dns.UnpackDomainName(b, headerLen)
	if err != nil {
		return q, dns.RcodeFormatError, true
	}
	q.spelt = b[headerLen:end]
	q.topic.name, q.topic.kind = dns.CanonicalName(name), binary.BigEndian.Uint16(b[end:])
	q.class = binary.BigEndian.Uint16(b[end+2:])
	if code := q.additional(b, end+4, int(count(10))); code != dns.RcodeSuccess {
		return q, code, true
	}
	return q, q.serviced(), true
}

// nameEnd is where the name that begins at an offset ends, or -1. There is nothing before a question that it could point to.
func nameEnd(b []byte, at int) int {
	const longest = 255 // RFC 1035 section 2.3.4
	for begin := at; at < len(b) && at-begin < longest; {
		n := int(b[at])
		at++
		switch {
		case n == 0:
			return at
		case n > 63:
			return -1
		}
		at += n
	}
	return -1
}

// additional reads what follows the question: EDNS, or a signature that nobody here could check.
func (q *question) additional(b []byte, at, records int) (code int) {
	for range records {
		rr, next, err := dns.UnpackRR(b, at)
		if err != nil || next <= at {
			return dns.RcodeFormatError
		}
		at = next
		opt, ok := rr.(*dns.OPT)
		if !ok {
			continue
		}
		if q.edns { // RFC 6891 section 6.1.1: only one
			return dns.RcodeFormatError
		}
		q.edns, q.limit, q.topic.dnssec = true, min(max(int(opt.UDPSize()), classicDatagram), maxDatagram), opt.Do()
		if opt.Version() != 0 {
			return dns.RcodeBadVers
		}
		for _, option := range opt.Option {
			if o, ok := option.(*dns.EDNS0_LOCAL); ok && o.Code == hopOption && len(o.Data) == 1 {
				q.hops = o.Data[0]
			}
		}
	}
	if at != len(b) {
		return dns.RcodeFormatError
	}
	return dns.RcodeSuccess
}

// serviced tells of the classes and types that are not served at all: CHAOS and others, and types that are no data, such as
// transfers of zones (RFC 6895 section 3.1).
func (q *question) serviced() (code int) {
	switch kind := q.topic.kind; {
	case q.class != dns.ClassINET:
		return dns.RcodeRefused
	case kind == dns.TypeNone || kind == dns.TypeOPT:
		return dns.RcodeFormatError
	case kind >= 128 && kind <= 255 && kind != dns.TypeANY:
		return dns.RcodeRefused
	}
	return dns.RcodeSuccess
}
