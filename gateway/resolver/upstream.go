package resolver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Network is a way to other name servers. Its methods are called concurrently.
type Network interface {
	// DialPacket opens a socket of its own, from a port that cannot be guessed, that only datagrams from the server reach.
	DialPacket(to netip.AddrPort) (net.Conn, error)
	// DialStream connects over TCP. It returns soon after ctx ends.
	DialStream(ctx context.Context, to netip.AddrPort) (net.Conn, error)
}

const (
	// tryFor is how long one server may take, and askFor all of them together: a client's own patience is 5 seconds.
	tryFor = 1500 * time.Millisecond
	askFor = 4 * time.Second
	// maxMessage and maxRecords bound an answer over TCP, before memory is spent on it.
	maxMessage = 16 << 10
	maxRecords = 512
	// maxForgeries is how many datagrams that do not fit may come before the server is asked over TCP instead.
	maxForgeries = 16
)

// What an exchange with a server may meet, for the counters.
var (
	errMismatch = errors.New("answer does not fit the question")
	errAnswer   = errors.New("answer is malformed")
	errCode     = errors.New("server failed")
	// errStream tells to ask over TCP: the answer is cut, or datagrams cannot be trusted.
	errStream = errors.New("answer needs TCP")
)

// exchange asks one server. The answer is one to the question; whether its records are is not checked yet.
func (r *Resolver) exchange(ctx context.Context, network Network, to netip.AddrPort, t topic, hops byte) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	for _, edns := range []bool{true, false} {
		ask, err := r.query(t, edns, hops)
		if err != nil {
			return nil, err
		}
		m, err := ask.packet(ctx, network, to)
		if errors.Is(err, errStream) {
			m, err = ask.stream(ctx, network, to)
		}
		switch {
		case err != nil:
			return nil, fmt.Errorf("ask %v: %w", to, err)
		case edns && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented): // RFC 6891 section 6.2.2
			continue
		case m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError:
			return nil, fmt.Errorf("ask %v: %w: %s", to, errCode, dns.RcodeToString[m.Rcode])
		}
		return m, nil
	}
	return nil, fmt.Errorf("ask %v: %w", to, errCode)
}

// query is a question to another server.
type query struct {
	id   uint16
	name string // in random case
	kind uint16
	wire []byte
}

// query makes a question that an answer is hard to forge for without having seen it: besides the port, 16 bits of ID and
// one bit for each letter of the name.
func (r *Resolver) query(t topic, edns bool, hops byte) (*query, error) {
	var random [34]byte
	if _, err := io.ReadFull(r.cfg.Random, random[:]); err != nil {
		return nil, fmt.Errorf("draw random numbers: %w", err)
	}
	q := &query{id: binary.BigEndian.Uint16(random[:]), name: mixCase(t.name, random[2:]), kind: t.kind}
	m := &dns.Msg{
		MsgHdr:   dns.MsgHdr{Id: q.id, RecursionDesired: true, CheckingDisabled: t.unchecked},
		Question: []dns.Question{{Name: q.name, Qtype: q.kind, Qclass: dns.ClassINET}},
	}
	if edns {
		m.SetEdns0(maxDatagram, t.dnssec)
		if hops > 0 {
			m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_LOCAL{Code: hopOption, Data: []byte{hops}}}
		}
	}
	var err error
	if q.wire, err = m.Pack(); err != nil {
		return nil, fmt.Errorf("pack question: %w", err)
	}
	return q, nil
}

// mixCase puts the letters of a name into upper or lower case by random bits, used again after 256 letters at most.
func mixCase(name string, random []byte) string {
	b := []byte(name)
	for i, c := range b {
		if 'a' <= c && c <= 'z' && random[i/8%len(random)]>>(i%8)&1 != 0 {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// packet asks over UDP. Datagrams that do not fit the question are ignored: they may be forged, and the answer still come.
func (q *query) packet(ctx context.Context, network Network, to netip.AddrPort) (*dns.Msg, error) {
	c, err := network.DialPacket(to)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer within(ctx, c)()
	if _, err := c.Write(q.wire); err != nil {
		return nil, err
	}
	buf := make([]byte, maxDatagram+1)
	for range maxForgeries {
		n, err := c.Read(buf)
		if err != nil {
			return nil, err
		}
		m, err := q.judge(buf[:n])
		switch {
		case errors.Is(err, errMismatch):
			continue
		case err != nil:
			return nil, err
		case m.Question[0].Name != q.name || m.Truncated: // it does not keep the case, or somebody guesses
			return nil, errStream
		}
		return m, nil
	}
	return nil, errStream
}

// stream asks over TCP.
func (q *query) stream(ctx context.Context, network Network, to netip.AddrPort) (*dns.Msg, error) {
	c, err := network.DialStream(ctx, to)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer within(ctx, c)()
	if _, err := c.Write(frame(q.wire)); err != nil {
		return nil, err
	}
	b, err := readFrame(c, maxMessage)
	if err != nil {
		return nil, err
	}
	m, err := q.judge(b)
	if err == nil && m.Truncated {
		err = errAnswer
	}
	return m, err
}

// within ends what waits on a connection when ctx ends. The function it returns releases it.
func within(ctx context.Context, c net.Conn) func() bool {
	return context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
}

// judge reads an answer. The error is errMismatch for what is none to this question, and errAnswer for what cannot be used.
// Its question may be in another case.
func (q *query) judge(b []byte) (*dns.Msg, error) {
	if len(b) < headerLen || binary.BigEndian.Uint16(b) != q.id || b[2]&0x80 == 0 || b[2]>>3&15 != dns.OpcodeQuery {
		return nil, errMismatch
	}
	if questions := binary.BigEndian.Uint16(b[4:]); questions == 0 && b[3]&15 == dns.RcodeFormatError {
		return q.misunderstood(), nil
	} else if questions != 1 {
		return nil, errMismatch
	}
	records := 0
	for at := 6; at < headerLen; at += 2 {
		records += int(binary.BigEndian.Uint16(b[at:]))
	}
	if records > maxRecords {
		return nil, errAnswer
	}
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil && !m.Truncated || len(m.Question) != 1 {
		return nil, errAnswer
	}
	x := m.Question[0]
	if !strings.EqualFold(x.Name, q.name) || x.Qtype != q.kind || x.Qclass != dns.ClassINET {
		return nil, errMismatch
	}
	return m, nil
}

// misunderstood is the answer of a server that could not even read the question, most likely for EDNS (RFC 6891 section 7).
func (q *query) misunderstood() *dns.Msg {
	return &dns.Msg{
		MsgHdr:   dns.MsgHdr{Id: q.id, Response: true, Rcode: dns.RcodeFormatError},
		Question: []dns.Question{{Name: q.name, Qtype: q.kind, Qclass: dns.ClassINET}},
	}
}

// frame puts a message's length before it (RFC 1035 section 4.2.2).
func frame(b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(b)), uint16(len(b))), b...)
}

// readFrame reads a message of at most limit bytes.
func readFrame(from io.Reader, limit int) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(from, size[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n > limit {
		return nil, errAnswer
	}
	b := make([]byte, n)
	_, err := io.ReadFull(from, b)
	return b, err
}
