package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"causeway/gateway/domain"
	"causeway/gateway/endpoint"
	"causeway/gateway/policy"
	"causeway/gateway/spec"
)

// allowing is a policy of one statement.
func allowing(resource, condition string) string {
	if condition == "" {
		condition = `"Bool":{"aws:SecureTransport":"true"}`
	}
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Sid":"only","Effect":"Allow","Principal":"*","Action":"*","Resource":%q,"Condition":{%s}}]}`,
		resource, condition)
}

// withPolicies is a world of one pair of which the objects have uids, and the service's name.
func withPolicies(t *testing.T) (w *world, g gatewayUnderTest, client *host, name string) {
	t.Helper()
	w, g = &world{}, run(t, config(t, t.TempDir()))
	client, server := w.pair(t, 1)
	w.domain(consumer(1)).UID = "vpc-0001"
	e := &w.Endpoints[0]
	e.Service, e.ServiceUID, e.Region = "accounts/p1/endpointServices/s", "vpce-svc-0001", "us-east-1"
	g.apply(t, &w.Gateway)
	return w, g, client, connectPair(t, g, 1, client, server)
}

func (w *world) setPolicy(t *testing.T, g gatewayUnderTest, text string, dryRun bool) {
	t.Helper()
	w.Endpoints[0].Policy, w.Endpoints[0].PolicyDryRun = text, dryRun
	g.apply(t, &w.Gateway)
}

// explained asks what the policy would say, as for the client's connections.
func (w *world) explained(g gatewayUnderTest, serverName string) spec.Check {
	e := &g.view.Load().spec.Endpoints[0]
	d := w.domain(consumer(1))
	p, _ := domainOf(g, d.Name).PeerOf(addr("10.0.1.4"))
	q := spec.Question{Domain: d.Name, Source: netip.MustParseAddrPort("10.0.1.4:0"), Destination: netip.MustParseAddrPort(serviceAt), ServerName: serverName}
	return g.explainPolicy(q, e, &e.Interfaces[0], d, p)
}

func domainOf(g gatewayUnderTest, name string) *domain.Domain {
	for _, d := range g.view.Load().domains {
		if d.Name() == name {
			return d
		}
	}
	return nil
}

// Each key has the value of the connection: a policy that wants just that admits, one that wants anything else does not.
func TestPolicyKnowsTheConnection(t *testing.T) {
	w, g, client, name := withPolicies(t)
	service := "arn:aws:vpce:us-east-1:p1:vpce-svc-0001"
	for operatorAndKey, value := range map[[2]string]string{
		{"IpAddress", "aws:SourceIp"}:             "10.0.1.4/32",
		{"IpAddress", "aws:VpcSourceIp"}:          "10.0.1.4",
		{"StringEquals", "aws:SourceVpc"}:         "vpc-0001",
		{"StringEquals", "aws:SourceVpce"}:        "vpce-eni-0001",
		{"StringEquals", "aws:SourceAccount"}:     "c1",
		{"StringEquals", "aws:PrincipalAccount"}:  "c1",
		{"StringEquals", "aws:ResourceAccount"}:   "p1",
		{"ArnEquals", "aws:PrincipalArn"}:         "arn:aws:iam::c1:root",
		{"ArnEquals", "vpce:ServiceArn"}:          service,
		{"StringEquals", "vpce:Service"}:          "accounts/p1/endpointServices/s",
		{"StringEquals", "vpce:Vpc"}:              consumer(1),
		{"StringEquals", "vpce:Peer"}:             consumer(1) + "/subnets/a/attachments/app",
		{"StringEquals", "vpce:PeerKind"}:         "attachment",
		{"StringEquals", "vpce:AvailabilityZone"}: zone,
		{"NumericEquals", "vpce:Port"}:            "443",
		{"DateGreaterThan", "aws:CurrentTime"}:    "2026-01-01",
		{"NumericGreaterThan", "aws:EpochTime"}:   "1",
	} {
		condition := fmt.Sprintf(`%q:{%q:%q}`, operatorAndKey[0], operatorAndKey[1], value)
		w.setPolicy(t, g, allowing(service+"/443", condition), false)
		c := client.open(t, serviceAt, name)
		if got := g.here(t); got.Statement != "only" || got.Denied || got.Zone != zone {
			t.Errorf("%s: record %+v", condition, got)
		}
		if got := w.explained(g, ""); got.Verdict != spec.Pass || !strings.Contains(got.Detail, "only") {
			t.Errorf("%s: explained by %+v", condition, got)
		}
		// The live connection ends with the change, and no other comes up.
		w.setPolicy(t, g, allowing("*", fmt.Sprintf(`%q:{%q:%q}`, opposite[operatorAndKey[0]], operatorAndKey[1], value)), false)
		ended(t, c)
		client.isRefused(t, g, "implicit-deny")
		if got := w.explained(g, ""); got.Verdict != spec.Deny || got.Reason != "refused_policy" || !strings.HasPrefix(got.Detail, "implicit-deny") {
			t.Errorf("not %s: explained by %+v", condition, got)
		}
	}
	if n := g.stats().Ended[endpoint.ReasonPolicyChanged]; n != 17 {
		t.Errorf("%d live flows ended by changes, want 17", n)
	}
}

var opposite = map[string]string{
	"IpAddress": "NotIpAddress", "StringEquals": "StringNotEquals", "ArnEquals": "ArnNotEquals", "NumericEquals": "NumericNotEquals",
	"DateGreaterThan": "DateLessThanEquals", "NumericGreaterThan": "NumericLessThanEquals",
}

