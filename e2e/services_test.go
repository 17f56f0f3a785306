package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"causeway/e2e/jsonapi"
	"causeway/e2e/lab"
	causewayv1 "causeway/proto/causeway/v1"
)

// tenant makes an account and gives the world as its administrator has it: over TLS, with a token.
func (w *world) tenant(id string) *world {
	w.t.Helper()
	w.call("Accounts/CreateAccount", `{"account_id":%q,"account":{}}`, id)
	token := w.call("Accounts/CreateToken", `{"parent":"accounts/%s","token_id":"admin","token":{"role":"ADMIN"}}`, id).(*causewayv1.Token)
	ca, err := os.ReadFile(filepath.Join(w.Dir(), "data", "tls", "ca.crt"))
	if err != nil {
		w.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	own := *w
	own.api, err = jsonapi.DialTLS(tlsListen, credentials.NewTLS(&tls.Config{RootCAs: roots, ServerName: "localhost"}), token.GetSecret(),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return w.gateway.Dial(ctx, "tcp", address)
		}))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = own.api.Close() })
	return &own
}

// refused calls a method that must fail with a code and say all texts.
func (w *world) refused(code codes.Code, texts []string, method, request string, args ...any) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	_, err := w.api.Call(ctx, method, fmt.Sprintf(request, args...))
	if status.Code(err) != code {
		w.t.Fatalf("%s gives %v, want %v", method, err, code)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			w.t.Errorf("%s gives %v, want it to say %q", method, err, text)
		}
	}
}

// trade is a provider with service orders, which echoes on port 7000, and a consumer with a workload.
type trade struct {
	*world
	provider, consumer *world
	workload           *lab.Host
	service            *causewayv1.EndpointService
}

func newTrade(t *testing.T) *trade {
	t.Helper()
	w := newWorld(t, settings{})
	s := &trade{world: w, provider: w.tenant("provider"), consumer: w.tenant("consumer"), workload: w.client("workload")}
	listener, err := w.underlay.Listen(w.Context(), "tcp", w.underlayAddr.String()+":9000")
	if err != nil {
		t.Fatal(err)
	}
	echo(t, listener)
	s.provider.vpc("partner", "10.0.0.0/16")
	s.provider.publish("vpcs/partner", "orders", 7000, 9000, w.underlayAddr.String())
	s.service = s.provider.call("EndpointServices/GetEndpointService", `{"name":"endpointServices/orders"}`).(*causewayv1.EndpointService)
	s.consumer.vpc("prod", "10.0.0.0/16")
	s.consumer.attach(s.workload, "vpcs/prod/subnets/a", "app")
	return s
}

