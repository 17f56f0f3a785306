package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"causeway/e2e/lab"
	causewayv1 "causeway/proto/causeway/v1"
)

const (
	ordersName = "orders.example.com"
	// publicOrders is what the public DNS says of it.
	publicOrders = "203.0.113.90"
	// peeringOfNames is between two of the consumers' VPCs.
	peeringOfNames = "accounts/prod/peerings/branch"
)

// TestPrivateNames has two providers prove that a DNS name is theirs, and two consumers use it, each for the service
// of another provider, while for everybody else the name means what the public DNS says. A peered VPC knows it once
// both owners agree. It is withdrawn while nothing can serve it, and comes back.
func TestPrivateNames(t *testing.T) {
	n := newNaming(t)
	n.prove(n.one)
	n.prove(n.two)

	n.consume(n.prod, n.one)
	n.consume(n.shop, n.two)
	n.reads(n.prod, "one")
	n.reads(n.shop, "two")

	n.resolves(n.branch, publicOrders)
	n.prod.call("Peerings/UpdatePeering", `{"peering":{"name":%q,"dns_resolution":"ALLOWED"}}`, peeringOfNames)
	n.resolves(n.branch, publicOrders)
	n.branch.call("Peerings/UpdatePeering", `{"peering":{"name":%q,"peer_dns_resolution":"ALLOWED"}}`, peeringOfNames)
	n.reads(n.branch, "one")

	n.one.stop()
	n.withdrawn(n.prod)
	n.withdrawn(n.branch)
	n.reads(n.shop, "two")
	n.one.start()
	n.reads(n.prod, "one")
	n.reads(n.branch, "one")

	n.prod.call("Peerings/UpdatePeering", `{"peering":{"name":%q,"dns_resolution":"DENIED"}}`, peeringOfNames)
	n.withdrawn(n.branch)
	n.prod.call("Endpoints/UpdateEndpoint", `{"endpoint":{"name":"vpcs/main/endpoints/orders","private_dns_enabled":false}}`)
	n.withdrawn(n.prod)
	n.reads(n.shop, "two")
}

// naming is a world with two providers of a service of one name, and three accounts with a workload each.
type naming struct {
	*world
	dns                *lab.DNS
	one, two           *nameProvider
	prod, shop, branch *nameConsumer
}

// nameProvider is an account with service orders.
type nameProvider struct {
	*world // as its administrator has it
	listen netip.AddrPort
	body   string
	nginx  *lab.Process
}

// nameConsumer is an account with VPC main and a workload in it.
type nameConsumer struct {
	*world  // as its administrator has it
	account string
	host    *lab.Host
}

func newNaming(t *testing.T) *naming {
	t.Helper()
	n := &naming{}
	n.world = newWorld(t, settings{prepare: func(w *world, s *settings) {
		forwarder := netip.AddrPortFrom(w.underlayAddr, 53)
		n.dns = w.underlay.DNS(forwarder)
		s.extra = fmt.Sprintf("dns:\n  forwarders: [%q]\n", forwarder)
	}})
	n.dns.SetA(ordersName, netip.MustParseAddr(publicOrders))
	n.one, n.two = n.provider("one", 8081), n.provider("two", 8082)
	// The ranges of the first two are the same; a VPC that is peered needs one of its own.
	n.prod, n.shop, n.branch = n.consumer("prod", "10.0.0.0/16"), n.consumer("shop", "10.0.0.0/16"), n.consumer("branch", "10.1.0.0/16")
	n.prod.call("Peerings/CreatePeering", `{"peering_id":"branch","peering":{"vpc":"vpcs/main","peer_vpc":"accounts/branch/vpcs/main"}}`)
	n.branch.call("Peerings/AcceptPeering", `{"name":%q}`, peeringOfNames)
	await(n.branch.world, "Peerings/GetPeering", peeringOfNames, func(p *causewayv1.Peering) bool { return p.GetState() == causewayv1.Peering_ACTIVE })
	for _, c := range []*nameConsumer{n.prod, n.shop, n.branch} {
		c.host = n.client(c.account)
		app, _ := c.attach(c.host, "vpcs/main/subnets/a", "app")
		c.host.Nameserver(netip.MustParseAddr(app.GetGateway().GetDnsServer()))
	}
	return n
}

// provider makes an account whose service answers with the account's name.
func (n *naming) provider(account string, port uint16) *nameProvider {
	n.t.Helper()
	p := &nameProvider{world: n.tenant(account), listen: netip.AddrPortFrom(n.underlayAddr, port), body: account}
	p.start()
	p.vpc("partner", "10.0.0.0/16")
	p.publish("vpcs/partner", "orders", 80, int(port), n.underlayAddr.String())
	return p
}