// here is the record of the one live flow.
func (g gatewayUnderTest) here(t testing.TB) endpoint.Record {
	t.Helper()
	flows := g.engine.Load().Flows()
	if len(flows) != 1 {
		t.Fatalf("%d flows live", len(flows))
	}
	return flows[0]
}

// isRefused connects, and finds the connection reset by the policy.
func (h *host) isRefused(t testing.TB, g gatewayUnderTest, statement string) {
	t.Helper()
	before := g.stats().Ended[endpoint.ReasonRefusedPolicy]
	c, err := h.dial(t, serviceAt, 0, patience)
	if err == nil {
		ended(t, c)
		c.Close()
	}
	eventually(t, "refused by policy: "+statement, func() bool { return g.stats().Ended[endpoint.ReasonRefusedPolicy] == before+1 })
}

// hello is the first of a connection for a server name.
func hello(t testing.TB, serverName string) []byte {
	t.Helper()
	c := &sends{}
	_ = tls.Client(c, &tls.Config{ServerName: serverName}).HandshakeContext(context.Background()) // it cannot end well
	return c.sent.Bytes()
}

type sends struct {
	net.Conn
	sent bytes.Buffer
}

func (c *sends) Write(b []byte) (int, error) {
	c.sent.Write(b)
	return 0, io.ErrClosedPipe
}

// A policy on a bucket admits connections for its name and resets others, without ending TLS; changes end what they
// deny; on trial it only records.
func TestPolicyOnServerName(t *testing.T) {
	w, g, client, name := withPolicies(t)
	const reports, secrets = "reports.s3.us-east-1.amazonaws.com", "secrets.s3.us-east-1.amazonaws.com"
	w.setPolicy(t, g, `{"Statement":[{"Sid":"reports","Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::reports/*"}]}`, false)
	begin := func(serverName string) net.Conn {
		t.Helper()
		c, err := client.dial(t, serviceAt, 0, patience)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := c.Write(hello(t, serverName)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	answered := func(c net.Conn) {
		t.Helper()
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(name))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != name {
			t.Errorf("answered by %q, %v", got, err)
		}
	}
	ended(t, begin(secrets))
	good := begin(reports)
	answered(good)
	if got := g.here(t); got.Statement != "reports" || got.ServerName != reports {
		t.Errorf("record %+v", got)
	}
	for serverName, want := range map[string]spec.Verdict{reports: spec.Pass, secrets: spec.Deny, "": spec.Deny} {
		if got := w.explained(g, serverName); got.Verdict != want {
			t.Errorf("%q is explained by %+v", serverName, got)
		}
	}

	// A change of something else, and one that still allows the bucket, end nothing.
	w.Endpoints[0].Bandwidth.MaximumBPS++
	g.apply(t, &w.Gateway)
	w.setPolicy(t, g, allowing("arn:aws:s3:::rep*", ""), false)
	if got := g.here(t); got.Statement != "reports" {
		t.Errorf("record %+v", got)
	}
	w.setPolicy(t, g, allowing("arn:aws:s3:::secrets/*", ""), true)
	g.here(t)
	if got := w.explained(g, reports); got.Verdict != spec.Pass || !strings.Contains(got.Detail, "on trial") {
		t.Errorf("explained by %+v", got)
	}
	onTrial := begin(reports)
	answered(onTrial)
	if s := g.stats(); s.PolicyDryRun != 1 {
		t.Errorf("%d flows denied on trial", s.PolicyDryRun)
	}
	w.setPolicy(t, g, allowing("arn:aws:s3:::secrets/*", ""), false)
	for _, c := range []net.Conn{good, onTrial} {
		if _, err := io.Copy(io.Discard, c); err == nil {
			t.Error("a connection ended in order")
		}
	}
	answered(begin(secrets))
	families := gather(t, g.Gateway)
	for decision, want := range map[string]float64{"allow": 2, "deny": 1, "deny_dry_run": 1} {
		if got := value(families["causeway_policy_decisions_total"], "decision="+decision); got != want {
			t.Errorf("%v decisions %q, want %v", got, decision, want)
		}
	}
}

// A policy that the store has and the gateway does not understand denies everything, and the interface says why. One that
// is too long makes the spec invalid.
func TestPolicyNotUnderstood(t *testing.T) {
	w, g, client, name := withPolicies(t)
	c := client.open(t, serviceAt, name)
	w.setPolicy(t, g, `{"Statement":[{"Effect":"Permit"}]}`, false)
	ended(t, c)
	client.isRefused(t, g, policy.ImplicitDeny)
	if s := g.Status().Interfaces[0]; s.Serving || !strings.Contains(s.Reason, "Statement[0].Effect") {
		t.Errorf("interface %+v", s)
	}
	w.setPolicy(t, g, "", false)
	client.open(t, serviceAt, name)
	if s := g.Status().Interfaces[0]; !s.Serving {
		t.Errorf("interface %+v", s)
	}
	w.Endpoints[0].Policy = strings.Repeat(" ", spec.MaxPolicyCharacters+1)
	if err := g.Apply(t.Context(), w.Gateway); err == nil || !strings.Contains(err.Error(), "20481 characters") {
		t.Errorf("a policy too long: %v", err)
	}
}

// The limits of spec and of policy are the same; they cannot share it, for both stand alone.
func TestPolicyLimits(t *testing.T) {
	if spec.MaxPolicyCharacters != policy.MaxCharacters {
		t.Errorf("spec allows %d characters, policy %d", spec.MaxPolicyCharacters, policy.MaxCharacters)
	}
}
