package spec

import (
	"net/netip"
	"time"
)

// FlowRecord tells of a connection that ended, was refused, or lives.
type FlowRecord struct {
	// ID is unique in the life of a gateway process, and grows.
	ID uint64
	// Protocol is the IP protocol number: 6 for TCP.
	Protocol uint8
	// Domain is the consumer's VPC or Direct Connect gateway.
	Domain   string
	Consumer netip.AddrPort
	Exposure netip.AddrPort
	// Peer is the resource name of the consumer's attachment or tunnel.
	Peer string
	// Endpoint is the resource name of the endpoint, Interface the UID of its network interface, Zone the
	// interface's, and Via the peering it was reached over.
	Endpoint    string
	EndpointUID string
	Interface   string
	Zone        string
	Via         string
	// Service is the resource name of the endpoint service. It is empty if the connection was refused for
	// reasons of the consumer's side and never concerned the service.
	Service string
	// Statement identifies what in the endpoint policy decided, empty without a policy: the Sid, or "#" and
	// the statement's number from 1, or "implicit-deny". DryRun tells that a denial was not enforced.
	Statement string
	Denied    bool
	DryRun    bool
	// ServerName is that of the consumer's TLS ClientHello where it was read.
	ServerName string
	// Target is zero, and TargetGroup empty, until a target is connected.
	Target      netip.AddrPort
	TargetGroup string
	// IngressBytes went from consumer to target, EgressBytes back.
	IngressBytes, EgressBytes uint64
	Start                     time.Time
	// End is zero while the connection lives. Reason is why it ended.
	End    time.Time
	Reason string
}

// Accepted reports whether the connection got as far as a target.
func (r *FlowRecord) Accepted() bool { return r.Target.IsValid() }

// Question asks what would become of a connection.
type Question struct {
	// Domain is the consumer's VPC.
	Domain string
	// Source is the consumer's address. Its port only matters for the way back through network ACLs; 0 stands for
	// any that clients choose by themselves.
	Source netip.AddrPort
	// Destination is the address and the port that it connects to. Without an address, Name is resolved first.
	Destination netip.AddrPort
	// Name is a domain name, as the domain's resolver is asked for it.
	Name string
	// ServerName is that of the TLS ClientHello, empty for none.
	ServerName string
}

// Verdict is the outcome of one check.
type Verdict string

// The verdicts.
const (
	Pass Verdict = "pass"
	// Deny ends the connection; later checks are not made.
	Deny Verdict = "deny"
	// Skip is a check that does not apply, or tells something that decides nothing.
	Skip Verdict = "skip"
)

// Check is one check of a connection, in the order in which live packets meet them.
type Check struct {
	// Name is stable, such as "network_acl_in".
	Name    string
	Verdict Verdict
	// Reason is the stable reason of the drop counters and flow records when the check denies.
	Reason string
	// Detail says in words what decided: a rule, a statement, a state.
	Detail string
	// Object is the resource that decided, if there is one. It tells who may see the detail.
	Object string
}

// Explanation is every check of a connection up to the one that denies.
type Explanation struct {
	Allowed bool
	// Destination is where the connection would go; invalid if a name has no address.
	Destination netip.AddrPort
	Checks      []Check
}
