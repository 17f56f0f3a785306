package filter

import "net/netip"

// IP protocol numbers whose packets have ports or types that rules look at.
const (
	icmp = 1
	tcp  = 6
	udp  = 17
)

// Packet is what rules look at of an IPv4 packet.
type Packet struct {
	// Protocol is the IP protocol number.
	Protocol uint8
	// Source and Destination are IPv4 addresses; no rule matches others.
	Source, Destination netip.Addr
	// Port is the destination port of TCP and UDP. Rules do not look at source ports.
	Port uint16
	// ICMPType and ICMPCode are those of ICMP.
	ICMPType, ICMPCode uint8
}

// kind puts what a rule looks at behind the protocol into one number: the port, or the ICMP type above its code. It is
// zero for protocols that have neither.
func (p *Packet) kind() uint16 {
	switch p.Protocol {
	case tcp, udp:
		return p.Port
	case icmp:
		return uint16(p.ICMPType)<<8 | uint16(p.ICMPCode)
	}
	return 0
}
