package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"causeway/e2e/lab"
	causewayv1 "causeway/proto/causeway/v1"
)

// TestFirstLight is the main job: an administrator with grpcurl creates a VPC, a service and an
// endpoint; a stock WireGuard client on a kernel TUN connects, and curl reaches nginx through the
// endpoint IP. It is told on the unix socket and again over TLS with a token.
func TestFirstLight(t *testing.T) {
	w := newWorld(t, settings{})
	w.underlay.Nginx(lab.NginxConfig{Listen: w.underlayAddr.String() + ":8080", Body: "orders\n"})

	socket := grpcurl{w, []string{"-unix", "-plaintext"}, w.socket}
	socket.tell("", "prod", "partner")
	if shown := w.gateway.Run("wg", "show", "all", "latest-handshakes"); !w.knowsPeer(shown) {
		t.Errorf("wg show knows of no handshake of a peer of the gateway:\n%s", shown)
	}

	secret := socket.do("Accounts/CreateToken", `{"token_id":"ci","token":{"role":"ADMIN"}}`)["secret"].(string)
	ca := filepath.Join(w.Dir(), "data", "tls", "ca.crt")
	if _, err := os.Stat(ca); err != nil {
		t.Fatalf("the CA's certificate is not in the data directory: %v", err)
	}
	tls := grpcurl{w, []string{"-cacert", ca, "-H", "authorization: Bearer " + secret}, tlsListen}
	tls.tell("2", "prod2", "partner2")

	anonymous := grpcurl{w, []string{"-cacert", ca, "-import-path", "../proto", "-proto", "causeway/v1/vpcs.proto"}, tlsListen}
	if out, err := anonymous.try("Vpcs/ListVpcs", `{}`); err == nil || !strings.Contains(err.Error(), "Unauthenticated") {
		t.Fatalf("a call without a token: got %q, %v; want Unauthenticated", out, err)
	}
	foreign := grpcurl{w, []string{"-cacert", ca, "-H", "authorization: Bearer " + secret + "x", "-import-path", "../proto", "-proto", "causeway/v1/vpcs.proto"}, tlsListen}
	if out, err := foreign.try("Vpcs/ListVpcs", `{}`); err == nil || !strings.Contains(err.Error(), "Unauthenticated") {
		t.Fatalf("a call with a wrong token: got %q, %v; want Unauthenticated", out, err)
	}
}

// knowsPeer looks for the attachment's handshake in what `wg show all latest-handshakes` prints. Stock
// clients on this machine show up too, with the gateway's key as their peer.
func (w *world) knowsPeer(shown string) bool {
	key := w.call("Vpcs/GetAttachment", `{"name":"vpcs/prod/subnets/a/attachments/app"}`).(*causewayv1.Attachment).GetPublicKey()
	for line := range strings.Lines(shown) {
		if f := strings.Fields(line); len(f) == 3 && f[1] == key && f[2] != "0" {
			return true
		}
	}
	return false
}

// grpcurl runs grpcurl in the gateway's host.
type grpcurl struct {
	w       *world
	flags   []string
	address string
}

func (g grpcurl) try(method, request string) (string, error) {
	ctx, cancel := context.WithTimeout(g.w.Context(), patience)
	defer cancel()
	args := append(append([]string{}, g.flags...), "-d", request, g.address, "causeway.v1."+method)
	return g.w.gateway.Grpcurl(ctx, args...)
}

func (g grpcurl) do(method, request string) map[string]any {
	g.w.t.Helper()
	out, err := g.try(method, request)
	if err != nil {
		g.w.t.Fatalf("grpcurl %s %s: %v", method, request, err)
	}
	var answer map[string]any
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		g.w.t.Fatalf("grpcurl %s printed no JSON: %q", method, out)
	}
	return answer
}

// untilAvailable gets a resource until its state says so.
func (g grpcurl) untilAvailable(method, name string) map[string]any {
	g.w.t.Helper()
	var answer map[string]any
	g.w.Eventually(patience, name+" to be available", func() error {
		answer = g.do(method, fmt.Sprintf(`{"name":%q}`, name))
		if answer["state"] != "AVAILABLE" {
			return fmt.Errorf("it is %v", answer)
		}
		return nil
	})
	return answer
}

