package policy

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// generator draws policies and requests from so few words that they often meet.
type generator struct{ *rand.Rand }

func (g generator) one(list ...string) string { return list[g.IntN(len(list))] }

func (g generator) chance(percent int) bool { return g.IntN(100) < percent }

// some gives one text, or an array of a few.
func (g generator) some(of func() string) any {
	if g.chance(50) {
		return of()
	}
	list := make([]any, 1+g.IntN(3))
	for i := range list {
		list[i] = of()
	}
	return list
}

var (
	someAccounts = []string{"acme", "other", "operator"}
	someNames    = []string{
		"", "reports.s3.us-east-1.amazonaws.com", "acme-data.s3.us-east-2.amazonaws.com", "s3.us-east-1.amazonaws.com", "reports.s3.amazonaws.com",
		"kinesis.us-east-1.amazonaws.com", "1.data-kinesis.us-east-2.amazonaws.com", "x1.execute-api.us-east-1.amazonaws.com", "db.example.com",
	}
)

func (g generator) principal() any {
	if g.chance(60) {
		return "*"
	}
	return map[string]any{"AWS": g.some(func() string {
		return g.one("*", "acme", "other", "arn:aws:iam::acme:root", "arn:aws:iam::operator:root", "123456789012")
	})}
}

func (g generator) action() string {
	return g.one("*", "*", "vpce:Connect", "VPCE:con*", "vpce:*", "s3:*", "s3:Get*", "s3:*Object?", "kinesis:*", "kinesis:PutRecord", "execute-api:*", "execute-api:Invoke")
}

func (g generator) resource() string {
	return g.one("*", "*", "arn:aws:vpce:us-east-1:operator:vpce-svc-1/443", "arn:aws:vpce:*:*:vpce-svc-*", "arn:aws:vpce:us-*:operator:vpce-svc-?/*",
		"arn:aws:vpce:us-east-1:${aws:SourceAccount}:vpce-svc-1", "arn:aws:s3:::reports/*", "arn:aws:s3:::reports", "arn:aws:s3:::*", "arn:aws:s3:::rep*s/private/*",
		"arn:aws:s3:::${aws:PrincipalAccount}-data/*", "arn:aws:s3:::*-${vpce:PeerKind}", "arn:aws:kinesis:us-east-1:*:*", "arn:aws:kinesis:*:123456789012:stream/x",
		"arn:aws:execute-api:us-east-1:*:x1/*", "arn:aws:execute-api:*:*:x?", "arn:aws:execute-api:*:*:x1/prod/GET/pets")
}

func (g generator) condition() (operator, key string, values any) {
	switch g.IntN(7) {
	case 0:
		operator = g.one("StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase")
		key = g.one("aws:SourceVpc", "AWS:sourcevpce", "aws:PrincipalAccount", "aws:ResourceAccount", "vpce:PeerKind", "vpce:AvailabilityZone", "vpce:ServerName", "vpce:Service")
		values = g.some(func() string {
			return g.one("vpc-1", "VPC-1", "vpce-1", "acme", "${aws:SourceAccount}", "${aws:SourceVpc}", "tunnel", "attachment", "us-east-1a", "US-EAST-1A", someNames[1], "${vpce:ServerName}", "${*}")
		})
	case 1:
		operator = g.one("StringLike", "StringNotLike")
		key = g.one("vpce:Peer", "vpce:ServerName", "vpce:Vpc", "vpce:PeerKind")
		values = g.some(func() string {
			return g.one("*.amazonaws.com", "accounts/*", "accounts/${aws:PrincipalAccount}/*", "*reports*", "reports?s3*", "attachmen?", "accounts/acme/vpcs/prod", "*${vpce:AvailabilityZone}")
		})
	case 2:
		operator, key = g.one("Numeric", "Numeric")+g.one("Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals"), g.one("vpce:Port", "aws:EpochTime")
		values = g.some(func() string { return g.one("443", "5432", "1000.5", "1780315200", "-1") })
	case 3:
		operator, key = "Date"+g.one("Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals"), g.one("aws:CurrentTime", "aws:EpochTime")
		values = g.some(func() string {
			return g.one("2026-06-01T12:00:00Z", "2026-06-01T14:00:00+02:00", "2025-01-01T00:00:00Z", "1780315200", "1")
		})
	case 4:
		operator, key, values = "Bool", "aws:SecureTransport", g.some(func() string { return g.one("true", "false") })
	case 5:
		operator, key = g.one("IpAddress", "NotIpAddress"), g.one("aws:SourceIp", "aws:VpcSourceIp")
		values = g.some(func() string {
			return g.one("10.0.0.0/8", "10.0.1.5", "10.0.1.4/31", "192.168.0.0/16", "2001:db8::/32", "0.0.0.0/0")
		})
	case 6:
		operator, key = g.one("ArnEquals", "ArnNotEquals", "ArnLike", "ArnNotLike"), g.one("aws:PrincipalArn", "vpce:ServiceArn")
		values = g.some(func() string {
			return g.one("arn:aws:iam::acme:root", "arn:aws:iam::*:ro?t", "arn:aws:vpce:us-*:*:vpce-svc-*", "arn:*:vpce:us-east-1:${aws:ResourceAccount}:vpce-svc-1", "arn:aws:*:*:*:*")
		})
	}
	operator = g.one("", "", "", "ForAllValues:", "ForAnyValue:") + operator + g.one("", "", "IfExists")
	if g.chance(10) {
		operator, values = "Null", g.some(func() string { return g.one("true", "false") })
	}
	return operator, key, values
}

