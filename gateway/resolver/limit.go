package resolver

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// What clients may use. The first is Route 53 Resolver's quota for a network interface.
const (
	clientRate    = 1024 // questions a second
	domainRate    = 16384
	clientWaiting = 128 // questions that wait for other servers
	domainWaiting = 2048
	clientStreams = 16 // TCP connections
	domainStreams = 256
	maxClients    = 4096 // that are remembered
	// forgetAfter is when a client without business has its whole allowance again.
	forgetAfter = 2 * time.Second
)

// limiter bounds what clients use at one time.
type limiter struct {
	mu      sync.Mutex
	all     *rate.Limiter
	clients map[netip.Addr]*client
	swept   time.Time
	waiting int
	streams int
}

type client struct {
	rate             *rate.Limiter
	used             time.Time
	waiting, streams int
}

func newLimiter() *limiter {
	return &limiter{all: rate.NewLimiter(domainRate, domainRate), clients: map[netip.Addr]*client{}}
}

// client finds or remembers one; nil when there are too many. Called with mu held.
func (l *limiter) client(a netip.Addr, now time.Time) *client {
	c := l.clients[a]
	if c != nil {
		c.used = now
		return c
	}
	if len(l.clients) >= maxClients {
		l.sweep(now)
		if len(l.clients) >= maxClients {
			return nil
		}
	}
	c = &client{rate: rate.NewLimiter(clientRate, clientRate), used: now}
	l.clients[a] = c
	return c
}

// sweep forgets clients without business, at most once a second, for it looks at all. Called with mu held.
func (l *limiter) sweep(now time.Time) {
	if now.Sub(l.swept) < time.Second {
		return
	}
	l.swept = now
	for a, c := range l.clients {
		if c.waiting == 0 && c.streams == 0 && now.Sub(c.used) > forgetAfter {
			delete(l.clients, a)
		}
	}
}

// asks reports whether a client may ask one more question now.
func (l *limiter) asks(a netip.Addr, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.client(a, now)
	return c != nil && c.rate.AllowN(now, 1) && l.all.AllowN(now, 1)
}

// waits reserves that a client's question waits; done gives it back.
func (l *limiter) waits(a netip.Addr, now time.Time) (done func(), ok bool) {
	return l.reserve(a, now, func(c *client) (*int, *int, bool) {
		return &c.waiting, &l.waiting, c.waiting < clientWaiting && l.waiting < domainWaiting
	})
}

// connects reserves a TCP connection; done gives it back.
func (l *limiter) connects(a netip.Addr, now time.Time) (done func(), ok bool) {
	return l.reserve(a, now, func(c *client) (*int, *int, bool) {
		return &c.streams, &l.streams, c.streams < clientStreams && l.streams < domainStreams
	})
}

func (l *limiter) reserve(a netip.Addr, now time.Time, of func(*client) (own, all *int, free bool)) (done func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.client(a, now)
	if c == nil {
		return nil, false
	}
	own, all, free := of(c)
	if !free {
		return nil, false
	}
	*own++
	*all++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		*own--
		*all--
	}, true
}
