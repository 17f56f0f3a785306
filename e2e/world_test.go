package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
	"google.golang.org/protobuf/proto"

	"causeway/e2e/jsonapi"
	"causeway/e2e/lab"
	causewayv1 "causeway/proto/causeway/v1"
)

// patience is how long a story waits for something that should happen at once.
const patience = 20 * time.Second

// world is a gateway with its control plane in one host, a host of the underlay with targets, and
// any number of client hosts, each on a wire of its own.
type world struct {
	*lab.Lab
	t       *testing.T
	gateway *lab.Host
	// underlay is a host of the gateway's own network, in the prefix that targets may have.
	underlay     *lab.Host
	underlayAddr netip.Addr
	daemon       *lab.Daemon
	api          *jsonapi.Client
	socket       string
	clients      int
}

// settings change the daemon's configuration of a world.
type settings struct {
	// store is the text of the store section; empty means the embedded store.
	store string
	// extra is appended to the configuration.
	extra string
	// prepare runs before the daemon starts and may change the rest.
	prepare func(*world, *settings)
}

const (
	underlayPrefix = "10.255.0.0/24"
	httpListen     = "127.0.0.1:7480"
	tlsListen      = "127.0.0.1:7443"
	advertise      = "10.254.0.1"
)

// newWorld starts the daemon in a new lab.
func newWorld(t *testing.T, s settings) *world {
	t.Helper()
	w := &world{Lab: lab.New(t), t: t}
	w.gateway, w.underlay = w.Host("gateway"), w.Host("underlay")
	_, w.underlayAddr = w.Connect(w.gateway, w.underlay, netip.MustParsePrefix(underlayPrefix))
	w.gateway.Run("ip", "addr", "add", advertise+"/32", "dev", "lo")
	// Clients in the gateway's own host must not be given its ports by the kernel.
	w.gateway.Sysctl("net.ipv4.ip_local_reserved_ports", "51820-52819")
	if s.prepare != nil {
		s.prepare(w, &s)
	}
	w.socket = filepath.Join(w.Dir(), "api.sock")
	w.daemon = w.gateway.Daemon(lab.DaemonConfig{YAML: w.config(s), HTTP: httpListen})
	w.api = w.dial()
	return w
}

func (w *world) config(s settings) string {
	return fmt.Sprintf(`data_dir: %s
zones:
  - {region: us-east-1, zone: us-east-1a}
  - {region: us-east-1, zone: us-east-1b}
  - {region: eu-west-1, zone: eu-west-1a}
  - {region: eu-west-1, zone: eu-west-1b}
api:
  socket: %s
  listen: %s
wireguard:
  advertise: %s
underlay:
  allow: [%s]
http:
  listen: %s
%s%s`, filepath.Join(w.Dir(), "data"), w.socket, tlsListen, advertise, underlayPrefix, httpListen, s.store, s.extra)
}

// dial connects to the API's socket; the connection ends with the test.
func (w *world) dial() *jsonapi.Client {
	w.t.Helper()
	c, err := jsonapi.DialSocket(w.socket)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	return c
}

// call calls a method that must succeed.
func (w *world) call(method, request string, args ...any) proto.Message {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	if len(args) > 0 {
		request = fmt.Sprintf(request, args...)
	}
	answer, err := w.api.Call(ctx, method, request)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer
}

// await gets a resource until done accepts it.
func await[T proto.Message](w *world, method, name string, done func(T) bool) T {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	got, err := jsonapi.Await(ctx, w.api, method, fmt.Sprintf(`{"name":%q}`, name), done)
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

// client is a host on a wire of its own to the gateway.
func (w *world) client(name string) *lab.Host {
	w.t.Helper()
	w.clients++
	h := w.Host(name)
	gatewayAddr, _ := w.Connect(w.gateway, h, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 253, byte(w.clients), 0}), 30))
	h.Route(netip.MustParsePrefix(advertise+"/32"), gatewayAddr)
	return h
}

// vpc makes a VPC in us-east-1 with one subnet per zone: the first and second /24 of its range, named a and b.
func (w *world) vpc(id, cidr string) {
	w.t.Helper()
	w.vpcIn("us-east-1", id, cidr)
}

func (w *world) vpcIn(region, id, cidr string) {
	w.t.Helper()
	base := netip.MustParsePrefix(cidr).Addr().As4()
	w.call("Vpcs/CreateVpc", `{"vpc_id":%q,"vpc":{"region":%q,"cidr_block":%q}}`, id, region, cidr)
	for i, zone := range []string{"a", "b"} {
		subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{base[0], base[1], base[2] + byte(i), 0}), 24)
		w.call("Vpcs/CreateSubnet", `{"parent":"vpcs/%s","subnet_id":%q,"subnet":{"availability_zone":"%s%s","cidr_block":%q}}`, id, zone, region, zone, subnet)
	}
}

// attach makes an attachment and connects host as its workload.
func (w *world) attach(host *lab.Host, subnet, id string) (*causewayv1.Attachment, *lab.WireGuard) {
	w.t.Helper()
	key := w.NewKey()
	w.call("Vpcs/CreateAttachment", `{"parent":%q,"attachment_id":%q,"attachment":{"public_key":%q}}`, subnet, id, key.PublicKey())
	a := await(w, "Vpcs/GetAttachment", subnet+"/attachments/"+id, func(a *causewayv1.Attachment) bool { return a.GetState() == causewayv1.Attachment_AVAILABLE })
	return a, w.connect(host, key, a.GetIpAddress(), a.GetGateway())
}

