package resolver

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

func TestRulesAndForwarders(t *testing.T) {
	g := newRig(t, Table{
		Names: []Name{name("own.corp.example", "10.0.1.10")},
		Rules: []Rule{
			{"corp.example", []netip.AddrPort{onPremise}},
			{"deep.corp.example", []netip.AddrPort{host2}},
		},
	})
	g.host.set(host1, answering(t, dns.RcodeSuccess, "www.example. 300 A 192.0.2.80"))
	g.rules.set(onPremise, answering(t, dns.RcodeSuccess, "mail.corp.example. 300 A 192.168.1.25", "corp.example. 300 A 192.168.1.80"))
	g.rules.set(host2, answering(t, dns.RcodeSuccess, "a.deep.corp.example. 300 A 192.168.2.1"))
	for asked, want := range map[string]string{
		"www.example.": "192.0.2.80", "mail.corp.example.": "192.168.1.25", "corp.example.": "192.168.1.80",
		"a.deep.corp.example.": "192.168.2.1", "own.corp.example.": "10.0.1.10",
	} {
		if got := addresses(g.lookup(t, asked, dns.TypeA)); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: got %v, want %s", asked, got, want)
		}
	}
	if got := g.host.questions(); !slices.Equal(got, []netip.AddrPort{host1}) {
		t.Errorf("the forwarders were asked %v", got)
	}
	g.Publish(Table{Rules: []Rule{{".", []netip.AddrPort{host2}}}})
	g.rules.questions()
	g.lookup(t, "www.example.", dns.TypeA) // remembered from the forwarder, which is not the one to ask any more
	if got := g.rules.questions(); !slices.Equal(got, []netip.AddrPort{host2}) {
		t.Errorf("after a change of rules %v were asked", got)
	}
}

func TestServersInTurn(t *testing.T) {
	for title, first := range map[string]server{
		"refused":   answering(t, dns.RcodeRefused),
		"failed":    answering(t, dns.RcodeServerFailure),
		"referred":  answering(t, dns.RcodeSuccess, "ns:example. 60 NS ns.example."),
		"nobody":    nil,
		"silent":    silent,
		"malformed": func(q *dns.Msg, _ bool) []*dns.Msg { return []*dns.Msg{{MsgHdr: dns.MsgHdr{Id: q.Id, Response: true}}} },
	} {
		t.Run(title, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t, Table{})
				if first != nil {
					g.host.set(host1, first)
				}
				g.host.set(host2, answering(t, dns.RcodeSuccess, "www.example. 300 A 192.0.2.80"))
				begin := time.Now()
				if got := addresses(g.lookup(t, "www.example.", dns.TypeA)); len(got) != 1 {
					t.Errorf("got %v", got)
				}
				if took := time.Since(begin); took > tryFor {
					t.Errorf("took %v", took)
				}
				g.host.serving.Wait()
			})
		})
	}
}

