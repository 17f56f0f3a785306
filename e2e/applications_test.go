package e2e

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"causeway/e2e/lab"
	causewayv1 "causeway/proto/causeway/v1"
)

// TestApplications takes two programs that know nothing of all this through endpoints of an account
// that is not the provider's, with the provider's consent: PostgreSQL with psql and pgbench, and
// nginx under wrk, which reads from the proxy protocol who its consumer is.
func TestApplications(t *testing.T) {
	w := newWorld(t, settings{})
	database := netip.AddrPortFrom(w.underlayAddr, 5432)
	w.underlay.Postgres(database)
	nginx := w.underlay.Nginx(lab.NginxConfig{Listen: w.underlayAddr.String() + ":8080", Body: "orders\n", ProxyProtocol: true})

	w.vpc("partner", "10.0.0.0/16")
	w.publish("vpcs/partner", "db", 5432, 5432, w.underlayAddr.String())
	w.publish("vpcs/partner", "web", 80, 8080, w.underlayAddr.String())
	w.call("LoadBalancers/UpdateTargetGroup", `{"target_group":{"name":"targetGroups/web","proxy_protocol_v2":true}}`)

	w.call("Accounts/CreateAccount", `{"account_id":"shop","account":{}}`)
	w.accountVPC("shop", "prod", "10.0.0.0/16")
	host := w.client("app")
	prod := "accounts/shop/vpcs/prod"
	app, _ := w.attach(host, prod+"/subnets/a", "app")
	db, web := w.consent(prod, "db"), w.consent(prod, "web")

	t.Run("postgresql", func(t *testing.T) {
		target := slices.Clip([]string{"-h", db, "-p", "5432", "-U", "postgres"})
		host.Run("pgbench", append(target, "-i", "-q", "-s", "1", "postgres")...)
		out := host.Run("pgbench", append(target, "-c", "16", "-j", "2", "-t", "50", "-C", "postgres")...)
		if want := "number of transactions actually processed: 800/800"; !strings.Contains(out, want) {
			t.Errorf("pgbench with a connection per transaction: want %q in\n%s", want, out)
		}
		out = host.Run("psql", append(target, "-Atc", "SELECT count(*) FROM pgbench_history")...)
		if strings.TrimSpace(out) != "800" {
			t.Errorf("psql counts %q transactions, want 800", out)
		}
	})
	t.Run("http", func(t *testing.T) {
		url := "http://" + web + "/"
		out := host.Run("wrk", "-t2", "-c64", "-d3s", url)
		if strings.Contains(out, "Socket errors") || strings.Contains(out, "Non-2xx") {
			t.Errorf("wrk met errors:\n%s", out)
		}
		if n := regexp.MustCompile(`(\d+) requests in`).FindStringSubmatch(out); n == nil || len(n[1]) < 3 {
			t.Errorf("wrk made hardly a request:\n%s", out)
		}
		w.fetch(host, url, "orders")
		w.Eventually(patience, "nginx to log its consumer", func() error {
			if want := "consumer " + app.GetIpAddress() + " of " + web + ":80\n"; !strings.Contains(nginx.Log(), want) {
				return fmt.Errorf("want %q in nginx's access log", want)
			}
			return nil
		})
	})
}

// accountVPC makes a VPC of an account with one subnet, a.
func (w *world) accountVPC(account, id, cidr string) {
	w.t.Helper()
	subnet := netip.PrefixFrom(netip.MustParsePrefix(cidr).Addr(), 24)
	w.call("Vpcs/CreateVpc", `{"parent":"accounts/%s","vpc_id":%q,"vpc":{"region":"us-east-1","cidr_block":%q}}`, account, id, cidr)
	w.call("Vpcs/CreateSubnet", `{"parent":"accounts/%s/vpcs/%s","subnet_id":"a","subnet":{"availability_zone":"us-east-1a","cidr_block":%q}}`, account, id, subnet)
}

// consent admits the VPC's account to a service of the default account, makes an endpoint of it there
// that waits for acceptance, accepts it and returns its address.
func (w *world) consent(vpc, service string) string {
	w.t.Helper()
	account := strings.Join(strings.SplitN(vpc, "/", 3)[:2], "/")
	s := w.call("EndpointServices/UpdateEndpointService", `{"endpoint_service":{"name":"endpointServices/%s","acceptance_required":true}}`, service).(*causewayv1.EndpointService)
	w.call("EndpointServices/AddPrincipals", `{"name":%q,"principals":[%q]}`, s.GetName(), account)
	e := w.call("Endpoints/CreateEndpoint", `{"parent":%q,"endpoint_id":%q,"endpoint":{"service_name":%q,"subnets":["%s/subnets/a"]}}`,
		vpc, service, s.GetServiceName(), vpc).(*causewayv1.Endpoint)
	if e.GetState() != causewayv1.Endpoint_PENDING_ACCEPTANCE {
		w.t.Fatalf("a new endpoint of a service that asks for acceptance is %v", e.GetState())
	}
	w.call("EndpointServices/AcceptConnections", `{"name":%q,"endpoints":[%q]}`, s.GetName(), e.GetUid())
	return w.endpointIPs(e.GetName())[0]
}
