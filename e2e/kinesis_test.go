package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"causeway/e2e/lab"
	"causeway/gateway/spec/spectest"
	causewayv1 "causeway/proto/causeway/v1"
)

const (
	kinesisName = "kinesis.us-east-1.amazonaws.com"
	// The SDK asks hosts under these names, which begin with the account's number, where a stream is named by its ARN.
	dataName, controlName = "*.data-kinesis.us-east-1.amazonaws.com", "*.control-kinesis.us-east-1.amazonaws.com"
	// publicKinesis is what the public DNS says of it: an address that nothing in a private subnet has a route to.
	publicKinesis = "203.0.113.80"
)

// TestKinesis is the story that PrivateLink is known for: an application server in a private subnet uses Kinesis at
// its public name, with the AWS SDK as it comes, over an interface endpoint. What an administrator can do wrong, or
// forbid, is done in turn; the same program fails, Explain says why, and it works again.
func TestKinesis(t *testing.T) {
	k := newKinesis(t)
	k.fails("before there is an endpoint", "network is unreachable")

	endpoint := k.connect()
	k.resolves(endpoint)
	k.works("first")
	k.works("by ARN", "-arn")
	if want := "PutRecords at 000000000000.data-" + kinesisName; !strings.Contains(k.service.Log(), want) {
		t.Errorf("want %q in what the service heard:\n%s", want, k.service.Log())
	}
	for _, trouble := range []struct {
		name string
		// make and mend call what causes the trouble and what ends it.
		make, mend func()
		// check, code and object say what Explain tells, says what the application does.
		check, code, object string
		says                []string
	}{
		{
			name:  "policy for another source address",
			make:  func() { k.setPolicy("10.0.0.99/32") },
			mend:  func() { k.setPolicy(k.address + "/32") },
			check: "endpoint_policy", code: "EP_POLICY_DENY", object: "accounts/shop/vpcs/prod/endpoints/kinesis",
			says: []string{"connection reset by peer"},
		},
		{
			name:  "network ACL without the ephemeral range",
			make:  func() { k.setIngress(443, 443) },
			mend:  func() { k.setIngress(1024, 65535) },
			check: "network_acl_in_return", code: "SUBNET_ACL_RESTRICTION", object: "accounts/shop/vpcs/prod/networkAcls/private",
			says: []string{"deadline exceeded", "i/o timeout"},
		},
		{
			name:  "security group without port 443",
			make:  func() { k.setGroup(80) },
			mend:  func() { k.setGroup(443) },
			check: "security_group", code: "ENI_SG_RULES_MISMATCH", object: "accounts/shop/vpcs/prod/endpoints/kinesis",
			says: []string{"deadline exceeded", "i/o timeout"},
		},
	} {
		trouble.make()
		denial := k.explained(false)
		if denial.GetName() != trouble.check || denial.GetReasonCode() != trouble.code || denial.GetObject() != trouble.object {
			t.Errorf("%s: Explain says %v; want check %s, %s, of %s", trouble.name, denial, trouble.check, trouble.code, trouble.object)
		}
		k.fails(trouble.name, trouble.says...)
		trouble.mend()
		k.explained(true)
		k.works("after a " + trouble.name)
	}
	if got := k.dns.Asked(kinesisName); got == 0 {
		t.Error("the public DNS was never asked: the story began with the private name")
	}
}

// kinesis is a platform service of the operator, and an account with a workload that uses it.
type kinesis struct {
	*world
	shop    *world // as the account's administrator has it
	dns     *lab.DNS
	service *lab.Process
	host    *lab.Host // of the workload
	address string    // of the workload
	program string
	ca      string   // file
	records []string // put so far
}

