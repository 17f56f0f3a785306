package link

import "net/netip"

// IP protocol numbers of a [Packet].
const (
	ProtocolTCP = 6
	ProtocolUDP = 17
)

// Packet is what [Config.Admit] is told about an inbound packet: a TCP SYN or a UDP datagram whose headers and checksums
// have been found valid.
type Packet struct {
	// Protocol is ProtocolTCP or ProtocolUDP.
	Protocol uint8
	// Source and Destination are the addresses and ports of the packet.
	Source, Destination netip.AddrPort
	// Port is where the packet came in.
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