func (g generator) statement() map[string]any {
	s := map[string]any{"Effect": "Allow", "Principal": g.principal()}
	if g.chance(35) {
		s["Effect"] = "Deny"
		if g.chance(20) {
			delete(s, "Principal")
			s["NotPrincipal"] = g.principal()
		}
	}
	s[g.one("Action", "Action", "Action", "NotAction")] = g.some(g.action)
	s[g.one("Resource", "Resource", "Resource", "NotResource")] = g.some(g.resource)
	conditions := map[string]any{}
	for range g.IntN(3) {
		operator, key, values := g.condition()
		under, _ := conditions[operator].(map[string]any)
		if under == nil {
			under = map[string]any{}
		}
		under[key] = values
		conditions[operator] = under
	}
	if len(conditions) > 0 {
		s["Condition"] = conditions
	}
	return s
}

// statements are ones that Parse accepts, each by itself.
func (g generator) statements(most int) []map[string]any {
	list := make([]map[string]any, 1+g.IntN(most))
	for i := range list {
		for {
			list[i] = g.statement()
			if _, err := Parse(policyOf(list[i : i+1])); err == nil {
				break
			}
		}
	}
	return list
}

func policyOf(list []map[string]any) string {
	text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": list})
	if err != nil {
		panic(err)
	}
	return string(text)
}