func newKinesis(t *testing.T) *kinesis {
	t.Helper()
	k := &kinesis{}
	k.world = newWorld(t, settings{prepare: func(w *world, s *settings) {
		forwarder := netip.AddrPortFrom(w.underlayAddr, 53)
		k.dns = w.underlay.DNS(forwarder)
		s.extra = fmt.Sprintf("dns:\n  forwarders: [%q]\n", forwarder)
	}})
	k.dns.SetA(kinesisName, netip.MustParseAddr(publicKinesis))
	k.program = k.BuildModule("e2e/kinesis")

	certificate, key := spectest.Certificate(t, kinesisName, dataName, controlName)
	k.ca = filepath.Join(k.Dir(), "kinesis-ca.crt")
	if err := os.WriteFile(k.ca, []byte(certificate), 0o600); err != nil {
		t.Fatal(err)
	}
	k.service = k.underlay.Kinesalite(netip.AddrPortFrom(k.underlayAddr, 8443), certificate, key)
	k.vpc("platform", "10.0.0.0/16")
	k.balance("vpcs/platform", "kinesis", 443, 8443, k.underlayAddr.String())
	k.call("EndpointServices/CreateEndpointService", `{"endpoint_service_id":"kinesis","endpoint_service":{"load_balancers":["loadBalancers/kinesis"],
		"offering":"PLATFORM","platform_service_name":"com.amazonaws.us-east-1.kinesis","public_dns_names":[%q,%q,%q]}}`,
		kinesisName, dataName, controlName)

	k.shop, k.host = k.tenant("shop"), k.client("app")
	k.shop.vpc("prod", "10.0.0.0/16")
	k.shop.call("Vpcs/CreateNetworkAcl", `{"parent":"vpcs/prod","network_acl_id":"private","network_acl":{
		"egress_rules":[{"rule_number":100,"action":"ALLOW","protocol":"tcp","cidr_block":"10.0.1.0/24","port_range":{"from":443,"to":443}}],
		"ingress_rules":[{"rule_number":100,"action":"ALLOW","protocol":"tcp","cidr_block":"10.0.1.0/24","port_range":{"from":1024,"to":65535}}]}}`)
	k.shop.call("Vpcs/UpdateSubnet", `{"subnet":{"name":"vpcs/prod/subnets/a","network_acl":"vpcs/prod/networkAcls/private"}}`)
	app, _ := k.shop.attach(k.host, "vpcs/prod/subnets/a", "app")
	k.address = app.GetIpAddress()
	k.host.Nameserver(netip.MustParseAddr(app.GetGateway().GetDnsServer()))
	return k
}

// connect makes an endpoint of the service in the other subnet of the workload's VPC, with a security group that
// admits the workload, waits until the service's name is private, and returns the endpoint's address.
func (k *kinesis) connect() netip.Addr {
	k.t.Helper()
	k.shop.call("Vpcs/CreateSecurityGroup", `{"parent":"vpcs/prod","security_group_id":"kinesis","security_group":{
		"ingress_rules":[{"protocol":"tcp","cidr_block":"10.0.0.0/24","port_range":{"from":443,"to":443}}]}}`)
	k.shop.call("Endpoints/CreateEndpoint", `{"parent":"vpcs/prod","endpoint_id":"kinesis","endpoint":{"service_name":"com.amazonaws.us-east-1.kinesis",
		"subnets":["vpcs/prod/subnets/b"],"security_groups":["vpcs/prod/securityGroups/kinesis"]}}`)
	e := await(k.shop, "Endpoints/GetEndpoint", "vpcs/prod/endpoints/kinesis", func(e *causewayv1.Endpoint) bool { return publishes(e, kinesisName) })
	return netip.MustParseAddr(e.GetNetworkInterfaces()[0].GetIpAddress())
}

// resolves fails unless the workload's DNS server answers the service's name with the endpoint's address alone.
func (k *kinesis) resolves(endpoint netip.Addr) {
	k.t.Helper()
	got, err := k.host.Dig(k.Context(), netip.Addr{}, kinesisName)
	if err != nil || !slices.Equal(got, []netip.Addr{endpoint}) {
		k.t.Fatalf("%s resolves to %v, %v; want the endpoint's %v", kinesisName, got, err, endpoint)
	}
}

