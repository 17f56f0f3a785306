package link

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync/atomic"
)

// routeTable finds the ports of a destination by longest prefix. It is immutable but for each route's active port.
type routeTable struct {
	// byPrefix is keyed by prefix length and network address; bits lists the lengths in use, longest first. A domain has
	// mostly host routes and a few site prefixes, so a lookup is a handful of map reads.
	byPrefix map[uint64]*route
	bits     []uint8
}

type route struct {
	ports []*Port
	// last is the port from which the prefix last sent. It is shared with the table that this one replaced, so that a
	// packet under way through the old table is not forgotten; hence the check in active.
	last *atomic.Pointer[Port]
}

// active returns the port that traffic to the route leaves by.
func (r *route) active() *Port {
	last := r.last.Load()
	if last != nil && slices.Contains(r.ports, last) {
		return last
	}
	return r.ports[0]
}

// sentBy notes that the prefix sent through p.
func (r *route) sentBy(p *Port) {
	if len(r.ports) > 1 && r.last.Load() != p && slices.Contains(r.ports, p) {
		r.last.Store(p)
	}
}

func newRouteTable(routes []Route, old *routeTable) *routeTable {
	t := &routeTable{byPrefix: make(map[uint64]*route, len(routes))}
	for _, r := range routes {
		key, ok := addressKey(r.Prefix.Addr())
		if !ok || !r.Prefix.IsValid() || len(r.Ports) == 0 {
			continue
		}
		bits := uint8(r.Prefix.Bits())
		prefix := prefixKey(key, bits)
		if have := t.byPrefix[prefix]; have != nil {
			for _, p := range r.Ports {
				if !slices.Contains(have.ports, p) {
					have.ports = append(have.ports, p)
				}
			}
			continue
		}
		entry := &route{ports: slices.Clone(r.Ports), last: new(atomic.Pointer[Port])}
		if old != nil && old.byPrefix[prefix] != nil {
			entry.last = old.byPrefix[prefix].last
		}
		t.byPrefix[prefix] = entry
		if !slices.Contains(t.bits, bits) {
			t.bits = append(t.bits, bits)
		}
	}
	slices.Sort(t.bits)
	slices.Reverse(t.bits)
	return t
}

func (t *routeTable) lookup(addr uint32) *route {
	for _, bits := range t.bits {
		if r := t.byPrefix[prefixKey(addr, bits)]; r != nil {
			return r
		}
	}
	return nil
}

func prefixKey(addr uint32, bits uint8) uint64 {
	mask := uint32(^uint64(0) << (32 - bits))
	return uint64(bits)<<32 | uint64(addr&mask)
}

func addressKey(a netip.Addr) (uint32, bool) {
	if !a.Is4() {
		return 0, false
	}
	b := a.As4()
	return binary.BigEndian.Uint32(b[:]), true
}
