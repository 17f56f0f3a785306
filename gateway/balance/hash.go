package balance

import (
	"encoding/binary"
	"net/netip"
)

// hash folds a flow's six fields into 64 bits. It need not resist attackers: whoever chooses a connection's addresses
// gains nothing from choosing its target, and the nonce is not theirs.
func (f Flow) hash() uint64 {
	h := mix(uint64(f.Protocol)<<32 | uint64(f.Nonce))
	h = foldAddr(h, f.Source)
	return foldAddr(h, f.Destination)
}

// sourceHash folds the consumer's address alone: all its connections have the same.
func (f Flow) sourceHash() uint64 { return foldAddr(0, netip.AddrPortFrom(f.Source.Addr(), 0)) }

// seedOf is a target's own constant of the highest-random-weight choice.
func seedOf(target netip.AddrPort) uint64 { return foldAddr(0x9e3779b97f4a7c15, target) }

func foldAddr(h uint64, a netip.AddrPort) uint64 {
	b := a.Addr().As16()
	h = mix(h ^ binary.BigEndian.Uint64(b[:8]))
	h = mix(h ^ binary.BigEndian.Uint64(b[8:]))
	return mix(h ^ uint64(a.Port()))
}

// mix is the finalizer of SplitMix64 (Steele, Lea and Flood, 2014): every input bit changes half of the output bits.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb
	return x ^ (x >> 31)
}
