package policy

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// reports is a connection to a bucket.
var reports = Request{
	Account: "acme", Source: netip.MustParseAddr("10.0.1.5"), VPC: "vpc-1", VPCName: "accounts/acme/vpcs/prod", Endpoint: "vpce-1",
	Peer: "accounts/acme/vpcs/prod/subnets/a/attachments/app", PeerKind: "attachment", Zone: "us-east-1a",
	Service: Service{Name: "accounts/operator/endpointServices/s3", Account: "operator", UID: "vpce-svc-1", Region: "us-east-1"},
	Port:    443, Time: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC),
	HelloRead: true, TLS: true, ServerName: "reports.s3.us-east-1.amazonaws.com",
}

func named(serverName string) Request {
	r := reports
	r.ServerName = serverName
	return r
}

// mustParse fails the test for a policy that is refused.
func mustParse(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := Parse(text)
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	return p
}

func statements(list ...string) string {
	return `{"Version":"2012-10-17","Statement":[` + strings.Join(list, ",") + `]}`
}

const (
	allowAll    = `{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}`
	allowBucket = `{"Sid":"bucket","Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::reports/*"}`
	denyBucket  = `{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::reports","arn:aws:s3:::reports/*"]}`
)

func TestDecide(t *testing.T) {
	nameless := named("")
	nameless.TLS = false
	for name, c := range map[string]struct {
		policy    string
		request   Request
		allowed   bool
		statement string
	}{
		"default":                    {Default, reports, true, "#1"},
		"deny wins":                  {statements(allowAll, denyBucket), reports, false, "#2"},
		"deny wins first":            {statements(denyBucket, allowAll), reports, false, "#1"},
		"the bucket":                 {statements(allowBucket), reports, true, "bucket"},
		"another bucket":             {statements(allowBucket), named("secrets.s3.us-east-1.amazonaws.com"), false, "implicit-deny"},
		"bucket below":               {statements(allowBucket), named("x.reports.s3.us-east-1.amazonaws.com"), false, "implicit-deny"},
		"bucket look-alike":          {statements(allowBucket), named("reports.s3.us-east-1.amazonaws.com.evil.example"), false, "implicit-deny"},
		"name of no region":          {statements(allowBucket), named("reports.s3.amazonaws.com"), true, "bucket"},
		"dual stack":                 {statements(allowBucket), named("reports.s3.dualstack.us-east-1.amazonaws.com"), true, "bucket"},
		"path style, one bucket":     {statements(allowBucket), named("s3.us-east-1.amazonaws.com"), false, "implicit-deny"},
		"path style, denied bucket":  {statements(allowAll, denyBucket), named("s3.us-east-1.amazonaws.com"), false, "#2"},
		"path style, every bucket":   {strings.ReplaceAll(statements(allowBucket), ":::reports", ":::*"), named("s3.us-east-1.amazonaws.com"), true, "bucket"},
		"other service":              {statements(allowBucket), named("kinesis.us-east-1.amazonaws.com"), false, "implicit-deny"},
		"no name":                    {statements(allowBucket), nameless, false, "implicit-deny"},
		"no name, deny of a name":    {statements(allowAll, denyBucket), nameless, true, "#1"},
		"stream":                     {statements(`{"Effect":"Allow","Principal":"*","Action":"kinesis:PutRecord","Resource":"arn:aws:kinesis:us-east-1:1:stream/x"}`), named("kinesis.us-east-1.amazonaws.com"), true, "#1"},
		"stream of another region":   {statements(`{"Effect":"Allow","Principal":"*","Action":"kinesis:PutRecord","Resource":"arn:aws:kinesis:us-east-1:1:stream/x"}`), named("kinesis.us-east-2.amazonaws.com"), false, "implicit-deny"},
		"action of another service":  {statements(`{"Effect":"Allow","Principal":"*","Action":"kinesis:PutRecord","Resource":"*"}`), reports, false, "implicit-deny"},
		"all but a service":          {statements(`{"Effect":"Allow","Principal":"*","NotAction":"s3:*","Resource":"*"}`), reports, false, "implicit-deny"},
		"all but a service, other":   {statements(`{"Effect":"Allow","Principal":"*","NotAction":"s3:*","Resource":"*"}`), nameless, true, "#1"},
		"only a service":             {statements(allowAll, `{"Effect":"Deny","Principal":"*","NotAction":"s3:Get*","Resource":"*"}`), reports, true, "#1"},
		"only a service, other":      {statements(allowAll, `{"Effect":"Deny","Principal":"*","NotAction":"s3:Get*","Resource":"*"}`), nameless, false, "#2"},
		"only a bucket":              {statements(allowAll, `{"Effect":"Deny","Principal":"*","Action":"*","NotResource":"arn:aws:s3:::reports/*"}`), named("s3.us-east-1.amazonaws.com"), false, "#2"},
		"account":                    {statements(`{"Effect":"Allow","Principal":{"AWS":"acme"},"Action":"vpce:Connect","Resource":"*"}`), reports, true, "#1"},
		"account of others":          {statements(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::other:root"},"Action":"vpce:Connect","Resource":"*"}`), reports, false, "implicit-deny"},
		"service and port":           {statements(`{"Effect":"Allow","Principal":"*","Action":"vpce:Connect","Resource":"arn:aws:vpce:us-east-1:operator:vpce-svc-1/443"}`), reports, true, "#1"},
		"service, any port":          {statements(`{"Effect":"Allow","Principal":"*","Action":"vpce:Connect","Resource":"arn:aws:vpce:us-*-1:*:vpce-svc-?"}`), reports, true, "#1"},
		"service, other port":        {statements(`{"Effect":"Allow","Principal":"*","Action":"vpce:Connect","Resource":"arn:aws:vpce:us-east-1:operator:vpce-svc-1/444"}`), reports, false, "implicit-deny"},
		"variable":                   {strings.ReplaceAll(statements(allowBucket), "reports", "${aws:PrincipalAccount}-*"), named("acme-data.s3.us-east-1.amazonaws.com"), true, "bucket"},
		"variable, other account":    {strings.ReplaceAll(statements(allowBucket), "reports", "${aws:PrincipalAccount}-*"), named("other-data.s3.us-east-1.amazonaws.com"), false, "implicit-deny"},
		"variable without value":     {strings.ReplaceAll(statements(allowBucket), "reports", "${aws:SourceVpc}*"), withoutVPC(), false, "implicit-deny"},
		"variable is no pattern":     {strings.ReplaceAll(statements(allowBucket), "reports", "${aws:SourceVpc}"), withVPC("*"), false, "implicit-deny"},
		"escaped wildcard":           {strings.ReplaceAll(statements(allowBucket), "reports", "report${?}"), reports, false, "implicit-deny"},
		"look-alike of a key's text": {condition1("StringEqualsIgnoreCase", "vpce:AvailabilityZone", `"u\u017f-east-1a"`), reports, false, "implicit-deny"},
		"empty policy":               {"", reports, false, "implicit-deny"},
	} {
		p := &Policy{}
		if c.policy != "" {
			p = mustParse(t, c.policy)
		}
		d := p.Decide(c.request)
		if d.Allowed != c.allowed || d.Statement != c.statement || d.NeedsHello || d.Reason == "" {
			t.Errorf("%s: decision %+v, want allowed %v by %s", name, d, c.allowed, c.statement)
		}
	}
}

func withVPC(uid string) Request {
	r := reports
	r.VPC = uid
	return r
}

func withoutVPC() Request { return withVPC("") }

// Conditions on keys that a connection has, and that it has no value for.
func TestConditions(t *testing.T) {
	bare := Request{HelloRead: true}
	for _, c := range []struct {
		operator, key, value string
		with, without        bool
	}{
		{"StringEquals", "aws:SourceVpc", `["vpc-0","vpc-1"]`, true, false},
		{"StringEquals", "aws:SourceVpc", `"VPC-1"`, false, false},
		{"StringEqualsIfExists", "aws:SourceVpc", `"vpc-0"`, false, true},
		{"StringNotEquals", "aws:SourceVpc", `["vpc-0","vpc-1"]`, false, true},
		{"StringNotEquals", "aws:SourceVpc", `"vpc-0"`, true, true},
		{"StringEqualsIgnoreCase", "aws:SourceVpc", `"VPC-1"`, true, false},
		{"StringNotEqualsIgnoreCase", "aws:SourceVpc", `"VPC-1"`, false, true},
		{"StringLike", "vpce:Peer", `"*/attachments/app"`, true, false},
		{"StringNotLike", "vpce:Peer", `"*/attachments/app"`, false, true},
		{"StringLike", "vpce:Peer", `"accounts/${aws:SourceAccount}/*"`, true, false},
		{"StringEquals", "vpce:PeerKind", `"tunnel"`, false, false},
		{"NumericEquals", "vpce:Port", `443`, true, false},
		{"NumericNotEquals", "vpce:Port", `443`, false, true},
		{"NumericLessThan", "vpce:Port", `443`, false, false},
		{"NumericLessThanEquals", "vpce:Port", `443`, true, false},
		{"NumericGreaterThan", "vpce:Port", `442.5`, true, false},
		{"NumericGreaterThanEquals", "vpce:Port", `444`, false, false},
		{"DateLessThan", "aws:CurrentTime", `"2026-06-01T12:00:01Z"`, true, false},
		{"DateEquals", "aws:CurrentTime", `"2026-06-01T14:00+02:00"`, true, false},
		{"DateGreaterThan", "aws:CurrentTime", `"2026-06-01"`, true, false},
		{"DateGreaterThanEquals", "aws:EpochTime", `1780315200`, true, false},
		{"NumericGreaterThan", "aws:EpochTime", `1780315200`, false, false},
		{"DateNotEquals", "aws:EpochTime", `1780315200`, false, true},
		{"Bool", "aws:SecureTransport", `true`, true, false},
		{"Bool", "aws:SecureTransport", `false`, false, true},
		{"IpAddress", "aws:SourceIp", `["10.1.0.0/16","10.0.1.0/24"]`, true, false},
		{"NotIpAddress", "aws:VpcSourceIp", `"10.0.1.5"`, false, true},
		{"IpAddressIfExists", "aws:SourceIp", `"10.0.1.6"`, false, true},
		{"ArnEquals", "aws:PrincipalArn", `"arn:aws:iam::acme:root"`, true, false},
		{"ArnLike", "vpce:ServiceArn", `"arn:aws:vpce:us-*:*:vpce-svc-*"`, true, false},
		{"ArnLike", "vpce:ServiceArn", `"arn:aws:*:*:vpce-svc-1:*"`, false, false},
		{"ArnNotLike", "aws:PrincipalArn", `"arn:aws:iam::*:root"`, false, true},
		{"Null", "vpce:ServerName", `true`, false, true},
		{"Null", "vpce:ServerName", `false`, true, false},
		{"ForAllValues:StringEquals", "vpce:Peer", `"x"`, false, true},
		{"ForAllValues:StringNotEquals", "vpce:Peer", `"x"`, true, true},
		{"ForAnyValue:StringEquals", "aws:SourceVpc", `"vpc-1"`, true, false},
		{"ForAnyValue:StringNotEquals", "aws:SourceVpc", `"vpc-0"`, true, false},
	} {
		p := mustParse(t, condition1(c.operator, c.key, c.value))
		if got := p.Decide(reports).Allowed; got != c.with {
			t.Errorf("%s %s %s: %v", c.operator, c.key, c.value, got)
		}
		if got := p.Decide(bare).Allowed; got != c.without {
			t.Errorf("%s %s %s without a value: %v", c.operator, c.key, c.value, got)
		}
	}
}

// A decision is put off exactly while the beginning of the connection may change it.
func TestNeedsHello(t *testing.T) {
	before := reports
	before.HelloRead, before.TLS, before.ServerName = false, false, ""
	denyHere := `{"Sid":"here","Effect":"Deny","Principal":"*","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}`
	bucketAt444 := `{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*","Condition":{"NumericEquals":{"vpce:Port":444}}}`
	for name, c := range map[string]struct {
		policy string
		want   Decision
	}{
		"default":             {Default, Decision{Allowed: true, Statement: "#1", Reason: reasonAllow}},
		"bucket":              {statements(allowBucket), Decision{NeedsHello: true, Reason: reasonPending}},
		"all but a bucket":    {statements(allowAll, denyBucket), Decision{NeedsHello: true, Reason: reasonPending}},
		"denied anyway":       {statements(allowBucket, denyHere), Decision{Statement: "here", Reason: reasonDeny}},
		"other port":          {statements(bucketAt444), Decision{Statement: "implicit-deny", Reason: reasonImplicit}},
		"allowed anyway":      {statements(allowAll, allowBucket), Decision{Allowed: true, Statement: "#1", Reason: reasonAllow}},
		"name":                {condition1("StringEquals", "vpce:ServerName", `"x"`), Decision{NeedsHello: true, Reason: reasonPending}},
		"variable":            {condition1("StringEquals", "vpce:Peer", `"${vpce:ServerName}"`), Decision{NeedsHello: true, Reason: reasonPending}},
		"variable in service": {with(`"Resource":"arn:aws:vpce:*:*:${vpce:ServerName}"`), Decision{NeedsHello: true, Reason: reasonPending}},
	} {
		if got := mustParse(t, c.policy).Decide(before); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// Patterns are compared with an automaton of package regexp's.
func TestGlob(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	draw := func(letters string, most int) string {
		b := make([]rune, random.IntN(most+1))
		for i := range b {
			b[i] = []rune(letters)[random.IntN(len([]rune(letters)))]
		}
		return string(b)
	}
	matched := 0
	patterns := 100_000
	if testing.Short() {
		patterns /= 10
	}
	for range patterns {
		pattern, text := draw("ab*?é", 8), draw("abé", 8)
		g := newGlob(pattern)
		want := reference(pattern).MatchString(text)
		if got := g.match(text); got != want {
			t.Fatalf("%q with %q: %v, want %v", pattern, text, got, want)
		}
		if want {
			matched++
		}
	}
	if matched < patterns/100 {
		t.Errorf("only %d pairs match", matched)
	}
}

func TestNameOf(t *testing.T) {
	for text, want := range map[string]string{
		"kinesis.us-east-1.amazonaws.com":                          "kinesis us-east-1 ",
		"123456789012.data-kinesis.eu-west-3.amazonaws.com":        "kinesis eu-west-3 ",
		"monitoring.us-gov-east-1.amazonaws.com":                   "cloudwatch us-gov-east-1 ",
		"sts.amazonaws.com":                                        "sts us-east-1 ",
		"a.b.s3.us-east-1.amazonaws.com":                           "s3 us-east-1 a.b",
		"s3.s3.us-east-1.amazonaws.com":                            "s3 us-east-1 s3",
		"dualstack.s3.us-east-1.amazonaws.com":                     "s3 us-east-1 dualstack",
		"s3.dualstack.us-east-1.amazonaws.com":                     "s3 us-east-1 ",
		"x1.execute-api.us-east-1.amazonaws.com":                   "execute-api us-east-1 x1",
		"execute-api.us-east-1.amazonaws.com":                      "",
		"kinesis.amazonaws.com":                                    "",
		"kinesis.us-east.amazonaws.com":                            "",
		"x.kinesis.us-east-1.amazonaws.com":                        "",
		".s3.us-east-1.amazonaws.com":                              "",
		"amazonaws.com":                                            "",
		".amazonaws.com":                                           "",
		"":                                                         "",
		"kinesis.us-east-1.amazonaws.com.":                         "",
		"kinesis.us-east-1.amazonaws.com.cn":                       "",
		"vpce-1.kinesis.us-east-1.vpce.amazonaws.com":              "",
		"123456789012.dkr.ecr.us-east-1.amazonaws.com":             "ecr us-east-1 ",
		strings.Repeat("a.", 5000) + "s3.us-east-1" + suffix:       "s3 us-east-1 " + strings.Repeat("a.", 4999) + "a",
		strings.Repeat("s3.us-east-1.", 20) + "amazonaws" + ".com": "s3 us-east-1 " + strings.TrimSuffix(strings.Repeat("s3.us-east-1.", 19), "."),
	} {
		got := ""
		if n := nameOf(text); n.service != nil {
			got = n.service.word + " " + n.region + " " + n.resource
		}
		if got != want {
			t.Errorf("%.60q: %.80q, want %.80q", text, got, want)
		}
	}
}

// worstPolicies are stars with much to try between them, as many values as fit.
func worstPolicies() map[string]string {
	fill := func(value string) string {
		count := (MaxCharacters - 300) / (len(value) + 3)
		if marks := strings.Count(value, "?"); marks > 0 {
			count = min(count, MaxQuestionMarks/marks)
		}
		return condition1("StringLike", "vpce:ServerName", `["`+strings.Join(slices.Repeat([]string{value}, count), `","`)+`"]`)
	}
	return map[string]string{
		"stars":          fill("*" + strings.Repeat("aaaaaa*", 30) + "aaaaaab*"),
		"one value":      fill(strings.Repeat("*aaaaaa", 2800) + "b"),
		"any characters": fill("*" + strings.Repeat("aaaaaa?", 17) + "aaaaab*"),
		"one of any":     fill("*aaaaaa?" + strings.Repeat("a", 110) + "b*"),
		"long parts":     fill("*" + strings.Repeat("a", 61) + "b*"),
		"many short":     fill("*aaaaaab*"),
		"variables":      fill("*${vpce:ServerName}b*"),
	}
}

// worstRequest is for a server name that the worst policies nearly match everywhere.
func worstRequest() Request {
	return named(strings.Repeat(strings.Repeat("a", 62)+".", 4)[:240] + ".x")
}

// TestWorstCase would not end in a human's life if stars were tried again and again.
func TestWorstCase(t *testing.T) {
	for name, text := range worstPolicies() {
		if d := mustParse(t, text).Decide(worstRequest()); d.Allowed {
			t.Errorf("%s: allowed by %s", name, d.Statement)
		}
	}
}

// BenchmarkWorstCase is to stay below a millisecond for each.
func BenchmarkWorstCase(b *testing.B) {
	for name, text := range worstPolicies() {
		p := mustParse(b, text)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				p.Decide(worstRequest())
			}
		})
	}
}

func BenchmarkDecide(b *testing.B) {
	p := mustParse(b, statements(allowBucket, denyBucket, allowAll))
	for b.Loop() {
		p.Decide(reports)
	}
}