// tell is the session of the design document, with the ids' suffix and the two VPCs' ids.
func (g grpcurl) tell(suffix, prod, partner string) {
	w, t := g.w, g.w.t
	t.Helper()
	key := w.NewKey()
	id := "orders" + suffix
	g.do("Vpcs/CreateVpc", fmt.Sprintf(`{"vpc_id":%q,"vpc":{"region":"us-east-1","cidr_block":"10.0.0.0/16"}}`, prod))
	g.do("Vpcs/CreateSubnet", fmt.Sprintf(`{"parent":"vpcs/%s","subnet_id":"a","subnet":{"availability_zone":"us-east-1a","cidr_block":"10.0.1.0/24"}}`, prod))
	g.do("Vpcs/CreateAttachment", fmt.Sprintf(`{"parent":"vpcs/%s/subnets/a","attachment_id":"app","attachment":{"public_key":%q}}`, prod, key.PublicKey()))
	g.do("Vpcs/CreateVpc", fmt.Sprintf(`{"vpc_id":%q,"vpc":{"region":"us-east-1","cidr_block":"10.0.0.0/16"}}`, partner))
	g.do("Vpcs/CreateSubnet", fmt.Sprintf(`{"parent":"vpcs/%s","subnet_id":"a","subnet":{"availability_zone":"us-east-1a","cidr_block":"10.0.1.0/24"}}`, partner))
	g.do("LoadBalancers/CreateTargetGroup", fmt.Sprintf(`{"target_group_id":%q,"target_group":{"vpc":"vpcs/%s","port":8080,"health_check":{"protocol":"TCP"}}}`, id, partner))
	g.do("LoadBalancers/RegisterTargets", fmt.Sprintf(`{"name":"targetGroups/%s","targets":[{"ip_address":%q}]}`, id, w.underlayAddr))
	g.do("LoadBalancers/CreateLoadBalancer", fmt.Sprintf(`{"load_balancer_id":%q,"load_balancer":{"subnets":["vpcs/%s/subnets/a"]}}`, id, partner))
	g.do("LoadBalancers/CreateListener", fmt.Sprintf(`{"parent":"loadBalancers/%s","listener":{"port":443,"protocol":"TCP","target_group":"targetGroups/%s"}}`, id, id))
	service := g.do("EndpointServices/CreateEndpointService", fmt.Sprintf(`{"endpoint_service_id":%q,"endpoint_service":{"load_balancers":["loadBalancers/%s"],"acceptance_required":false}}`, id, id))
	g.do("Endpoints/CreateEndpoint", fmt.Sprintf(`{"parent":"vpcs/%s","endpoint_id":"orders","endpoint":{"service_name":%q,"subnets":["vpcs/%s/subnets/a"]}}`, prod, service["serviceName"], prod))

	endpoint := g.untilAvailable("Endpoints/GetEndpoint", "vpcs/"+prod+"/endpoints/orders")
	address := endpoint["networkInterfaces"].([]any)[0].(map[string]any)["ipAddress"].(string)
	app := g.untilAvailable("Vpcs/GetAttachment", "vpcs/"+prod+"/subnets/a/attachments/app")
	if app["ipAddress"] == address || !netip.MustParsePrefix("10.0.1.0/24").Contains(netip.MustParseAddr(address)) {
		t.Fatalf("endpoint IP %s, attachment %v: want two addresses of 10.0.1.0/24", address, app["ipAddress"])
	}
	host := w.client("app" + suffix)
	w.connect(host, key, app["ipAddress"].(string), wireGuardGateway(app["gateway"].(map[string]any)))
	w.fetch(host, "http://"+address+":443/", "orders")
	if _, err := host.Dial(w.Context(), "tcp", address+":444"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("a port without a listener: got %v; want a refused connection", err)
	}
}

// wireGuardGateway reads the field of that name from grpcurl's JSON.
func wireGuardGateway(field map[string]any) *causewayv1.WireGuardGateway {
	g := &causewayv1.WireGuardGateway{Endpoint: field["endpoint"].(string), PublicKey: field["publicKey"].(string)}
	for _, prefix := range field["allowedIps"].([]any) {
		g.AllowedIps = append(g.AllowedIps, prefix.(string))
	}
	return g
}
