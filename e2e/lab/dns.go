package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// dnsTTL is how long answers of a lab's DNS server may be kept, in seconds: not for the patience of a test.
const dnsTTL = 1

// DNS is a DNS server that stands for the public one: it is authoritative for everything and knows what it has
// been told. It is written with another library than the gateway's resolver. Safe for concurrent use.
type DNS struct {
	udp     net.PacketConn
	tcp     net.Listener
	serving sync.WaitGroup

	mu      sync.Mutex
	records map[string][]dnsmessage.ResourceBody // by lower-case name with a final dot
	asked   map[string]int                       // questions by name, of whatever type
	conns   map[net.Conn]struct{}
}

// DNS starts a DNS server in the host, on UDP and TCP. It ends with the lab.
func (h *Host) DNS(listen netip.AddrPort) *DNS {
	h.lab.report.Helper()
	d := &DNS{records: make(map[string][]dnsmessage.ResourceBody), asked: make(map[string]int), conns: make(map[net.Conn]struct{})}
	var err error
	if d.udp, err = h.ListenPacket(h.lab.ctx, "udp4", listen.String()); err != nil {
		h.lab.report.Fatalf("start DNS server: %v", err)
	}
	if d.tcp, err = h.Listen(h.lab.ctx, "tcp4", listen.String()); err != nil {
		_ = d.udp.Close()
		h.lab.report.Fatalf("start DNS server: %v", err)
	}
	h.lab.report.Cleanup(d.close)
	d.serving.Go(d.serveUDP)
	d.serving.Go(d.serveTCP)
	return d
}

// SetA replaces the records of a name by addresses; none removes the name.
func (d *DNS) SetA(name string, addresses ...netip.Addr) {
	bodies := make([]dnsmessage.ResourceBody, len(addresses))
	for n, address := range addresses {
		bodies[n] = &dnsmessage.AResource{A: address.As4()}
	}
	d.set(name, bodies)
}

// SetTXT replaces the records of a name by one TXT record per text; none removes the name.
func (d *DNS) SetTXT(name string, texts ...string) {
	bodies := make([]dnsmessage.ResourceBody, len(texts))
	for n, text := range texts {
		bodies[n] = &dnsmessage.TXTResource{TXT: []string{text}}
	}
	d.set(name, bodies)
}

func (d *DNS) set(name string, bodies []dnsmessage.ResourceBody) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(bodies) == 0 {
		delete(d.records, key(name))
		return
	}
	d.records[key(name)] = bodies
}

// Asked returns how many questions for a name, of whatever type, have come.
func (d *DNS) Asked(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked[key(name)]
}

// key is a name as records are kept by it.
func key(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) + "." }

// lookup returns the bodies of a type, and whether there are records of the name at all.
func (d *DNS) lookup(question dnsmessage.Question) (found []dnsmessage.ResourceBody, exists bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := key(question.Name.String())
	d.asked[name]++
	bodies, exists := d.records[name]
	for _, body := range bodies {
		_, isA := body.(*dnsmessage.AResource)
		_, isTXT := body.(*dnsmessage.TXTResource)
		if isA && question.Type == dnsmessage.TypeA || isTXT && question.Type == dnsmessage.TypeTXT {
			found = append(found, body)
		}
	}
	return found, exists
}

// answer gives the answer to a message, or nothing to what is no question. limit bounds its bytes; what is longer
// says so instead.
func (d *DNS) answer(message []byte, limit int) []byte {
	var parser dnsmessage.Parser
	header, err := parser.Start(message)
	if err != nil || header.Response {
		return nil
	}
	question, err := parser.Question()
	if err != nil {
		return nil
	}
	reply := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: header.ID, Response: true, Authoritative: true, RecursionDesired: header.RecursionDesired, RecursionAvailable: true},
		Questions: []dnsmessage.Question{question},
	}
	bodies, exists := d.lookup(question)
	for _, body := range bodies {
		reply.Answers = append(reply.Answers, resource(question.Name, body))
	}
	if len(bodies) == 0 {
		root := dnsmessage.MustNewName(".")
		reply.Authorities = []dnsmessage.Resource{resource(root, &dnsmessage.SOAResource{NS: root, MBox: root, MinTTL: dnsTTL})}
	}
	if !exists {
		reply.RCode = dnsmessage.RCodeNameError
	}
	packed, err := reply.Pack()
	if err == nil && len(packed) > limit {
		reply.Truncated, reply.Answers = true, nil
		packed, err = reply.Pack()
	}
	if err != nil {
		return nil
	}
	return packed
}

func resource(name dnsmessage.Name, body dnsmessage.ResourceBody) dnsmessage.Resource {
	return dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: dnsTTL}, Body: body}
}

func (d *DNS) serveUDP() {
	buf := make([]byte, 1<<12)
	for {
		n, from, err := d.udp.ReadFrom(buf)
		if err != nil {
			return
		}
		// RFC 1035 section 4.2.1; the server knows no EDNS.
		const limit = 512
		if reply := d.answer(buf[:n], limit); reply != nil {
			_, _ = d.udp.WriteTo(reply, from)
		}
	}
}

func (d *DNS) serveTCP() {
	for {
		c, err := d.tcp.Accept()
		if err != nil {
			return
		}
		d.mu.Lock()
		d.conns[c] = struct{}{}
		d.mu.Unlock()
		d.serving.Go(func() {
			d.serveConn(c)
			_ = c.Close()
			d.mu.Lock()
			delete(d.conns, c)
			d.mu.Unlock()
		})
	}
}

// serveConn answers the messages of one connection, each after its length (RFC 1035 section 4.2.2).
func (d *DNS) serveConn(c net.Conn) {
	for {
		var length [2]byte
		if _, err := io.ReadFull(c, length[:]); err != nil {
			return
		}
		message := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(c, message); err != nil {
			return
		}
		const limit = 1<<16 - 1
		reply := d.answer(message, limit)
		if reply == nil {
			return
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
			return
		}
	}
}

func (d *DNS) close() {
	_, _ = d.udp.Close(), d.tcp.Close()
	d.mu.Lock()
	for c := range d.conns {
		_ = c.Close()
	}
	d.mu.Unlock()
	d.serving.Wait()
}

// Dig asks the DNS server that the host's programs know, or the one at server if it is valid, for the addresses
// of a name with dig, and returns them as they came. A name without any gives none and no error; no answer, or
// another code than NOERROR and NXDOMAIN, is an error. options are dig's, such as +tcp.
func (h *Host) Dig(ctx context.Context, server netip.Addr, name string, options ...string) ([]netip.Addr, error) {
	args := append([]string{"+time=2", "+tries=2", "+noall", "+comments", "+answer"}, options...)
	if server.IsValid() {
		args = append(args, "@"+server.String())
	}
	out, err := h.Output(ctx, "dig", append(args, name, "A")...)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(out, "status: NOERROR") && !strings.Contains(out, "status: NXDOMAIN") {
		return nil, fmt.Errorf("dig %s on %q: %w:\n%s", name, h.Name, errNoAnswer, strings.TrimSpace(out))
	}
	var addresses []netip.Addr
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if strings.HasPrefix(line, ";") || len(fields) < 5 || fields[3] != "A" {
			continue
		}
		address, err := netip.ParseAddr(fields[4])
		if err != nil {
			return nil, fmt.Errorf("read dig's output: %w", err)
		}
		addresses = append(addresses, address)
	}
	return addresses, nil
}

var errNoAnswer = errors.New("the server did not answer the question")