func (g generator) request() Request {
	r := reports
	r.Account, r.ServerName = someAccounts[g.IntN(3)], someNames[g.IntN(len(someNames))]
	r.Source = netip.MustParseAddr(g.one("10.0.1.5", "10.0.1.6", "192.168.3.4", "2001:db8::1"))
	r.VPC, r.Endpoint = g.one("", "vpc-1", "vpc-2", "*"), g.one("vpce-1", "vpce-2")
	r.VPCName = g.one("accounts/acme/vpcs/prod", "accounts/other/vpcs/prod")
	r.Peer = g.one("", "accounts/acme/vpcs/prod/subnets/a/attachments/app", "accounts/other/vpnConnections/x/tunnels/1")
	r.PeerKind, r.Zone = g.one("attachment", "tunnel"), g.one("us-east-1a", "us-east-1b")
	r.Port = []uint16{443, 5432}[g.IntN(2)]
	r.Service.Account, r.Service.UID = g.one("operator", "acme"), g.one("vpce-svc-1", "vpce-svc-12")
	r.TLS = r.ServerName != "" || g.chance(50)
	if g.chance(20) {
		r.Time = time.Time{}
	} else if g.chance(50) {
		r.Time = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return r
}

// compareWithNaive draws pairs and counts what comes out.
func compareWithNaive(t *testing.T, seed uint64, pairs int) {
	t.Helper()
	const perPolicy = 50
	g := generator{rand.New(rand.NewPCG(seed, 0))}
	allowed, pending := 0, 0
	for range pairs / perPolicy {
		text := policyOf(g.statements(4))
		p, statements := mustParse(t, text), naiveStatements(text)
		for range perPolicy {
			r := g.request()
			got := p.Decide(r)
			if want := naive(statements, r); got.Allowed != want || got.NeedsHello {
				t.Fatalf("seed %d: %+v, want %v\n%s\n%+v", seed, got, want, text, r)
			}
			if got.Allowed {
				allowed++
			}
			// What is decided before the server name is known stays so, whatever the name.
			before := r
			before.HelloRead, before.TLS, before.ServerName = false, false, ""
			early := p.Decide(before)
			if early.NeedsHello {
				pending++
			} else if early.Allowed != got.Allowed {
				t.Fatalf("seed %d: early %+v, then %+v\n%s\n%+v", seed, early, got, text, r)
			}
		}
		if len(automata) > 100_000 {
			clear(automata)
		}
	}
	t.Logf("%d pairs, %d allowed, %d need the server name", pairs, allowed, pending)
	if allowed < pairs/20 || allowed > pairs*19/20 || pending < pairs/20 {
		t.Errorf("pairs are lopsided: %d allowed and %d pending of %d", allowed, pending, pairs)
	}
}

// Pairs of policies and requests, 10^5 of them, with SOAK=1 10^7 and with -short 10^4.
func TestDecideSoak(t *testing.T) {
	rounds, pairs := uint64(1), 100_000
	switch {
	case os.Getenv("SOAK") == "1":
		rounds = 100
	case testing.Short():
		pairs /= 10
	}
	for seed := range rounds {
		compareWithNaive(t, seed, pairs)
	}
}

// Laws that hold for any policy and request.
func TestLaws(t *testing.T) {
	g := generator{rand.New(rand.NewPCG(7, 7))}
	tries := 1000
	if testing.Short() {
		tries /= 10
	}
	for range tries {
		list := g.statements(4)
		p := mustParse(t, policyOf(list))
		allow, deny := g.statement(), g.statement()
		for !accepted(allow) || allow["Effect"] != "Allow" {
			allow = g.statement()
		}
		for !accepted(deny) || deny["Effect"] != "Deny" {
			deny = g.statement()
		}
		more := mustParse(t, policyOf(append(slices.Clone(list), allow)))
		less := mustParse(t, policyOf(append(slices.Clone(list), deny)))
		shuffled := slices.Clone(list)
		g.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		other := mustParse(t, policyOf(shuffled))
		twice := mustParse(t, policyOf(append(slices.Clone(list), list...)))
		denied := mustParse(t, policyOf(append(slices.Clone(list), map[string]any{"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"})))
		for range 20 {
			r := g.request()
			d := p.Decide(r).Allowed
			for law, broken := range map[string]bool{
				"adding Allow never removes access": d && !more.Decide(r).Allowed,
				"adding Deny never adds access":     !d && less.Decide(r).Allowed,
				"the order has no meaning":          d != other.Decide(r).Allowed,
				"saying it twice has no meaning":    d != twice.Decide(r).Allowed,
				"an explicit deny wins":             denied.Decide(r).Allowed,
			} {
				if broken {
					t.Fatalf("%s: %s\n%+v", law, policyOf(list), r)
				}
			}
		}
	}
}

func accepted(s map[string]any) bool {
	_, err := Parse(policyOf([]map[string]any{s}))
	return err == nil
}

// An Allow of what is not listed and one of what is are each other's opposite, for what a gateway sees.
func TestDuality(t *testing.T) {
	g := generator{rand.New(rand.NewPCG(9, 9))}
	for range 5000 {
		actions := g.one(`"*"`, `"vpce:Connect"`, `"s3:*"`, `["s3:*","kinesis:*"]`)
		resources := g.one(`"*"`, `"arn:aws:vpce:us-east-1:operator:vpce-svc-1/443"`, `"arn:aws:kinesis:us-east-1:*:*"`)
		r := g.request()
		for element, list := range map[string]string{"Action": actions, "Resource": resources} {
			plain := mustParse(t, with(fmt.Sprintf(`%q:%s`, element, list))).Decide(r)
			opposite := mustParse(t, with("-"+element, fmt.Sprintf(`%q:%s`, "Not"+element, list))).Decide(r)
			if plain.Allowed == opposite.Allowed {
				t.Fatalf("%s %s and its opposite both give %v\n%+v", element, list, plain.Allowed, r)
			}
		}
	}
}

func TestTextsOfErrorsAreOneLine(t *testing.T) {
	_, err := Parse(strings.Replace(Default, "{", "{\"a\\nb\":1,", 1))
	if err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %q", err)
	}
}
