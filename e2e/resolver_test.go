package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"causeway/e2e/lab"
	causewayv1 "causeway/proto/causeway/v1"
)

// forwarder is where the stories' daemon finds the public DNS: on its own loopback, as an operator's resolver may be.
const forwarder = "127.0.0.1:5300"

// dig asks with the stock program and returns what it prints of the answer.
func (w *world) dig(h *lab.Host, args ...string) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	out, err := h.Output(ctx, "dig", append([]string{"+time=6", "+tries=1", "+noall", "+comments", "+answer", "+authority"}, args...)...)
	if err != nil {
		w.t.Fatalf("dig %v in %s: %v\n%s", args, h.Name, err, out)
	}
	return out
}

// says fails unless what dig prints has all of these words.
func (w *world) says(out string, words ...string) {
	w.t.Helper()
	for _, word := range words {
		if !strings.Contains(strings.Join(strings.Fields(out), " "), word) {
			w.t.Errorf("dig does not say %q:\n%s", word, out)
		}
	}
}

// TestResolver asks the resolver of a VPC from an attachment and from a site, for names of its own and of others, over UDP
// and TCP.
func TestResolver(t *testing.T) {
	var public *lab.DNS
	w := newWorld(t, settings{
		extra:   "dns:\n  suffix: lab.example\n  forwarders: ['" + forwarder + "']\n",
		prepare: func(w *world, _ *settings) { public = w.gateway.DNS(netip.MustParseAddrPort(forwarder)) },
	})
	public.SetA("www.example.com", netip.MustParseAddr("203.0.113.80"))
	var many []netip.Addr
	for i := range 60 {
		many = append(many, netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}))
	}
	public.SetA("many.example.com", many...)
	w.underlay.Nginx(lab.NginxConfig{Listen: w.underlayAddr.String() + ":8080", Body: "orders\n"})
	w.vpc("prod", "10.0.0.0/16")
	w.publish("vpcs/prod", "orders", 80, 8080, w.underlayAddr.String())
	w.call("Endpoints/CreateEndpoint", `{"parent":"vpcs/prod","endpoint_id":"orders","endpoint":{"service_name":"endpointServices/orders","subnets":["vpcs/prod/subnets/a","vpcs/prod/subnets/b"]}}`)
	addresses := w.endpointIPs("vpcs/prod/endpoints/orders")
	app := w.client("app")
	w.attach(app, "vpcs/prod/subnets/a", "app")

	entries := w.call("Endpoints/GetEndpoint", `{"name":"vpcs/prod/endpoints/orders"}`).(*causewayv1.Endpoint).GetDnsEntries()
	if len(entries) != 3 || entries[0].GetKind() != causewayv1.DnsEntry_REGIONAL || !strings.HasSuffix(entries[0].GetDnsName(), ".us-east-1.vpce.lab.example") {
		t.Fatalf("names of the endpoint: %v", entries)
	}
	regional := entries[0].GetDnsName()
	const resolver = "@10.0.0.2"
	for _, transport := range []string{"+notcp", "+tcp"} {
		out := w.dig(app, resolver, transport, regional)
		w.says(out, "status: NOERROR", "flags: qr aa rd ra", "60 IN A "+addresses[0], "60 IN A "+addresses[1])
		for i, zonal := range entries[1:] {
			out := w.dig(app, resolver, transport, zonal.GetDnsName())
			w.says(out, "60 IN A "+addresses[i])
			if strings.Contains(out, addresses[1-i]) {
				t.Errorf("the zonal name of %s leads to the other zone:\n%s", zonal.GetAvailabilityZone(), out)
			}
		}
		w.says(w.dig(app, resolver, transport, "www.example.com"), "status: NOERROR", "IN A 203.0.113.80")
	}
	w.fetch(app, "http://"+addresses[0]+"/", "orders")
	w.says(w.dig(app, resolver, strings.ToUpper(regional)), "60 IN A "+addresses[0])
	w.says(w.dig(app, resolver, "AAAA", regional), "status: NOERROR", "ANSWER: 0", "IN SOA")
	w.says(w.dig(app, resolver, "ANY", "+notcp", "www.example.com"), "HINFO")
	w.says(w.dig(app, resolver, "other.us-east-1.vpce.lab.example"), "status: NXDOMAIN", "vpce.lab.example. 30 IN SOA")
	w.says(w.dig(app, resolver, "gone.example.com"), "status: NXDOMAIN")
	w.says(w.dig(app, resolver, "CH", "TXT", "version.bind"), "status: REFUSED")
	w.says(w.dig(app, resolver, "+opcode=update", "www.example.com"), "status: NOTIMP")
	if public.Asked(regional) > 0 || public.Asked("other.us-east-1.vpce.lab.example") > 0 || public.Asked("version.bind") > 0 {
		t.Error("the public DNS was asked for what is not public")
	}

	w.says(w.dig(app, resolver, "+ignore", "+noedns", "many.example.com"), "flags: qr tc rd ra", "ANSWER: 0")
	w.says(w.dig(app, resolver, "many.example.com"), "ANSWER: 60")

	t.Run("rules", func(t *testing.T) { w.rules(t, app) })
	t.Run("inbound", func(t *testing.T) { w.inbound(t, regional, addresses[0]) })
}

