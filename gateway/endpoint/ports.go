package endpoint

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
)

// ErrPortsExhausted tells that a connection could not be made because every
// local port of every source address is in use towards the target.
var ErrPortsExhausted = errors.New("all source ports towards the target are in use")

// SourcePorts counts the connections between source addresses and targets, of
// which each pair can have one per local port. The zero value is usable; its
// methods are safe for concurrent use.
type SourcePorts struct {
	mu   sync.Mutex
	used map[sourceTarget]int
}

type sourceTarget struct {
	source netip.Addr
	target netip.AddrPort
}

// Used returns how many connections there are from source to target.
func (p *SourcePorts) Used(source netip.Addr, target netip.AddrPort) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used[sourceTarget{source, target}]
}

// take counts a connection, if there are fewer than limit.
func (p *SourcePorts) take(pair sourceTarget, limit int) *portUse {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used[pair] >= limit {
		return nil
	}
	if p.used == nil {
		p.used = make(map[sourceTarget]int)
	}
	p.used[pair]++
	return &portUse{ports: p, pair: pair}
}

// portUse is a connection that is counted.
type portUse struct {
	ports    *SourcePorts
	pair     sourceTarget
	released atomic.Bool
}

// release ends it. The receiver may be nil, and calling it again does nothing.
func (u *portUse) release() {
	if u == nil || u.released.Swap(true) {
		return
	}
	p := u.ports
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used[u.pair]--; p.used[u.pair] == 0 {
		delete(p.used, u.pair)
	}
}
