package flowlog

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"causeway/gateway/spec"
)

// line is what a line tells of.
type line struct {
	*spec.FlowRecord
	version int
	// status is OK, or SKIPDATA where records were lost: then the record has but the time of that.
	status string
}

func (l *line) skipped() bool { return l.status != "OK" }

// field is a column. What appends nothing is shown as "-".
type field struct {
	// version is the one that AWS introduced the field with; zero for those it does not have.
	version int
	append  func([]byte, *line) []byte
}

// fields are all that a format may name. Those of AWS mean what AWS says
// (https://docs.aws.amazon.com/vpc/latest/userguide/flow-log-records.html), seen from the network interface.
var fields = map[string]field{
	"version":      {2, func(b []byte, l *line) []byte { return strconv.AppendInt(b, int64(l.version), 10) }},
	"account-id":   {2, func(b []byte, l *line) []byte { return appendText(b, accountOf(l.Domain)) }},
	"interface-id": {2, func(b []byte, l *line) []byte { return appendText(b, l.Interface) }},
	"srcaddr":      {2, func(b []byte, l *line) []byte { return appendAddr(b, l.Consumer) }},
	"dstaddr":      {2, func(b []byte, l *line) []byte { return appendAddr(b, l.Exposure) }},
	"srcport":      {2, func(b []byte, l *line) []byte { return appendPort(b, l.Consumer) }},
	"dstport":      {2, func(b []byte, l *line) []byte { return appendPort(b, l.Exposure) }},
	"protocol":     {2, unless(func(l *line) uint64 { return uint64(l.Protocol) })},
	// Packets end in a TCP stack on either side; there is no number of them for a connection.
	"packets":    {2, func(b []byte, _ *line) []byte { return b }},
	"bytes":      {2, unless(func(l *line) uint64 { return l.IngressBytes + l.EgressBytes })},
	"start":      {2, func(b []byte, l *line) []byte { return appendTime(b, l.Start) }},
	"end":        {2, func(b []byte, l *line) []byte { return appendTime(b, l.End) }},
	"action":     {2, appendAction},
	"log-status": {2, func(b []byte, l *line) []byte { return append(b, l.status...) }},
	"vpc-id":     {3, func(b []byte, l *line) []byte { return appendText(b, l.Domain) }},
	"az-id":      {4, func(b []byte, l *line) []byte { return appendText(b, l.Zone) }},

	"flow-id":          {0, unless(func(l *line) uint64 { return l.ID })},
	"peer":             {0, func(b []byte, l *line) []byte { return appendText(b, l.Peer) }},
	"peering":          {0, func(b []byte, l *line) []byte { return appendText(b, l.Via) }},
	"endpoint":         {0, func(b []byte, l *line) []byte { return appendText(b, l.Endpoint) }},
	"endpoint-id":      {0, func(b []byte, l *line) []byte { return appendText(b, l.EndpointUID) }},
	"service":          {0, func(b []byte, l *line) []byte { return appendText(b, l.Service) }},
	"policy-decision":  {0, appendDecision},
	"policy-statement": {0, func(b []byte, l *line) []byte { return appendText(b, l.Statement) }},
	"server-name":      {0, func(b []byte, l *line) []byte { return appendText(b, l.ServerName) }},
	"targetaddr":       {0, func(b []byte, l *line) []byte { return appendAddr(b, l.Target) }},
	"targetport":       {0, func(b []byte, l *line) []byte { return appendPort(b, l.Target) }},
	"target-group":     {0, func(b []byte, l *line) []byte { return appendText(b, l.TargetGroup) }},
	"ingress-bytes":    {0, unless(func(l *line) uint64 { return l.IngressBytes })},
	"egress-bytes":     {0, unless(func(l *line) uint64 { return l.EgressBytes })},
	"end-reason":       {0, func(b []byte, l *line) []byte { return appendText(b, l.Reason) }},
}

// unless makes a field of a number, which a line about lost records does not have.
func unless(number func(*line) uint64) func([]byte, *line) []byte {
	return func(b []byte, l *line) []byte {
		if l.skipped() {
			return b
		}
		return strconv.AppendUint(b, number(l), 10)
	}
}

func appendAction(b []byte, l *line) []byte {
	switch {
	case l.skipped():
		return b
	case l.Accepted():
		return append(b, "ACCEPT"...)
	}
	return append(b, "REJECT"...)
}

// appendDecision tells what the endpoint policy said, and whether that counted.
func appendDecision(b []byte, l *line) []byte {
	switch {
	case l.Statement == "":
		return b
	case l.Denied && l.DryRun:
		return append(b, "DENY_DRY_RUN"...)
	case l.Denied:
		return append(b, "DENY"...)
	}
	return append(b, "ALLOW"...)
}

func appendAddr(b []byte, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return b
	}
	return a.Addr().Unmap().AppendTo(b)
}

func appendPort(b []byte, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return b
	}
	return strconv.AppendUint(b, uint64(a.Port()), 10)
}

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	return strconv.AppendInt(b, t.Unix(), 10)
}

// appendText keeps a field one word: a consumer chooses its server name, and must not write lines with it.
func appendText(b []byte, text string) []byte {
	for _, c := range []byte(text) {
		if c <= ' ' || c >= 0x7f {
			c = '?'
		}
		b = append(b, c)
	}
	return b
}

// accountOf is the ID of the account in a resource name.
func accountOf(name string) string {
	rest, _ := strings.CutPrefix(name, "accounts/")
	account, _, _ := strings.Cut(rest, "/")
	return account
}
