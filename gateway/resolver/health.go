package resolver

import (
	"errors"
	"net/netip"
	"sync"
	"time"
)

const (
	// patience is how many exchanges in a row may fail before a server is taken for dead, and pause how long it is then
	// left alone between two more: a question need not wait for who does not answer anybody. It is longer than a question takes.
	patience = 4
	pause    = 5 * time.Second
)

// health remembers which servers do not answer.
type health struct {
	mu      sync.Mutex
	servers map[netip.AddrPort]*serverHealth
}

type serverHealth struct {
	failures int
	again    time.Time
}

// mayAsk reports whether a question may wait for a server. Of a dead one only one a pause does.
func (h *health) mayAsk(s netip.AddrPort, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	x := h.servers[s]
	if x == nil || x.failures < patience {
		return true
	}
	if now.Before(x.again) {
		return false
	}
	x.again = now.Add(pause)
	return true
}

// report takes the outcome of an exchange. A server that answers is alive, whatever it says.
func (h *health) report(s netip.AddrPort, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err == nil, errors.Is(err, errCode), errors.Is(err, errAnswer):
		delete(h.servers, s)
	case h.servers[s] == nil:
		h.servers[s] = &serverHealth{failures: 1}
	default:
		h.servers[s].failures++
	}
}

// clear forgets all servers: the table names others now.
func (h *health) clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.servers = map[netip.AddrPort]*serverHealth{}
}
