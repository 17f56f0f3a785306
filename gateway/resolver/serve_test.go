package resolver

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

func packed(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unpacked(t testing.TB, b []byte) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestServePacket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, ownTable())
		g.host.set(host1, silent)
		g.host.set(host2, silent)
		ctx, cancel := context.WithCancel(t.Context())
		p, done := newPackets(), make(chan error, 1)
		go func() { done <- g.ServePacket(ctx, p) }()
		client := net.UDPAddrFromAddrPort(netip.AddrPortFrom(app, 4000))
		p.in <- datagram{client, packed(t, new(dns.Msg).SetQuestion("slow.example.", dns.TypeA))}
		p.in <- datagram{client, []byte("rubbish")}
		p.in <- datagram{client, packed(t, new(dns.Msg).SetQuestion(regional+".", dns.TypeA))}
		first := <-p.out
		if m := unpacked(t, first.data); len(m.Answer) != 2 || first.peer != net.Addr(client) {
			t.Errorf("the own name waits for the other: %v", m)
		}
		if m := unpacked(t, (<-p.out).data); m.Rcode != dns.RcodeServerFailure {
			t.Errorf("got %v", m)
		}
		p.in <- datagram{client, packed(t, new(dns.Msg).SetQuestion("slow2.example.", dns.TypeA))}
		synctest.Wait()
		cancel() // while one waits
		if err := <-done; err != nil {
			t.Error(err)
		}
		g.host.serving.Wait()
	})
}

func TestServeStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, ownTable())
		release := make(chan struct{})
		later := answering(t, dns.RcodeSuccess, "slow.example. 300 A 192.0.2.80")
		g.host.set(host1, func(q *dns.Msg, stream bool) []*dns.Msg {
			<-release
			return later(q, stream)
		})
		ctx, cancel := context.WithCancel(t.Context())
		l, done := newListener(), make(chan error, 1)
		go func() { done <- g.ServeStream(ctx, l) }()

		c := l.connect(app)
		write := func(m *dns.Msg) {
			if _, err := c.Write(frame(packed(t, m))); err != nil {
				t.Fatal(err)
			}
		}
		read := func() *dns.Msg {
			b, err := readFrame(c, dns.MaxMsgSize)
			if err != nil {
				t.Fatal(err)
			}
			return unpacked(t, b)
		}
		write(new(dns.Msg).SetQuestion("slow.example.", dns.TypeA))
		write(new(dns.Msg).SetQuestion(regional+".", dns.TypeA))
		if m := read(); len(m.Answer) != 2 {
			t.Errorf("the own name waits for the other: %v", m)
		}
		close(release)
		if m := read(); len(addresses(m)) != 1 {
			t.Errorf("got %v", m)
		}

		begin := time.Now()
		if !ended(c) || time.Since(begin) != idleFor {
			t.Errorf("an idle connection lives for %v, want %v", time.Since(begin), idleFor)
		}
		slow := l.connect(app)
		begin = time.Now()
		for range 4 { // a byte every 3 s
			time.Sleep(3 * time.Second)
			if _, err := slow.Write([]byte{0}); err != nil {
				break
			}
		}
		if took := time.Since(begin); took > idleFor+3*time.Second || !ended(slow) {
			t.Errorf("a connection that sends byte by byte lives for %v", took)
		}
		var open []net.Conn
		for range clientStreams {
			open = append(open, l.connect(app))
		}
		synctest.Wait()
		if over := l.connect(app); !ended(over) {
			t.Error("a client may open more connections than the bound")
		}
		other := l.connect(netip.MustParseAddr("10.0.1.5"))
		if _, err := other.Write(frame(bytes.Repeat([]byte{255}, 30))); err != nil || !ended(other) {
			t.Errorf("a connection with rubbish goes on: %v", err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for _, c := range open {
			if !ended(c) {
				t.Error("a connection outlives the listener")
			}
		}
		g.host.serving.Wait()
	})
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, ownTable())
		g.host.set(host1, silent)
		g.host.set(host2, silent)
		answered := 0
		m := packed(t, new(dns.Msg).SetQuestion(regional+".", dns.TypeA))
		for range 2 * clientRate {
			if reply, _ := g.handle(app, m, false); reply != nil {
				answered++
			}
		}
		if answered != clientRate {
			t.Errorf("%d questions of a burst are answered, want %d", answered, clientRate)
		}
		if reply, _ := g.handle(netip.MustParseAddr("10.0.1.5"), m, false); reply == nil {
			t.Error("another client suffers")
		}
		if s := g.Stats(); s.Drops["rate_limit"] != clientRate {
			t.Errorf("%d drops are counted", s.Drops["rate_limit"])
		}
		time.Sleep(time.Second)
		codes := map[int]int{}
		var mu sync.Mutex
		var waiting sync.WaitGroup
		for i := range clientWaiting + 10 {
			_, q := g.handle(app, packed(t, new(dns.Msg).SetQuestion(fmt.Sprintf("w%d.example.", i), dns.TypeA)), false)
			g.wait(t.Context(), &waiting, app, q, func(b []byte) {
				mu.Lock()
				defer mu.Unlock()
				codes[unpacked(t, b).Rcode]++
			})
		}
		waiting.Wait()
		if codes[dns.RcodeRefused] != 10 || codes[dns.RcodeServerFailure] != clientWaiting {
			t.Errorf("answers by code: %v", codes)
		}
		for i := range 2 * maxClients { // sources within a site's prefix
			g.limits.asks(netip.AddrFrom4([4]byte{192, 168, byte(i >> 8), byte(i)}), time.Now())
		}
		if n := len(g.limits.clients); n > maxClients {
			t.Errorf("%d clients are remembered", n)
		}
		time.Sleep(2 * forgetAfter)
		if !g.limits.asks(netip.MustParseAddr("10.0.9.9"), time.Now()) {
			t.Error("a new client is shut out for good")
		}
		g.host.serving.Wait()
	})
}