func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Table{})
		asked := func() int { return len(g.host.questions()) }
		g.host.set(host1, answering(t, dns.RcodeSuccess, "www.example. 300 A 192.0.2.80", "www.example. 100 A 192.0.2.81"))
		g.lookup(t, "www.example.", dns.TypeA)
		time.Sleep(40 * time.Second)
		m := g.lookup(t, "WWW.Example.", dns.TypeA)
		if n := asked(); n != 1 {
			t.Errorf("asked %d times, want once", n)
		}
		if got := []uint32{m.Answer[0].Header().Ttl, m.Answer[1].Header().Ttl}; !slices.Equal(got, []uint32{260, 60}) {
			t.Errorf("after 40 s records live for %v s", got)
		}
		if m.Answer[0].Header().Name != "WWW.Example." {
			t.Errorf("record of %s, want the name as it was asked for", m.Answer[0].Header().Name)
		}
		time.Sleep(60 * time.Second)
		g.lookup(t, "www.example.", dns.TypeA)
		if n := asked(); n != 1 {
			t.Errorf("asked %d times after the first record expired, want once", n)
		}

		g.host.set(host1, answering(t, dns.RcodeNameError, "ns:example. 3600 SOA ns. host. 1 2 3 4 50"))
		g.lookup(t, "gone.example.", dns.TypeA)
		asked()
		time.Sleep(49 * time.Second)
		if m := g.lookup(t, "gone.example.", dns.TypeA); asked() != 0 || m.Rcode != dns.RcodeNameError || len(m.Ns) != 1 || m.Ns[0].Header().Ttl != 1 {
			t.Errorf("a negative answer is not remembered for what its SOA record says: %v", m)
		}
		time.Sleep(time.Second)
		if g.lookup(t, "gone.example.", dns.TypeA); asked() != 1 {
			t.Error("a negative answer is remembered for longer")
		}
		g.host.set(host1, answering(t, dns.RcodeSuccess))
		for range 2 {
			if g.lookup(t, "empty.example.", dns.TypeA); asked() != 1 {
				t.Error("a negative answer without a SOA record is remembered")
			}
		}
		g.host.set(host1, answering(t, dns.RcodeNameError, "ns:example. 86400 SOA ns. host. 1 2 3 4 86400"))
		g.lookup(t, "bounded.example.", dns.TypeA)
		time.Sleep(maxNegativeTTL)
		asked()
		if g.lookup(t, "bounded.example.", dns.TypeA); asked() != 1 {
			t.Error("a negative answer outlives the bound")
		}
		g.host.set(host1, answering(t, dns.RcodeServerFailure))
		for _, want := range []int{2, 0} { // both servers
			if m := g.lookup(t, "broken.example.", dns.TypeA); m.Rcode != dns.RcodeServerFailure || asked() != want {
				t.Error("a failure is not remembered")
			}
		}
		time.Sleep(failureTTL)
		if g.lookup(t, "broken.example.", dns.TypeA); asked() != 2 {
			t.Error("a failure is remembered for longer")
		}
		g.host.set(host1, answering(t, dns.RcodeSuccess, "signed.example. 60 A 192.0.2.1",
			"signed.example. 60 RRSIG A 8 2 60 20300101000000 20200101000000 1 example. AAAA"))
		plain := g.lookup(t, "signed.example.", dns.TypeA)
		signed := g.ask(t, new(dns.Msg).SetQuestion("signed.example.", dns.TypeA).SetEdns0(1232, true))
		if len(plain.Answer) != 1 || len(signed.Answer) != 2 || !signed.IsEdns0().Do() {
			t.Errorf("signatures go to who wants them: %v, %v", plain.Answer, signed.Answer)
		}
		g.host.serving.Wait()
	})
}

func TestCacheIsBounded(t *testing.T) {
	var c cache
	c.clear()
	now := time.Now()
	big := &answer{wire: make([]byte, 10_000), expires: now.Add(time.Hour)}
	for i := range 3 * cacheEntries {
		a := &answer{wire: make([]byte, 50), expires: now.Add(time.Hour)}
		if i%2 == 0 {
			a = big
		}
		c.put(topic{name: fmt.Sprint(i % (2 * cacheEntries))}, a)
		if c.bytes > cacheBytes || c.len() > cacheEntries || c.recent.Len() != c.len() {
			t.Fatalf("%d entries of %d bytes", c.len(), c.bytes)
		}
	}
	last := topic{name: fmt.Sprint(3*cacheEntries - 1 - 2*cacheEntries)}
	if c.get(last, now) == nil {
		t.Error("the newest is gone")
	}
	if c.get(last, now.Add(2*time.Hour)) != nil || c.get(last, now) != nil {
		t.Error("what expired is still there")
	}
}

// TestOneQuestionUnderWay has many clients ask the same at one time.
func TestOneQuestionUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Table{})
		release := make(chan struct{})
		answer := answering(t, dns.RcodeSuccess, "www.example. 300 A 192.0.2.80")
		g.host.set(host1, func(q *dns.Msg, stream bool) []*dns.Msg {
			<-release
			return answer(q, stream)
		})
		var clients sync.WaitGroup
		for i := range 100 {
			clients.Go(func() {
				m := g.askFrom(t, netip.AddrFrom4([4]byte{10, 0, 2, byte(i)}), new(dns.Msg).SetQuestion("www.example.", dns.TypeA))
				if len(addresses(m)) != 1 {
					t.Errorf("client %d got %v", i, m)
				}
			})
		}
		synctest.Wait()
		if n := len(g.host.questions()); n != 1 {
			t.Errorf("%d questions are under way, want 1", n)
		}
		close(release)
		clients.Wait()
		if s := g.Stats(); s.Joined != 99 {
			t.Errorf("%d joined, want 99", s.Joined)
		}
		g.host.serving.Wait()
	})
}

