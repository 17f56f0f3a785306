package filter

import (
	"math/rand/v2"
	"net/netip"
	"slices"

	"causeway/gateway/spec"
)

// The naive evaluator says what rules mean as plainly as possible, from the spec as it was given.

func naiveTraffic(t spec.Traffic, p Packet) bool {
	if t.Protocol == spec.AllProtocols {
		return true
	}
	if t.Protocol != int(p.Protocol) {
		return false
	}
	switch p.Protocol {
	case 6, 17:
		return p.Port >= t.FirstPort && p.Port <= t.LastPort
	case 1:
		if t.ICMPType == spec.Any {
			return true
		}
		if t.ICMPType != int(p.ICMPType) {
			return false
		}
		return t.ICMPCode == spec.Any || t.ICMPCode == int(p.ICMPCode)
	}
	return true
}

// naiveACL looks at all rules that match and takes the one with the lowest number.
func naiveACL(rules []spec.ACLRule, p Packet, remote netip.Addr) Decision {
	lowest := Decision{}
	for _, r := range rules {
		if (lowest.Number == 0 || r.Number < lowest.Number) && r.Prefix.Contains(remote) && naiveTraffic(r.Traffic, p) {
			lowest = Decision{Allow: r.Allow, Number: r.Number}
		}
	}
	return lowest
}

func naiveGroup(g spec.SecurityGroup, p Packet, memberOf []string) bool {
	for _, r := range g.Ingress {
		if !naiveTraffic(r.Traffic, p) {
			continue
		}
		if r.Group == "" {
			if r.Prefix.Contains(p.Source) {
				return true
			}
			continue
		}
		if slices.Contains(memberOf, r.Group) {
			return true
		}
	}
	return false
}

// What is drawn at random comes from few addresses, ports and prefixes, so that everything overlaps with everything.

var (
	protocols = []int{spec.AllProtocols, 6, 6, 17, 1, 47, 0, 255}
	ports     = []uint16{0, 1, 22, 80, 443, 1023, 1024, 32768, 65534, 65535}
	types     = []int{spec.Any, 0, 3, 8, 255}
	lengths   = []int{0, 0, 1, 8, 16, 24, 30, 31, 32}
	groups    = []string{"g1", "g2", "g3"}
)

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

func randomAddr(r *rand.Rand) netip.Addr {
	if r.IntN(8) == 0 {
		return netip.AddrFrom4([4]byte{byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256))})
	}
	return netip.AddrFrom4([4]byte{10, 0, byte(r.IntN(2)), byte(r.IntN(4))})
}

func randomPrefix(r *rand.Rand) netip.Prefix {
	if r.IntN(16) == 0 {
		return netip.MustParsePrefix([]string{"::/0", "::ffff:10.0.0.0/112", "fd00::/8"}[r.IntN(3)]).Masked()
	}
	p, _ := randomAddr(r).Prefix(pick(r, lengths))
	return p
}

func randomTraffic(r *rand.Rand) spec.Traffic {
	t := spec.Traffic{Protocol: pick(r, protocols)}
	switch t.Protocol {
	case 6, 17:
		t.FirstPort, t.LastPort = pick(r, ports), pick(r, ports)
		if t.FirstPort > t.LastPort {
			t.FirstPort, t.LastPort = t.LastPort, t.FirstPort
		}
	case 1:
		t.ICMPType, t.ICMPCode = pick(r, types), pick(r, types)
		if t.ICMPType == spec.Any {
			t.ICMPCode = spec.Any
		}
	}
	return t
}

func randomRules(r *rand.Rand) []spec.ACLRule {
	var rules []spec.ACLRule
	number := 0
	for range r.IntN(41) {
		number += 1 + r.IntN(800) // at most 32,040 after 40 rules
		rules = append(rules, spec.ACLRule{Number: number, Allow: r.IntN(2) == 0, Prefix: randomPrefix(r), Traffic: randomTraffic(r)})
	}
	return rules
}

func randomGroup(r *rand.Rand) spec.SecurityGroup {
	g := spec.SecurityGroup{Name: "g"}
	for range r.IntN(8) {
		rule := spec.GroupRule{Traffic: randomTraffic(r)}
		if r.IntN(2) == 0 {
			rule.Group = pick(r, groups)
		} else {
			rule.Prefix = randomPrefix(r)
		}
		g.Ingress = append(g.Ingress, rule)
	}
	return g
}

func randomPacket(r *rand.Rand) Packet {
	p := Packet{Protocol: uint8(pick(r, protocols[1:])), Source: randomAddr(r), Destination: randomAddr(r)}
	switch p.Protocol {
	case 6, 17:
		p.Port = pick(r, ports) + uint16(r.IntN(3)) - 1
		if r.IntN(4) == 0 {
			p.Port = uint16(r.IntN(65536))
		}
	case 1:
		p.ICMPType, p.ICMPCode = uint8(pick(r, types)), uint8(pick(r, types))
	}
	return p
}
