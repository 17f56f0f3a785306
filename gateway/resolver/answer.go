package resolver

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/miekg/dns"
)

// answer is what a topic is answered with, as a message ready to be adapted to each client. It is immutable.
type answer struct {
	// wire has no EDNS, and its question is in lower case.
	wire []byte
	// ttls are where the times to live are in wire.
	ttls []int
	code int
	// made is when the times to live count from, and expires when the first of them, or a bound, is reached.
	made, expires time.Time
	// aliases are the CNAMEs of an answer from elsewhere, in order.
	aliases []*dns.CNAME
}

// pack makes an answer of records that live until expires. Our own records and those from elsewhere are small enough; it
// fails for what came in and cannot be sent on.
func pack(t topic, m *dns.Msg, made, expires time.Time) (*answer, error) {
	m.Response, m.RecursionAvailable, m.Compress = true, true, true
	m.Question = []dns.Question{{Name: t.name, Qtype: t.kind, Qclass: dns.ClassINET}}
	wire, err := m.Pack()
	if err != nil {
		return nil, fmt.Errorf("pack answer: %w", err)
	}
	a := &answer{wire: wire, code: m.Rcode, made: made, expires: expires}
	if a.ttls, err = findTTLs(wire); err != nil {
		return nil, err
	}
	return a, nil
}

// findTTLs walks the records of a message that was just packed.
func findTTLs(b []byte) ([]int, error) {
	records := int(binary.BigEndian.Uint16(b[6:])) + int(binary.BigEndian.Uint16(b[8:])) + int(binary.BigEndian.Uint16(b[10:]))
	ttls := make([]int, 0, records)
	at := nameEnd(b, headerLen) + 4
	for range records {
		_, end, err := dns.UnpackDomainName(b, at)
		if err != nil || end+10 > len(b) {
			return nil, fmt.Errorf("find times to live: %w", dns.ErrBuf)
		}
		ttls = append(ttls, end+4)
		at = end + 10 + int(binary.BigEndian.Uint16(b[end+8:]))
	}
	return ttls, nil
}

// reply is the message for one client: with its ID and its spelling, what is left of the times to live, and EDNS if it
// speaks it. Where that is longer than limit it is cut down to the question, and says so.
func (a *answer) reply(q *question, now time.Time, limit int) []byte {
	b := make([]byte, len(a.wire), len(a.wire)+optLen)
	copy(b, a.wire)
	copy(b[headerLen:], q.spelt)
	elapsed := uint32(max(0, now.Sub(a.made)/time.Second))
	for _, at := range a.ttls {
		ttl := binary.BigEndian.Uint32(b[at:])
		binary.BigEndian.PutUint32(b[at:], ttl-min(ttl, elapsed))
	}
	extra := 0
	if q.edns {
		extra = optLen
	}
	cut := len(b)+extra > limit
	if cut {
		b = b[:nameEnd(b, headerLen)+4]
		clear(b[6:headerLen])
	}
	return q.finish(b, a.code, cut)
}

// optLen is the length of an OPT record without options.
const optLen = 11

// finish sets the header's fields that depend on the client, and adds EDNS (RFC 6891 section 6.1.2).
func (q *question) finish(b []byte, code int, cut bool) []byte {
	binary.BigEndian.PutUint16(b, q.id)
	b[2] = b[2]&0x04 | 0x80 | q.opcode<<3 // a response, authoritative or not
	b[3] = 0x80 | byte(code&15)
	if cut {
		b[2] |= 0x02
	}
	if q.recursive {
		b[2] |= 0x01
	}
	if q.topic.unchecked {
		b[3] |= 0x10
	}
	if !q.edns {
		return b
	}
	binary.BigEndian.PutUint16(b[10:], binary.BigEndian.Uint16(b[10:])+1)
	opt := [optLen]byte{1: 0, 2: byte(dns.TypeOPT), 3: maxDatagram >> 8, 4: maxDatagram & 0xff, 5: byte(code >> 4)}
	if q.topic.dnssec {
		opt[7] = 0x80
	}
	return append(b, opt[:]...)
}

// refusal answers a request with a code alone. The question is repeated if it could be read.
func (q *question) refusal(code int) []byte {
	b := make([]byte, headerLen, headerLen+len(q.spelt)+4+optLen)
	if q.spelt != nil {
		b[5] = 1
		b = append(b, q.spelt...)
		b = binary.BigEndian.AppendUint16(b, q.topic.kind)
		b = binary.BigEndian.AppendUint16(b, q.class)
	}
	return q.finish(b, code, false)
}