// TestForgedAnswers has an attacker's datagrams come before the answer.
func TestForgedAnswers(t *testing.T) {
	forge := func(change func(*dns.Msg)) func(q *dns.Msg) *dns.Msg {
		return func(q *dns.Msg) *dns.Msg {
			m := new(dns.Msg).SetReply(q)
			m.Answer = []dns.RR{rr(t, "www.example. 300 A 6.6.6.6")}
			change(m)
			return m
		}
	}
	for title, forged := range map[string]func(q *dns.Msg) *dns.Msg{
		"id":        forge(func(m *dns.Msg) { m.Id++ }),
		"name":      forge(func(m *dns.Msg) { m.Question[0].Name = "wwx.example." }),
		"type":      forge(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA }),
		"class":     forge(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }),
		"a request": forge(func(m *dns.Msg) { m.Response = false }),
		"opcode":    forge(func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }),
		"case":      forge(func(m *dns.Msg) { m.Question[0].Name = swapCase(m.Question[0].Name) }), // asked again over TCP
		"records of another name": forge(func(m *dns.Msg) {
			m.Answer = []dns.RR{rr(t, "bank.example. 300 A 6.6.6.6"), rr(t, "www.example. 300 A 192.0.2.80")}
		}),
	} {
		t.Run(title, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t, Table{})
				true := answering(t, dns.RcodeSuccess, "www.example. 300 A 192.0.2.80")
				g.host.set(host1, func(q *dns.Msg, stream bool) []*dns.Msg {
					if stream {
						return true(q, stream)
					}
					return append([]*dns.Msg{forged(q), forged(q)}, true(q, stream)...)
				})
				if got := addresses(g.lookup(t, "www.example.", dns.TypeA)); !slices.Equal(got, []string{"192.0.2.80"}) {
					t.Errorf("got %v", got)
				}
				if g.cache.len() != 1 || g.cache.get(topic{name: "www.example.", kind: dns.TypeA}, time.Now()) == nil {
					t.Error("the cache is poisoned")
				}
				g.host.serving.Wait()
			})
		})
	}
}

func swapCase(s string) string {
	if upper := strings.ToUpper(s); upper != s {
		return upper
	}
	return strings.ToLower(s)
}

func TestManyForgeriesMakeItUseTCP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Table{})
		true := answering(t, dns.RcodeSuccess, "www.example. 300 A 192.0.2.80")
		g.host.set(host1, func(q *dns.Msg, stream bool) (list []*dns.Msg) {
			if stream {
				return true(q, stream)
			}
			for i := range 100 {
				m := new(dns.Msg).SetReply(q)
				m.Id += uint16(i + 1)
				list = append(list, m)
			}
			return list
		})
		if got := addresses(g.lookup(t, "www.example.", dns.TypeA)); !slices.Equal(got, []string{"192.0.2.80"}) {
			t.Errorf("got %v", got)
		}
		g.host.serving.Wait()
	})
}

// TestQuestionsAreHardToGuess looks at what is sent.
func TestQuestionsAreHardToGuess(t *testing.T) {
	g := newRig(t, Table{})
	ids, spellings := map[uint16]bool{}, map[string]bool{}
	for range 1000 {
		q, err := g.query(topic{name: "www.some-service.example.com.", kind: dns.TypeA}, true, 0)
		if err != nil {
			t.Fatal(err)
		}
		ids[q.id], spellings[q.name] = true, true
		if strings.ToLower(q.name) != "www.some-service.example.com." {
			t.Fatalf("asks for %s", q.name)
		}
	}
	if len(ids) < 950 || len(spellings) < 990 {
		t.Errorf("1,000 questions have %d IDs and %d spellings", len(ids), len(spellings))
	}
}

