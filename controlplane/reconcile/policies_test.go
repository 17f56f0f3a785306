package reconcile

import (
	"fmt"
	"strings"
	"testing"

	"causeway/gateway/policy"
)

func TestPolicyChecks(t *testing.T) {
	var c policyChecks
	for round := range 3 {
		c.begin()
		for range 2 {
			if err := c.check(policy.Default); err != nil {
				t.Errorf("round %d: the default policy: %v", round, err)
			}
			if round == 0 && c.check("{}") == nil {
				t.Error("a policy without statements can be read")
			}
		}
	}
	if len(c.last) != 1 || len(c.now) != 1 {
		t.Errorf("remembers %d and %d policies, want the one that is in use", len(c.last), len(c.now))
	}
}

// BenchmarkCompilePolicies compiles 50 endpoints with the longest policies, of which none has changed.
func BenchmarkCompilePolicies(b *testing.B) {
	w := &world{}
	w.vpc("v", "10.0.0.0/16")
	w.subnet("vpcs/v/subnets/a", "us-east-1a", "10.0.0.0/17")
	service := w.publish("s", "v", "us-east-1a", "10.0.100.1")
	for n := range 50 {
		e := w.endpoint(fmt.Sprintf("vpcs/v/endpoints/e%d", n), service, "us-east-1a", fmt.Sprintf("10.0.1.%d", 10+n))
		statement := fmt.Sprintf(`{"Effect":"Allow","Principal":{"AWS":"a%d"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::reports/*"}`, n)
		e.Policy = `{"Statement":[` + strings.Repeat(statement+",", 170) + statement + `]}`
	}
	opts := testOptions
	opts.policies = &policyChecks{}
	for b.Loop() {
		if r := compile(w.input, opts); len(r.spec.Endpoints) != 50 {
			b.Fatal(len(r.spec.Endpoints))
		}
	}
}
