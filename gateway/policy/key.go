package policy

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// kind is what the values of a condition key are.
type kind uint8

const (
	kindString kind = iota
	kindID          // a string that the system has made
	kindARN
	kindNumber
	kindDate
	kindEpoch // a date in seconds since 1970, or a number
	kindBool
	kindAddress
)

// textual tells whether values are text, which variables may stand for.
func (k kind) textual() bool { return k == kindString || k == kindID || k == kindARN }

// value is one of the connection's for a key; which field counts, the kind says. ok is false when it has none.
type value struct {
	ok      bool
	text    string
	number  float64
	time    time.Time
	address netip.Addr
	flag    bool
}

// key is a condition key. Names are the same in any case.
type key struct {
	name string
	kind kind
	// late tells that the value is known with the beginning of the consumer's bytes only.
	late  bool
	value func(*Request) value
}

// keys are all that conditions may ask for, by name in lower case.
var keys map[string]*key

func init() {
	list := []key{
		{name: "aws:SourceIp", kind: kindAddress, value: source},
		{name: "aws:VpcSourceIp", kind: kindAddress, value: source},
		{name: "aws:SourceVpc", kind: kindID, value: text(func(r *Request) string { return r.VPC })},
		{name: "aws:SourceVpce", kind: kindID, value: text(func(r *Request) string { return r.Endpoint })},
		{name: "aws:SourceAccount", kind: kindID, value: text(func(r *Request) string { return r.Account })},
		{name: "aws:PrincipalAccount", kind: kindID, value: text(func(r *Request) string { return r.Account })},
		{name: "aws:PrincipalArn", kind: kindARN, value: principalARN},
		{name: "aws:ResourceAccount", kind: kindID, value: text(func(r *Request) string { return r.Service.Account })},
		{name: "aws:CurrentTime", kind: kindDate, value: now},
		{name: "aws:EpochTime", kind: kindEpoch, value: now},
		{name: "aws:SecureTransport", kind: kindBool, late: true, value: func(r *Request) value { return value{ok: true, flag: r.TLS} }},
		{name: "vpce:Peer", kind: kindString, value: text(func(r *Request) string { return r.Peer })},
		{name: "vpce:PeerKind", kind: kindString, value: text(func(r *Request) string { return r.PeerKind })},
		{name: "vpce:Vpc", kind: kindString, value: text(func(r *Request) string { return r.VPCName })},
		{name: "vpce:AvailabilityZone", kind: kindString, value: text(func(r *Request) string { return r.Zone })},
		{name: "vpce:Service", kind: kindString, value: text(func(r *Request) string { return r.Service.Name })},
		{name: "vpce:ServiceArn", kind: kindARN, value: text(func(r *Request) string { return r.Service.arn() })},
		{name: "vpce:Port", kind: kindNumber, value: func(r *Request) value { return value{ok: r.Port != 0, number: float64(r.Port)} }},
		{name: "vpce:ServerName", kind: kindString, late: true, value: text(func(r *Request) string { return r.ServerName })},
	}
	keys = map[string]*key{}
	for i := range list {
		keys[strings.ToLower(list[i].name)] = &list[i]
	}
}

func text(of func(*Request) string) func(*Request) value {
	return func(r *Request) value {
		text := of(r)
		return value{ok: text != "", text: text}
	}
}

func source(r *Request) value { return value{ok: r.Source.IsValid(), address: r.Source.Unmap()} }

func principalARN(r *Request) value {
	if r.Account == "" {
		return value{}
	}
	return value{ok: true, text: "arn:aws:iam::" + r.Account + ":root"}
}

func now(r *Request) value {
	return value{ok: !r.Time.IsZero(), time: r.Time, number: float64(r.Time.Unix())}
}

// keyNames lists the keys of some kinds, for messages.
func keyNames(of func(kind) bool) string {
	var names []string
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if of(keys[k].kind) {
			names = append(names, keys[k].name)
		}
	}
	return strings.Join(names, ", ")
}