func TestCutAnswersAreFetchedOverTCP(t *testing.T) {
	g := newRig(t, Table{})
	g.host.set(host1, func(q *dns.Msg, stream bool) []*dns.Msg {
		m := new(dns.Msg).SetReply(q)
		if m.Truncated = !stream; stream {
			for i := range 100 {
				m.Answer = append(m.Answer, rr(t, fmt.Sprintf("www.example. 300 A 192.0.2.%d", i)))
			}
		}
		return []*dns.Msg{m}
	})
	if m := g.lookup(t, "www.example.", dns.TypeA); !m.Truncated || len(m.Answer) != 0 {
		t.Errorf("a client over UDP gets %v", m)
	}
	b, err := new(dns.Msg).SetQuestion("www.example.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	reply, _ := g.handle(app, b, true)
	m := new(dns.Msg)
	if err := m.Unpack(reply); err != nil || len(m.Answer) != 100 {
		t.Errorf("a client over TCP gets %d records: %v", len(m.Answer), err)
	}
}

func TestServerWithoutEDNS(t *testing.T) {
	g := newRig(t, Table{})
	plain := answering(t, dns.RcodeSuccess, "www.example. 300 A 192.0.2.80")
	g.host.set(host1, func(q *dns.Msg, stream bool) []*dns.Msg {
		if q.IsEdns0() != nil {
			return []*dns.Msg{new(dns.Msg).SetRcodeFormatError(q)}
		}
		return plain(q, stream)
	})
	// The format error has no question: the server understood none.
	if got := g.lookup(t, "www.example.", dns.TypeA); got.Rcode != dns.RcodeSuccess {
		t.Errorf("got %v", got)
	}
}

// TestDeadServers has own names answered at once while nobody else answers, and others refused fast.
func TestDeadServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, ownTable())
		g.host.set(host1, silent)
		g.host.set(host2, silent)
		atOnce := 0
		for i := range 20 {
			begin := time.Now()
			if m := g.lookup(t, fmt.Sprintf("www%d.example.", i), dns.TypeA); m.Rcode != dns.RcodeServerFailure {
				t.Fatalf("got %v", m)
			}
			took := time.Since(begin)
			if took > askFor {
				t.Errorf("question %d took %v", i, took)
			}
			if took == 0 {
				atOnce++
			}
			begin = time.Now()
			if m := g.lookup(t, regional+".", dns.TypeA); len(m.Answer) != 2 || time.Since(begin) > 0 {
				t.Errorf("own name: %v after %v", m, time.Since(begin))
			}
		}
		if want := 20 - patience - 1; atOnce < want {
			t.Errorf("%d questions of 20 failed at once, want %d: the servers are known to be dead", atOnce, want)
		}
		g.host.set(host2, answering(t, dns.RcodeSuccess, "www.example. 300 A 192.0.2.80"))
		time.Sleep(pause)
		if m := g.lookup(t, "www.example.", dns.TypeA); len(m.Answer) != 1 {
			t.Errorf("after the second server came back: %v", m)
		}
		g.host.serving.Wait()
	})
}

// TestLoops has servers ask back for what they are asked.
func TestLoops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Table{Rules: []Rule{{".", []netip.AddrPort{onPremise}}}})
		var back *dns.Msg
		g.rules.set(onPremise, func(q *dns.Msg, _ bool) []*dns.Msg {
			back = g.askFrom(t, onPremise.Addr(), new(dns.Msg).SetQuestion(q.Question[0].Name, q.Question[0].Qtype))
			m := new(dns.Msg).SetReply(q)
			m.Rcode = back.Rcode
			return []*dns.Msg{m}
		})
		begin := time.Now()
		if m := g.lookup(t, "loop.example.", dns.TypeA); m.Rcode != dns.RcodeServerFailure {
			t.Errorf("got %v", m)
		}
		if back.Rcode != dns.RcodeServerFailure || time.Since(begin) > 0 || g.Stats().Loops != 1 {
			t.Errorf("the loop ended after %v with %v, counted %d", time.Since(begin), back, g.Stats().Loops)
		}
		hops := 0
		g.rules.set(onPremise, func(q *dns.Msg, _ bool) []*dns.Msg { // another resolver like this one in between
			if hops++; hops > 2*maxHops {
				t.Fatal("there is no end to it")
			}
			q.Id = dns.Id()
			q.Question[0].Name = fmt.Sprintf("x%d.example.", hops)
			back := g.askFrom(t, app, q)
			m := new(dns.Msg).SetReply(q)
			m.Rcode = back.Rcode
			return []*dns.Msg{m}
		})
		if m := g.lookup(t, "chain.example.", dns.TypeA); m.Rcode != dns.RcodeServerFailure || hops != maxHops {
			t.Errorf("got %v after %d hops, want %d", m, hops, maxHops)
		}
		g.rules.serving.Wait()
	})
}