// echo answers every connection with what it says until the test ends.
func echo(t *testing.T, listener net.Listener) {
	t.Helper()
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 1<<10)
				for {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					if _, err := c.Write(buf[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
}

// request makes an endpoint of the consumer, which may wait for acceptance.
func (s *trade) request(id string) *causewayv1.Endpoint {
	s.t.Helper()
	return s.consumer.call("Endpoints/CreateEndpoint", s.wish(id)).(*causewayv1.Endpoint)
}

func (s *trade) wish(id string) string {
	return fmt.Sprintf(`{"parent":"vpcs/prod","endpoint_id":%q,"endpoint":{"service_name":%q,"subnets":["vpcs/prod/subnets/a"]}}`, id, s.service.GetServiceName())
}

// dial opens a flow through an endpoint of the consumer.
func (s *trade) dial(address string, within time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.Context(), within)
	defer cancel()
	return s.workload.Dial(ctx, "tcp", address+":7000")
}

// flow opens one that must work.
func (s *trade) flow(address string) net.Conn {
	s.t.Helper()
	c, err := s.dial(address, patience)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	if err := says(c); err != nil {
		s.t.Fatalf("new flow: %v", err)
	}
	return c
}

// says asks a flow for an echo.
func says(c net.Conn) error {
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	_, err := c.Read(make([]byte, 1))
	return err
}

// closed waits until no new flow gets through an endpoint, which the gateway is told of a moment after
// the API has answered.
func (s *trade) closed(address string) {
	s.t.Helper()
	s.Eventually(patience, "the end of new flows through "+address, func() error {
		c, err := s.dial(address, time.Second)
		if err != nil {
			return nil
		}
		_ = c.Close()
		return errors.New("a new flow is accepted")
	})
}

// awaitState waits for a state of an endpoint of the consumer.
func (s *trade) awaitState(id string, state causewayv1.Endpoint_State) *causewayv1.Endpoint {
	s.t.Helper()
	return await(s.consumer, "Endpoints/GetEndpoint", "vpcs/prod/endpoints/"+id, func(e *causewayv1.Endpoint) bool { return e.GetState() == state })
}

// TestAcceptance has a consumer that is let in, waits, is accepted and stands in the way of the
// service's deletion.
func TestAcceptance(t *testing.T) {
	s := newTrade(t)
	s.provider.call("EndpointServices/UpdateEndpointService", `{"endpoint_service":{"name":"endpointServices/orders","acceptance_required":true}}`)
	s.consumer.refused(codes.NotFound, []string{s.service.GetServiceName()}, "Endpoints/CreateEndpoint", "%s", s.wish("orders"))
	s.provider.call("EndpointServices/AddPrincipals", `{"name":"endpointServices/orders","principals":["accounts/consumer"]}`)
	e := s.request("orders")
	if e.GetState() != causewayv1.Endpoint_PENDING_ACCEPTANCE {
		t.Fatalf("new endpoint is %v", e.GetState())
	}
	address := e.GetNetworkInterfaces()[0].GetIpAddress()
	s.closed(address)

	listed := s.provider.call("EndpointServices/ListConnections", `{"name":"endpointServices/orders"}`).(*causewayv1.ListConnectionsResponse).GetConnections()
	if len(listed) != 1 || listed[0].GetEndpoint() != e.GetUid() || listed[0].GetAccount() != "accounts/consumer" {
		t.Fatalf("the provider sees %v", listed)
	}
	s.provider.call("EndpointServices/AcceptConnections", `{"name":"endpointServices/orders","endpoints":[%q]}`, e.GetUid())
	s.awaitState("orders", causewayv1.Endpoint_AVAILABLE)
	s.flow(address)

	s.provider.refused(codes.FailedPrecondition, []string{e.GetUid()}, "EndpointServices/DeleteEndpointService", `{"name":"endpointServices/orders"}`)
	s.consumer.call("Endpoints/DeleteEndpoint", `{"name":"vpcs/prod/endpoints/orders"}`)
	s.provider.call("EndpointServices/DeleteEndpointService", `{"name":"endpointServices/orders"}`)
}

// TestMarketplace has a consumer that finds a service, subscribes to it, uses it and leaves.
func TestMarketplace(t *testing.T) {
	s := newTrade(t)
	s.provider.call("LoadBalancers/CreateLoadBalancer", `{"load_balancer_id":"sold","load_balancer":{"subnets":["vpcs/partner/subnets/a"]}}`)
	s.provider.call("LoadBalancers/CreateListener", `{"parent":"loadBalancers/sold","listener":{"port":7000,"protocol":"TCP","target_group":"targetGroups/orders"}}`)
	s.provider.call("EndpointServices/CreateEndpointService", `{"endpoint_service_id":"sold","endpoint_service":{"load_balancers":["loadBalancers/sold"],
		"offering":"MARKETPLACE","listing":{"title":"Orders for everybody","categories":["data"],"approval_required":true}}}`)
	listings := s.consumer.call("EndpointServices/ListListings", `{}`).(*causewayv1.ListListingsResponse).GetListings()
	if len(listings) != 1 || listings[0].GetListing().GetTitle() != "Orders for everybody" || listings[0].GetProvider() != "accounts/provider" {
		t.Fatalf("the consumer finds %v", listings)
	}
	s.service = &causewayv1.EndpointService{ServiceName: listings[0].GetServiceName()}

	s.consumer.call("Subscriptions/CreateSubscription", `{"subscription_id":"orders","subscription":{"service_name":%q}}`, s.service.GetServiceName())
	s.consumer.refused(codes.NotFound, nil, "Endpoints/CreateEndpoint", "%s", s.wish("orders"))
	s.provider.call("EndpointServices/ApproveSubscribers", `{"name":"endpointServices/sold","subscribers":["accounts/consumer"]}`)
	s.request("orders")
	address := s.awaitState("orders", causewayv1.Endpoint_AVAILABLE).GetNetworkInterfaces()[0].GetIpAddress()
	s.flow(address)

	s.consumer.refused(codes.FailedPrecondition, []string{"vpcs/prod/endpoints/orders"}, "Subscriptions/DeleteSubscription", `{"name":"subscriptions/orders"}`)
	s.consumer.call("Endpoints/DeleteEndpoint", `{"name":"vpcs/prod/endpoints/orders"}`)
	s.consumer.call("Subscriptions/DeleteSubscription", `{"name":"subscriptions/orders"}`)
	s.consumer.refused(codes.NotFound, nil, "Endpoints/CreateEndpoint", "%s", s.wish("again"))
}

// TestCrossZoneEndpoint has an endpoint in a zone that the service lacks: refused in AWS's words, and
// served from the service's own zone where the consumer wants that.
func TestCrossZoneEndpoint(t *testing.T) {
	s := newTrade(t)
	s.provider.call("LoadBalancers/CreateLoadBalancer", `{"load_balancer_id":"narrow","load_balancer":{"subnets":["vpcs/partner/subnets/a"]}}`)
	s.provider.call("LoadBalancers/CreateListener", `{"parent":"loadBalancers/narrow","listener":{"port":7000,"protocol":"TCP","target_group":"targetGroups/orders"}}`)
	s.service = s.provider.call("EndpointServices/CreateEndpointService", `{"endpoint_service_id":"narrow","endpoint_service":{"load_balancers":["loadBalancers/narrow"]}}`).(*causewayv1.EndpointService)
	s.provider.call("EndpointServices/AddPrincipals", `{"name":"endpointServices/narrow","principals":["accounts/consumer"]}`)
	wish := func(cross bool) string {
		return fmt.Sprintf(`{"parent":"vpcs/prod","endpoint_id":"orders","endpoint":{"service_name":%q,"cross_zone":%v,
			"subnets":["vpcs/prod/subnets/a","vpcs/prod/subnets/b"]}}`, s.service.GetServiceName(), cross)
	}
	b := s.consumer.call("Vpcs/GetSubnet", `{"name":"vpcs/prod/subnets/b"}`).(*causewayv1.Subnet)
	s.consumer.refused(codes.InvalidArgument, []string{
		"The VPC endpoint service " + s.service.GetServiceName() + " does not support the availability zone of the subnet: " + b.GetUid(),
	}, "Endpoints/CreateEndpoint", "%s", wish(false))
	s.consumer.call("Endpoints/CreateEndpoint", "%s", wish(true))
	for n, eni := range s.awaitState("orders", causewayv1.Endpoint_AVAILABLE).GetNetworkInterfaces() {
		if eni.GetCrossZone() != (n == 1) {
			t.Errorf("interface in %s: served from another zone is %v", eni.GetAvailabilityZone(), eni.GetCrossZone())
		}
		s.flow(eni.GetIpAddress())
	}
}
