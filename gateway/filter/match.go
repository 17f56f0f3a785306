package filter

import (
	"encoding/binary"
	"math"
	"net/netip"

	"causeway/gateway/spec"
)

// match is the condition of a rule, in a form that is tested with few branches: address and protocol are compared under a
// mask, and the kind is in a range.
type match struct {
	network, mask          uint32
	protocol, protocolMask uint8
	// first is the least kind, and more how many follow it.
	first, more uint16
}

// newMatch is false for a rule that is not for IPv4.
func newMatch(t spec.Traffic, prefix netip.Prefix) (match, bool) {
	if !prefix.Addr().Is4() {
		return match{}, false
	}
	m := anywhere(t)
	m.mask = uint32(math.MaxUint32 << (32 - prefix.Bits()))
	m.network = number(prefix.Addr()) & m.mask
	return m, true
}

// anywhere is the condition for packets of any address.
func anywhere(t spec.Traffic) match {
	if t.Protocol == spec.AllProtocols {
		return match{more: math.MaxUint16}
	}
	m := match{protocol: uint8(t.Protocol), protocolMask: math.MaxUint8, more: math.MaxUint16}
	switch {
	case m.protocol == tcp || m.protocol == udp:
		m.first, m.more = t.FirstPort, t.LastPort-t.FirstPort
	case m.protocol == icmp && t.ICMPType != spec.Any:
		m.first, m.more = uint16(t.ICMPType)<<8, math.MaxUint8
		if t.ICMPCode != spec.Any {
			m.first, m.more = m.first|uint16(t.ICMPCode), 0
		}
	}
	return m
}

// holds reports whether a packet of the kind from or to address meets the condition.
func (m *match) holds(address uint32, protocol uint8, kind uint16) bool {
	return (address^m.network)&m.mask|uint32((protocol^m.protocol)&m.protocolMask) == 0 && kind-m.first <= m.more
}

// everything reports whether the condition holds for every IPv4 packet.
func (m *match) everything() bool {
	return m.mask == 0 && m.protocolMask == 0 && m.more == math.MaxUint16
}

// number is an IPv4 address as an integer.
func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}