// join makes a VPN connection of a site and connects host by its first tunnel, holding address.
func (w *world) join(host *lab.Host, vpc, id, address, routes string, key wgtypes.Key) (*causewayv1.VpnConnection, *lab.WireGuard) {
	w.t.Helper()
	w.call("VpnConnections/CreateCustomerGateway", `{"customer_gateway_id":%q,"customer_gateway":{"public_key":%q}}`, id, key.PublicKey())
	w.call("VpnConnections/CreateVpnConnection", `{"vpn_connection_id":%q,"vpn_connection":{"vpc":%q,"customer_gateway":"customerGateways/%s","static_routes":[%q]}}`, id, vpc, id, routes)
	v := await(w, "VpnConnections/GetVpnConnection", "vpnConnections/"+id, func(v *causewayv1.VpnConnection) bool {
		return v.GetState() == causewayv1.VpnConnection_AVAILABLE
	})
	return v, w.connect(host, key, address, v.GetTunnels()[0].GetGateway())
}

// connect starts a stock client with what the API said and waits for its tunnel.
func (w *world) connect(host *lab.Host, key wgtypes.Key, address string, gateway *causewayv1.WireGuardGateway) *lab.WireGuard {
	w.t.Helper()
	public, err := wgtypes.ParseKey(gateway.GetPublicKey())
	if err != nil {
		w.t.Fatalf("read the gateway's public key: %v", err)
	}
	peer := lab.WireGuardPeer{PublicKey: public, Endpoint: gateway.GetEndpoint(), Keepalive: 5 * time.Second}
	for _, prefix := range gateway.GetAllowedIps() {
		peer.AllowedIPs = append(peer.AllowedIPs, netip.MustParsePrefix(prefix))
	}
	wg := host.WireGuard(lab.WireGuardConfig{
		PrivateKey: key,
		Addresses:  []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr(address), 32)},
		Peers:      []lab.WireGuardPeer{peer},
	})
	wg.WaitHandshake(public, patience)
	return wg
}

// publish makes a service of the VPC with a listener on port, whose targets listen on targetPort.
func (w *world) publish(vpc, id string, port, targetPort int, targets ...string) {
	w.t.Helper()
	w.balance(vpc, id, port, targetPort, targets...)
	w.call("EndpointServices/CreateEndpointService", `{"endpoint_service_id":%q,"endpoint_service":{"load_balancers":["loadBalancers/%s"]}}`, id, id)
	await(w, "LoadBalancers/GetTargetGroup", "targetGroups/"+id, func(g *causewayv1.TargetGroup) bool { return g.GetState() == causewayv1.TargetGroup_AVAILABLE })
}

// balance makes a load balancer of the VPC with a listener on port, whose targets listen on targetPort.
func (w *world) balance(vpc, id string, port, targetPort int, targets ...string) {
	w.t.Helper()
	list := make([]string, len(targets))
	for i, target := range targets {
		list[i] = fmt.Sprintf(`{"ip_address":%q}`, target)
	}
	w.call("LoadBalancers/CreateTargetGroup", `{"target_group_id":%q,"target_group":{"vpc":%q,"port":%d,"health_check":{"interval":"5s","timeout":"2s"}}}`, id, vpc, targetPort)
	w.call("LoadBalancers/RegisterTargets", `{"name":"targetGroups/%s","targets":[%s]}`, id, strings.Join(list, ","))
	w.call("LoadBalancers/CreateLoadBalancer", `{"load_balancer_id":%q,"load_balancer":{"subnets":["%s/subnets/a","%s/subnets/b"]}}`, id, vpc, vpc)
	w.call("LoadBalancers/CreateListener", `{"parent":"loadBalancers/%s","listener":{"port":%d,"protocol":"TCP","target_group":"targetGroups/%s"}}`, id, port, id)
}

// endpoint makes an endpoint for a service in subnet a of the VPC and returns its address. fields,
// if any, are more fields of the endpoint in JSON.
func (w *world) endpoint(vpc, id, service string, fields ...string) string {
	w.t.Helper()
	more := strings.Join(append([]string{""}, fields...), ",")
	w.call("Endpoints/CreateEndpoint", `{"parent":%q,"endpoint_id":%q,"endpoint":{"service_name":%q,"subnets":["%s/subnets/a"]%s}}`, vpc, id, service, vpc, more)
	return w.endpointIPs(vpc + "/endpoints/" + id)[0]
}

// endpointIPs waits until an endpoint is available and returns its addresses, by zone.
func (w *world) endpointIPs(name string) []string {
	w.t.Helper()
	e := await(w, "Endpoints/GetEndpoint", name, func(e *causewayv1.Endpoint) bool { return e.GetState() == causewayv1.Endpoint_AVAILABLE })
	var addrs []string
	for _, ni := range e.GetNetworkInterfaces() {
		addrs = append(addrs, ni.GetIpAddress())
	}
	return addrs
}

// curl fetches a URL inside a host with curl; seconds bounds the whole attempt.
func (w *world) curl(h *lab.Host, url string, seconds int) (string, error) {
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	return h.Output(ctx, "curl", "-sS", "--fail", "--max-time", fmt.Sprint(seconds), url)
}

// fetch fetches a URL that must answer with want.
func (w *world) fetch(h *lab.Host, url, want string) {
	w.t.Helper()
	got, err := w.curl(h, url, 10)
	if err != nil || strings.TrimSpace(got) != want {
		w.t.Fatalf("curl %s in %s: got %q, %v; want %q", url, h.Name, got, err, want)
	}
}