// rules sends questions for some domains to other servers, of which one is dead.
func (w *world) rules(t *testing.T, app *lab.Host) {
	corporate := w.underlay.DNS(netip.AddrPortFrom(w.underlayAddr, 53))
	corporate.SetA("mail.corp.example", netip.MustParseAddr("192.168.1.25"))
	const dead = "10.255.0.99"
	for id, rule := range map[string]string{
		"corp": fmt.Sprintf(`{"domain_name":"corp.example","target_ips":[{"ip_address":%q}]}`, w.underlayAddr),
		"dead": fmt.Sprintf(`{"domain_name":"dead.example","target_ips":[{"ip_address":%q}]}`, dead),
	} {
		w.call("Resolver/CreateResolverRule", `{"parent":"vpcs/prod","resolver_rule_id":%q,"resolver_rule":%s}`, id, rule)
		await(w, "Resolver/GetResolverRule", "vpcs/prod/resolverRules/"+id, func(r *causewayv1.ResolverRule) bool {
			return r.GetState() == causewayv1.ResolverRule_AVAILABLE
		})
	}
	w.says(w.dig(app, "@10.0.0.2", "mail.corp.example"), "IN A 192.168.1.25")
	begin := time.Now()
	w.says(w.dig(app, "@10.0.0.2", "a.dead.example"), "status: SERVFAIL")
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("a dead server is told of after %v", took)
	}
	w.says(w.dig(app, "@10.0.0.2", "www.example.com"), "IN A 203.0.113.80")
}

// inbound has a site ask at an inbound endpoint, and be refused at the resolver inside the VPC.
func (w *world) inbound(t *testing.T, name, address string) {
	w.call("Resolver/CreateResolverEndpoint", `{"parent":"vpcs/prod","resolver_endpoint_id":"in","resolver_endpoint":{"subnets":["vpcs/prod/subnets/a"]}}`)
	in := await(w, "Resolver/GetResolverEndpoint", "vpcs/prod/resolverEndpoints/in", func(e *causewayv1.ResolverEndpoint) bool {
		return e.GetState() == causewayv1.ResolverEndpoint_AVAILABLE
	})
	site := w.client("site")
	w.join(site, "vpcs/prod", "office", "192.168.60.10", "192.168.60.0/24", w.NewKey())
	for _, transport := range []string{"+notcp", "+tcp"} {
		w.says(w.dig(site, "@"+in.GetAddresses()[0].GetIpAddress(), transport, name), "60 IN A "+address)
	}
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	if out, err := site.Output(ctx, "dig", "@10.0.0.2", "+time=1", "+tries=1", name); err == nil {
		t.Errorf("a site is answered by the resolver inside the VPC:\n%s", out)
	}
}