func TestAliases(t *testing.T) {
	g := newRig(t, Table{Names: []Name{name("own.example", "10.0.1.10")}})
	g.host.set(host1, answering(t, dns.RcodeSuccess,
		"b.example. 200 CNAME c.example.", "www.example. 300 CNAME b.example.", "c.example. 100 A 192.0.2.80", "d.example. 100 A 6.6.6.6"))
	m := g.lookup(t, "www.example.", dns.TypeA)
	if len(m.Answer) != 3 || !slices.Equal(addresses(m), []string{"192.0.2.80"}) {
		t.Errorf("a chain is answered with %v", m.Answer)
	}
	if m := g.lookup(t, "www.example.", dns.TypeCNAME); len(m.Answer) != 1 {
		t.Errorf("a question for the alias is answered with %v", m.Answer)
	}
	g.host.set(host1, answering(t, dns.RcodeSuccess,
		"alias.example. 300 CNAME next.example.", "next.example. 200 CNAME OWN.example.", "own.example. 100 A 192.0.2.80"))
	for range 2 {
		m := g.lookup(t, "alias.example.", dns.TypeA)
		if len(m.Answer) != 3 || !slices.Equal(addresses(m), []string{"10.0.1.10"}) {
			t.Errorf("a chain that leads to an own name is answered with %v", m.Answer)
		}
	}
	if m := g.lookup(t, "alias.example.", dns.TypeAAAA); len(m.Answer) != 2 || len(m.Ns) != 1 {
		t.Errorf("a chain that leads to an own name without IPv6 is answered with %v", m)
	}
	g.host.set(host1, answering(t, dns.RcodeSuccess, "l.example. 300 CNAME m.example.", "m.example. 300 CNAME l.example."))
	if m := g.lookup(t, "l.example.", dns.TypeA); len(m.Answer) > maxAliases {
		t.Errorf("a circle is answered with %d records", len(m.Answer))
	}
}

func TestFailureWords(t *testing.T) {
	for want, err := range map[failure]error{
		failCode: errCode, failAnswer: errAnswer, failUnreachable: errNowhere, failTimeout: errTimeout{},
	} {
		if got := failureOf(fmt.Errorf("ask: %w", err)); got != want {
			t.Errorf("%v: %s, want %s", err, failureWords[got], failureWords[want])
		}
	}
	if failureOf(errors.New("other")) != failUnreachable {
		t.Error("anything else is unreachable")
	}
}

type errTimeout struct{}

func (errTimeout) Error() string   { return "timeout" }
func (errTimeout) Timeout() bool   { return true }
func (errTimeout) Temporary() bool { return true }

func BenchmarkCached(b *testing.B) {
	g := newRig(b, Table{})
	g.host.set(host1, answering(b, dns.RcodeSuccess, "www.example. 86400 A 192.0.2.80"))
	g.lookup(b, "www.example.", dns.TypeA)
	m, err := new(dns.Msg).SetQuestion("www.example.", dns.TypeA).Pack()
	if err != nil {
		b.Fatal(err)
	}
	g.unlimited()
	b.ReportAllocs()
	for b.Loop() {
		if reply, _ := g.handle(app, m, false); reply == nil {
			b.Fatal("no answer")
		}
	}
}
