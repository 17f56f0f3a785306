package endpoint

import "net/netip"

// FlowKey identifies a consumer's connection when a target is chosen.
type FlowKey struct {
	Consumer netip.AddrPort
	Exposure netip.AddrPort
	// ID is the flow's number, unique in the engine's life.
	ID uint64
}

// Peer is who a consumer's packets are authenticated as.
type Peer struct {
	// Name is the resource name of the attachment or tunnel.
	Name string
	// KeyFingerprint is that of its public key.
	KeyFingerprint string
	// Tunnel tells a site from an attachment.
	Tunnel bool
}

// Target is a destination picked for a flow.
type Target struct {
	Addr netip.AddrPort
	// Group is the target group's name; the engine only keeps it.
	Group string
}

// Targets chooses the target of a flow and learns how the dial went.
// Implementations are safe for concurrent use and do not block.
type Targets interface {
	// Pick returns a target for f that is not in tried, or an error when
	// none is left. It does not keep tried.
	Pick(f FlowKey, tried []netip.AddrPort) (Target, error)
	// Report tells the outcome of a dial; err is nil when it succeeded.
	Report(t Target, err error)
}

// Guard has the last word on an address, at the moment it is dialled: an error
// denies it.
type Guard func(netip.Addr) error