// setPolicy admits consumers of a prefix to the endpoint.
func (k *kinesis) setPolicy(prefix string) {
	k.t.Helper()
	policy := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Sid":"AppServers","Effect":"Allow","Principal":"*","Action":"kinesis:*","Resource":"*",
		"Condition":{"IpAddress":{"aws:VpcSourceIp":%q}}}]}`, prefix)
	k.shop.call("Endpoints/UpdateEndpoint", `{"endpoint":{"name":"vpcs/prod/endpoints/kinesis","policy":%q}}`, policy)
}

// setIngress lets packets to a range of ports into the workload's subnet.
func (k *kinesis) setIngress(from, to int) {
	k.t.Helper()
	k.shop.call("Vpcs/UpdateNetworkAcl", `{"network_acl":{"name":"vpcs/prod/networkAcls/private",
		"ingress_rules":[{"rule_number":100,"action":"ALLOW","protocol":"tcp","cidr_block":"10.0.1.0/24","port_range":{"from":%d,"to":%d}}]}}`, from, to)
}

// setGroup admits connections to a port of the endpoint.
func (k *kinesis) setGroup(port int) {
	k.t.Helper()
	k.shop.call("Vpcs/UpdateSecurityGroup", `{"security_group":{"name":"vpcs/prod/securityGroups/kinesis",
		"ingress_rules":[{"protocol":"tcp","cidr_block":"10.0.0.0/24","port_range":{"from":%d,"to":%d}}]}}`, port, port)
}

// explained waits until Explain says of a connection of the application that it is allowed, or not, and returns the
// last check, which decided.
func (k *kinesis) explained(allowed bool) *causewayv1.Check {
	k.t.Helper()
	var last *causewayv1.Check
	k.Eventually(patience, fmt.Sprintf("Explain to say that allowed is %t", allowed), func() error {
		answer := k.shop.call("Diagnostics/Explain", `{"source":"vpcs/prod/subnets/a/attachments/app","destination":%q,"port":443,"server_name":%q}`,
			kinesisName, kinesisName).(*causewayv1.ExplainResponse)
		if answer.GetAllowed() != allowed {
			return fmt.Errorf("it says %v", answer)
		}
		last = answer.GetChecks()[len(answer.GetChecks())-1]
		return nil
	})
	return last
}

// run runs the application with nothing but what an application has in AWS, and a CA bundle.
func (k *kinesis) run(timeout string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(k.Context(), 2*patience)
	defer cancel()
	command := []string{"-i", "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret", "AWS_CA_BUNDLE=" + k.ca,
		k.program, "-timeout", timeout}
	return k.host.Output(ctx, "env", append(command, args...)...)
}

// works has the application put a record and read all that were put so far.
func (k *kinesis) works(record string, flags ...string) {
	k.t.Helper()
	k.records = append(k.records, record)
	out, err := k.run(patience.String(), append(flags, record)...)
	got := strings.Split(strings.TrimSpace(out), "\n")
	slices.Sort(got)
	if want := slices.Sorted(slices.Values(k.records)); err != nil || !slices.Equal(got, want) {
		k.t.Fatalf("the application read %q, %v; want %q", got, err, want)
	}
}

// fails has the application fail, saying one of some texts, without the service hearing of it.
func (k *kinesis) fails(when string, says ...string) {
	k.t.Helper()
	before := len(k.service.Log())
	out, err := k.run("5s", "lost")
	if err == nil || !slices.ContainsFunc(says, func(text string) bool { return strings.Contains(err.Error(), text) }) {
		k.t.Errorf("%s: the application got %q, %v; want it to fail with one of %q", when, out, err, says)
	}
	if heard := k.service.Log()[before:]; heard != "" {
		k.t.Errorf("%s: the service heard\n%s", when, heard)
	}
}
