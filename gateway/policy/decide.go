package policy

import (
	"net/netip"
	"strconv"
	"time"
)

// Request is a connection that wants to be. Empty fields are unknown; conditions on them are met as IAM has it for
// keys that are not in the request.
type Request struct {
	// Account is the ID of the consumer's account.
	Account string
	// Source is the consumer's address.
	Source netip.Addr
	// VPC is the uid of the consumer's VPC, VPCName its resource name.
	VPC, VPCName string
	// Endpoint is the uid of the endpoint.
	Endpoint string
	// Peer is the resource name of the consumer's attachment or tunnel, PeerKind "attachment" or "tunnel".
	Peer, PeerKind string
	// Zone is the availability zone of the network interface.
	Zone string
	// Service is what the endpoint leads to, and Port the port of it.
	Service Service
	Port    uint16
	Time    time.Time
	// HelloRead tells that the beginning of the consumer's bytes has been read. TLS tells that it is a TLS
	// ClientHello, and ServerName the name in it, in lower case.
	HelloRead  bool
	TLS        bool
	ServerName string
}

// Service is an endpoint service.
type Service struct {
	// Name is the resource name, Account the ID of the provider's account.
	Name, Account string
	UID, Region   string
}

func (s *Service) arn() string {
	if s.UID == "" {
		return ""
	}
	return "arn:aws:vpce:" + s.Region + ":" + s.Account + ":" + s.UID
}

func (r *Request) portText() string { return strconv.Itoa(int(r.Port)) }

// Decision is what a policy says of a connection.
type Decision struct {
	Allowed bool
	// Statement is what decided: a Sid, "#" and the number of a statement without one, from 1, or ImplicitDeny.
	Statement string
	// Reason says it in words.
	Reason string
	// NeedsHello tells that there is no decision yet: it depends on the beginning of the consumer's bytes, which
	// the request did not have. Allowed is false then.
	NeedsHello bool
}

// What decisions give as their reason.
const (
	reasonAllow    = "allowed by a statement"
	reasonDeny     = "explicitly denied by a statement"
	reasonImplicit = "no statement allows it"
	reasonPending  = "it depends on the server name"
)

// Decide tells whether the policy lets a connection through: if a statement allows it and none denies it. Of several
// statements that do, the first in the text is named. It takes less than a millisecond for any policy and request.
func (p *Policy) Decide(r Request) Decision {
	to := name{pending: true}
	if r.HelloRead {
		to = nameOf(r.ServerName)
	}
	allowed, denied := -1, -1
	allow, deny := no, no
	for i := range p.statements {
		s := &p.statements[i]
		met := s.match(&r, to)
		if s.allow && met > allow {
			allow, allowed = met, i
		}
		if !s.allow && met > deny {
			deny, denied = met, i
		}
	}
	switch {
	case deny == yes:
		return Decision{Statement: p.statements[denied].id, Reason: reasonDeny}
	case allow == no:
		return Decision{Statement: ImplicitDeny, Reason: reasonImplicit}
	case deny == maybe || allow == maybe:
		return Decision{NeedsHello: true, Reason: reasonPending}
	}
	return Decision{Allowed: true, Statement: p.statements[allowed].id, Reason: reasonAllow}
}

// match tells whether all parts of the statement are met.
func (s *statement) match(r *Request, to name) truth {
	if !s.principals.match(r.Account) {
		return no
	}
	met := s.actions.match(to, s.allow)
	if met != no {
		met = min(met, s.resources.match(r, to, s.allow))
	}
	for i := range s.conditions {
		if met == no {
			break
		}
		met = min(met, s.conditions[i].match(r))
	}
	return met
}