func (p *nameProvider) start() {
	p.t.Helper()
	p.nginx = p.underlay.Nginx(lab.NginxConfig{Listen: p.listen.String(), Body: p.body + "\n"})
}

func (p *nameProvider) stop() {
	p.t.Helper()
	if err := p.nginx.Stop(patience); err != nil {
		p.t.Fatal(err)
	}
}

func (n *naming) consumer(account, cidr string) *nameConsumer {
	n.t.Helper()
	c := &nameConsumer{world: n.tenant(account), account: account}
	c.vpc("main", cidr)
	return c
}

// prove gives a provider's service its name, fails to prove it without the record, and proves it with it.
func (n *naming) prove(p *nameProvider) {
	n.t.Helper()
	s := p.call("EndpointServices/UpdateEndpointService", `{"endpoint_service":{"name":"endpointServices/orders","private_dns_name":%q}}`, ordersName).(*causewayv1.EndpointService)
	record := s.GetPrivateDnsNameVerification()
	if got := record.GetState(); got != causewayv1.PrivateDnsNameVerification_PENDING_VERIFICATION {
		n.t.Errorf("a new name is %v, want PENDING_VERIFICATION", got)
	}
	verify := func() causewayv1.PrivateDnsNameVerification_State {
		s := p.call("EndpointServices/VerifyPrivateDnsName", `{"name":"endpointServices/orders"}`).(*causewayv1.EndpointService)
		return s.GetPrivateDnsNameVerification().GetState()
	}
	// Another provider's record does not help.
	if got := verify(); got != causewayv1.PrivateDnsNameVerification_FAILED {
		n.t.Errorf("without its record a name is %v, want FAILED", got)
	}
	n.dns.SetTXT(record.GetRecordName(), "something else", record.GetRecordValue())
	n.Eventually(patience, "the record to be found", func() error {
		if got := verify(); got != causewayv1.PrivateDnsNameVerification_VERIFIED {
			return fmt.Errorf("with its record the name is %v", got)
		}
		return nil
	})
}

// consume makes an endpoint of a provider's service in a consumer's VPC and waits until the name is private there.
func (n *naming) consume(c *nameConsumer, p *nameProvider) {
	n.t.Helper()
	p.call("EndpointServices/AddPrincipals", `{"name":"endpointServices/orders","principals":["accounts/%s"]}`, c.account)
	s := p.call("EndpointServices/GetEndpointService", `{"name":"endpointServices/orders"}`).(*causewayv1.EndpointService)
	c.endpoint("vpcs/main", "orders", s.GetServiceName())
	await(c.world, "Endpoints/GetEndpoint", "vpcs/main/endpoints/orders", func(e *causewayv1.Endpoint) bool { return publishes(e, ordersName) })
}

// publishes says whether the resolver of an endpoint's VPC answers a name with the endpoint.
func publishes(e *causewayv1.Endpoint, name string) bool {
	return slices.ContainsFunc(e.GetDnsEntries(), func(d *causewayv1.DnsEntry) bool { return d.GetDnsName() == name && d.GetPublished() })
}

// reads waits until a consumer's workload gets the answer of a provider at the name.
func (n *naming) reads(c *nameConsumer, provider string) {
	n.t.Helper()
	n.Eventually(2*patience, c.account+" to read of "+provider, func() error {
		out, err := n.curl(c.host, "http://"+ordersName+"/", 2)
		if err == nil && strings.TrimSpace(out) != provider {
			err = fmt.Errorf("it reads %q", out)
		}
		return err
	})
}

// resolves fails unless the name has one address for a consumer's workload, now and for a while: a change under way
// must not come to it later.
func (n *naming) resolves(c *nameConsumer, want string) {
	n.t.Helper()
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); {
		if got, err := n.ask(c); err != nil || !slices.Equal(got, []netip.Addr{netip.MustParseAddr(want)}) {
			n.t.Fatalf("%s resolves for %s to %v, %v; want %s", ordersName, c.account, got, err, want)
		}
	}
}

// withdrawn waits until the name means for a consumer what the public DNS says.
func (n *naming) withdrawn(c *nameConsumer) {
	n.t.Helper()
	n.Eventually(2*patience, "the name to be withdrawn from "+c.account, func() error {
		got, err := n.ask(c)
		if err == nil && !slices.Equal(got, []netip.Addr{netip.MustParseAddr(publicOrders)}) {
			err = fmt.Errorf("it resolves to %v", got)
		}
		return err
	})
}

func (n *naming) ask(c *nameConsumer) ([]netip.Addr, error) {
	return c.host.Dig(n.Context(), netip.Addr{}, ordersName)
}
