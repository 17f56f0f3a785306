package resolver

import (
	"testing"
	"time"

	"github.com/miekg/dns"
)

// FuzzRequest sends anything as a request. What is answered is well-formed, is short enough, and repeats the question.
func FuzzRequest(f *testing.F) {
	for _, m := range []*dns.Msg{
		new(dns.Msg).SetQuestion(regional+".", dns.TypeA),
		new(dns.Msg).SetQuestion("a.data.example.", dns.TypeAAAA).SetEdns0(4096, true),
		new(dns.Msg).SetQuestion("www.example.", dns.TypeA),
		new(dns.Msg).SetQuestion(`a\.b\000c.example.`, dns.TypeANY),
	} {
		f.Add(packed(f, m))
	}
	g := newRig(f, ownTable())
	g.unlimited()
	aliases := answering(f, dns.RcodeSuccess, "www.example. 300 CNAME kinesis.us-east-1.example.", "b.example. 60 A 192.0.2.1")
	f.Fuzz(func(t *testing.T, b []byte) {
		reply, q := g.handle(app, b, false)
		if q != nil {
			in := aliases(&dns.Msg{Question: []dns.Question{{Name: q.topic.name, Qtype: q.topic.kind, Qclass: dns.ClassINET}}}, false)
			a, err := sift(q.topic, in[0], time.Now())
			if err != nil {
				return
			}
			reply = g.send(q, a, time.Now())
			g.failure(q.topic, time.Now())
		}
		if reply == nil {
			return
		}
		m := new(dns.Msg)
		if err := m.Unpack(reply); err != nil {
			t.Fatalf("answer % x to % x is malformed: %v", reply, b, err)
		}
		if !m.Response || len(reply) > maxDatagram || m.Truncated && len(m.Answer) > 0 {
			t.Errorf("answer %v", m)
		}
		asked := new(dns.Msg)
		if err := asked.Unpack(b); err == nil && len(asked.Question) == 1 && len(m.Question) == 1 && asked.Question[0].Name != m.Question[0].Name {
			t.Errorf("question %v is repeated as %v", asked.Question, m.Question)
		}
	})
}

// FuzzAnswer takes anything as the answer of another server: nothing about other names may get through.
func FuzzAnswer(f *testing.F) {
	t := topic{name: "www.example.", kind: dns.TypeA, dnssec: true}
	q := &query{id: 7, name: "wWw.eXample.", kind: dns.TypeA}
	ask := &dns.Msg{MsgHdr: dns.MsgHdr{Id: 7}, Question: []dns.Question{{Name: q.name, Qtype: q.kind, Qclass: dns.ClassINET}}}
	for _, s := range []server{
		answering(f, dns.RcodeSuccess, "www.example. 300 A 192.0.2.1", "bank.example. 300 A 6.6.6.6"),
		answering(f, dns.RcodeSuccess, "www.example. 300 CNAME b.example.", "b.example. 4294967295 A 192.0.2.1"),
		answering(f, dns.RcodeNameError, "ns:example. 300 SOA ns. host. 1 2 3 4 5"),
	} {
		f.Add(packed(f, s(ask, false)[0]))
	}
	f.Fuzz(func(tt *testing.T, b []byte) {
		m, err := q.judge(b)
		if err != nil {
			return
		}
		now := time.Now()
		a, err := sift(t, m, now)
		if err != nil {
			return
		}
		if a.expires.Sub(now) > maxTTL || a.expires.Before(now) {
			tt.Errorf("remembered for %v", a.expires.Sub(now))
		}
		out := unpacked(tt, a.reply(&question{topic: t, spelt: a.wire[headerLen:nameEnd(a.wire, headerLen)], edns: true}, now.Add(time.Hour), dns.MaxMsgSize))
		reachable := map[string]bool{t.name: true}
		for range out.Answer {
			for _, rr := range out.Answer {
				if c, ok := rr.(*dns.CNAME); ok && reachable[dns.CanonicalName(c.Hdr.Name)] {
					reachable[dns.CanonicalName(c.Target)] = true
				}
			}
		}
		for _, rr := range out.Answer {
			h := rr.Header()
			if !reachable[dns.CanonicalName(h.Name)] || h.Rrtype != dns.TypeA && h.Rrtype != dns.TypeCNAME && h.Rrtype != dns.TypeRRSIG {
				tt.Errorf("passes on %v", rr)
			}
			if h.Ttl > 1<<31-1 {
				tt.Errorf("passes on %v", rr)
			}
		}
	})
}
