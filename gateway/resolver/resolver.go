package resolver

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Config is what a [Resolver] needs.
type Config struct {
	// Zone is the domain that the names of endpoints are below: what is there and not in the Table does not exist, and is
	// never asked of others.
	Zone string
	// Forwarders are the servers for names without a rule; they are asked over Host. It is called for every question that
	// is asked of others, and must be cheap.
	Forwarders func() []netip.AddrPort
	// Host leads to the forwarders, Rules to the servers of rules. Each decides whom it connects to.
	Host, Rules Network
	// Random is where what makes questions hard to guess comes from; nil is the system's.
	Random io.Reader
}

// Resolver answers the questions of one VPC's clients. Its methods are safe for concurrent use.
type Resolver struct {
	cfg   Config
	zone  string
	names atomic.Pointer[names]
	// turn rotates the addresses of own names.
	turn   atomic.Uint64
	limits *limiter
	cache  cache
	health health
	stats  counters

	mu      sync.Mutex
	flights map[topic]*flight
	rules   []Rule
}

// New returns a Resolver with an empty Table. It does nothing until it serves something.
func New(cfg Config) (*Resolver, error) {
	if _, ok := dns.IsDomainName(cfg.Zone); !ok || cfg.Zone == "" {
		return nil, fmt.Errorf("zone of endpoint names %q is no domain name", cfg.Zone)
	}
	if cfg.Forwarders == nil || cfg.Host == nil || cfg.Rules == nil {
		return nil, errors.New("resolver has no way to other servers")
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	r := &Resolver{cfg: cfg, zone: dns.CanonicalName(cfg.Zone), limits: newLimiter(), flights: map[topic]*flight{}}
	r.names.Store(compile(Table{}))
	r.cache.clear()
	r.health.clear()
	return r, nil
}

// Publish puts t in force. With other rules, what was remembered is forgotten.
func (r *Resolver) Publish(t Table) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names.Store(compile(t))
	if !reflect.DeepEqual(r.rules, t.Rules) {
		r.rules = t.Rules
		r.cache.clear()
		r.health.clear()
	}
}

// handle answers a request if that is possible at once. Otherwise it returns the question, which holds on to nothing of b.
// Neither is for what is to be dropped.
func (r *Resolver) handle(from netip.Addr, b []byte, stream bool) (reply []byte, wait *question) {
	now := time.Now()
	if !r.limits.asks(from, now) {
		r.stats.dropped(dropRate)
		return nil, nil
	}
	q, code, ok := read(b)
	if !ok {
		r.stats.dropped(dropMalformed)
		return nil, nil
	}
	if stream {
		q.limit = dns.MaxMsgSize
	}
	if code != dns.RcodeSuccess {
		return r.refuse(&q, code), nil
	}
	if a := r.authoritative(q.topic, now); a != nil {
		return r.send(&q, a, now), nil
	}
	if !q.recursive { // what others have asked about before is nobody's business
		return r.refuse(&q, dns.RcodeRefused), nil
	}
	if a := r.cache.get(q.topic, now); a != nil {
		r.stats.cacheHits.Add(1)
		return r.send(&q, a, now), nil
	}
	q.spelt = append([]byte(nil), q.spelt...)
	return nil, &q
}

func (r *Resolver) refuse(q *question, code int) []byte {
	r.stats.answered(code)
	return q.refusal(code)
}

func (r *Resolver) send(q *question, a *answer, now time.Time) []byte {
	if len(a.aliases) > 0 {
		a = r.splice(a, q.topic, now)
	}
	r.stats.answered(a.code)
	return a.reply(q, now, q.limit)
}
