package link

import "net/netip"

// IP protocol numbers of a [Packet].
const (
	ProtocolICMP = 1
	ProtocolTCP  = 6
	ProtocolUDP  = 17
)

// Packet is what [Config.Admit] and a [Filter] are told about a packet. The headers and checksums of an inbound one have
// been found valid.
type Packet struct {
	// Protocol is an IP protocol number; inbound, ProtocolTCP or ProtocolUDP.
	Protocol uint8
	// ICMPType and ICMPCode are those of ICMP.
	ICMPType, ICMPCode uint8
	// Source and Destination are the addresses and, of TCP and UDP, the ports of the packet.
	Source, Destination netip.AddrPort
	// Port is where the packet came in, or will go out.
	Port *Port
}

type action uint8

const (
	actionDrop action = iota
	actionReset
	actionAccept
)

// Verdict decides about a [Packet]. The zero Verdict is Drop(ReasonRefused).
type Verdict struct {
	action action
	reason Reason
}

// Accept lets the packet through to the stack.
func Accept() Verdict { return Verdict{action: actionAccept} }

// Drop discards the packet without an answer and counts it as r.
func Drop(r Reason) Verdict { return Verdict{action: actionDrop, reason: r.clamp()} }

// Reset answers a TCP SYN with RST+ACK, without the stack's taking part, and counts the packet as r. For other
// protocols it is a Drop.
func Reset(r Reason) Verdict { return Verdict{action: actionReset, reason: r.clamp()} }

// Accepted reports whether v lets the packet through.
func (v Verdict) Accepted() bool { return v.action == actionAccept }

// Resets reports whether v answers with a TCP reset.
func (v Verdict) Resets() bool { return v.action == actionReset }

// Reason is why the packet was refused; without meaning when it was accepted.
func (v Verdict) Reason() Reason { return v.reason }
