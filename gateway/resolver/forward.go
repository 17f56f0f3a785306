package resolver

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// maxFlights bounds the topics that other servers are asked about at one time.
const maxFlights = 512

// flight is a topic under way to other servers. Whoever asks the same waits for it.
type flight struct {
	done   chan struct{}
	answer *answer // set when done is closed
	// asking is the address of the server that is asked at the moment.
	asking atomic.Pointer[netip.Addr]
}

// resolve answers a question by asking other servers; the answer may be remembered from before.
func (r *Resolver) resolve(ctx context.Context, client netip.Addr, q *question) *answer {
	now := time.Now()
	if a := r.cache.get(q.topic, now); a != nil {
		r.stats.cacheHits.Add(1)
		return a
	}
	if q.hops >= maxHops {
		r.stats.loops.Add(1)
		return r.failure(q.topic, now)
	}
	r.mu.Lock()
	f := r.flights[q.topic]
	leads := f == nil
	if leads && len(r.flights) < maxFlights {
		f = &flight{done: make(chan struct{})}
		r.flights[q.topic] = f
	}
	r.mu.Unlock()
	switch {
	case f == nil:
		return nil
	case leads:
		r.lead(ctx, f, q.topic, q.hops)
		return f.answer
	}
	if a := f.asking.Load(); a != nil && *a == client {
		// The server that is to answer asks for it: it would wait for itself.
		r.stats.loops.Add(1)
		return r.failure(q.topic, now)
	}
	r.stats.joined.Add(1)
	select {
	case <-f.done:
		return f.answer
	case <-ctx.Done():
		return r.failure(q.topic, now)
	}
}

// lead asks on behalf of all who wait for a flight.
func (r *Resolver) lead(ctx context.Context, f *flight, t topic, hops byte) {
	names := r.names.Load()
	f.answer = r.askAll(ctx, f, names, t, hops)
	if now := time.Now(); now.Before(f.answer.expires) && ctx.Err() == nil && names == r.names.Load() {
		r.cache.put(t, f.answer)
	}
	r.mu.Lock()
	delete(r.flights, t)
	r.mu.Unlock()
	close(f.done)
}

// askAll asks server after server until one answers.
func (r *Resolver) askAll(ctx context.Context, f *flight, names *names, t topic, hops byte) *answer {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	network := r.cfg.Rules
	servers, ruled := names.servers(t.name)
	if ruled {
		hops++
	} else {
		network, servers, hops = r.cfg.Host, r.cfg.Forwarders(), 0
	}
	for _, to := range servers {
		if ctx.Err() != nil {
			break
		}
		if !r.health.mayAsk(to, time.Now()) {
			continue
		}
		a := to.Addr()
		f.asking.Store(&a)
		var answer *answer
		m, err := r.exchange(ctx, network, to, t, hops)
		if err == nil {
			answer, err = sift(t, m, time.Now())
		}
		r.health.report(to, err)
		if err == nil {
			return answer
		}
		r.stats.failed(err)
	}
	return r.failure(t, time.Now())
}

// splice replaces the end of a chain of aliases that leads to an own name by what the domain itself says of that.
func (r *Resolver) splice(a *answer, t topic, now time.Time) *answer {
	names := r.names.Load()
	for i, c := range a.aliases {
		found, zone := names.own(dns.CanonicalName(c.Target))
		if found == nil {
			continue
		}
		m := &dns.Msg{}
		for _, c := range a.aliases[:i+1] {
			left := *c
			left.Hdr.Ttl -= min(left.Hdr.Ttl, uint32(now.Sub(a.made)/time.Second))
			m.Answer = append(m.Answer, &left)
		}
		switch t.kind {
		case dns.TypeA:
			m.Answer = append(m.Answer, r.records(found, c.Target)...)
		case dns.TypeCNAME:
			return a
		default:
			m.Ns = []dns.RR{authority(zone)}
		}
		if spliced, err := pack(t, m, now, now); err == nil {
			return spliced
		}
	}
	return a
}
