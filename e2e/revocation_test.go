package e2e

import (
	"fmt"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	causewayv1 "causeway/proto/causeway/v1"
)

const (
	// cutWithin is how long a connection lives at most after the call that cuts it was answered.
	cutWithin = 100 * time.Millisecond
	// drainWithin is how far from its deadline a connection that drains may end.
	drainWithin = 500 * time.Millisecond
)

// TestRevocation rejects endpoints with live connections in each of the three ways. None of them lets
// new connections in.
func TestRevocation(t *testing.T) {
	s := newTrade(t)
	s.provider.call("EndpointServices/AddPrincipals", `{"name":"endpointServices/orders","principals":["accounts/consumer"]}`)

	keep, flow := s.used("keep")
	s.reject(keep, `{"mode":"KEEP"}`)
	if end := s.awaitState("keep", causewayv1.Endpoint_REJECTED).GetDisconnectTime(); end != nil {
		t.Errorf("kept connections are to end at %v", end.AsTime())
	}
	s.closed(address(keep))
	kept := flow

	drain, flow := s.used("drain")
	ended := endOf(flow)
	s.reject(drain, `{"mode":"DRAIN","drain_duration":"3s"}`)
	end := s.awaitState("drain", causewayv1.Endpoint_REJECTED).GetDisconnectTime().AsTime()
	s.closed(address(drain))
	if late := (<-ended).Sub(end); late.Abs() > drainWithin {
		t.Errorf("a draining connection ends %v after its deadline", late)
	}

	cut, flow := s.used("cut")
	ended = endOf(flow)
	s.reject(cut, `{"mode":"CUT"}`)
	answered := time.Now()
	took := (<-ended).Sub(answered)
	t.Logf("cut %v after the answer", took)
	if took > cutWithin {
		t.Errorf("a connection lives on for %v after it was cut, want at most %v", took, cutWithin)
	}
	s.closed(address(cut))

	if err := says(kept); err != nil {
		t.Errorf("a kept connection does not live on: %v", err)
	}
	await(s.world, "Gateways/GetGateway", "gateways/local", func(g *causewayv1.Gateway) bool { return g.GetState() == causewayv1.Gateway_AVAILABLE })
}

// TestForcedDeletion deletes a service under a live connection, which may end by itself.
func TestForcedDeletion(t *testing.T) {
	s := newTrade(t)
	s.provider.call("EndpointServices/AddPrincipals", `{"name":"endpointServices/orders","principals":["accounts/consumer"]}`)
	e, flow := s.used("orders")
	s.provider.refused(codes.FailedPrecondition, []string{e.GetUid()}, "EndpointServices/DeleteEndpointService", `{"name":"endpointServices/orders"}`)
	s.provider.call("EndpointServices/DeleteEndpointService", `{"name":"endpointServices/orders","force":true,"revocation":{"mode":"KEEP"}}`)
	s.awaitState("orders", causewayv1.Endpoint_REJECTED)
	s.closed(address(e))
	s.Eventually(patience, "the service to be gone", func() error {
		_, err := s.provider.api.Call(s.Context(), "EndpointServices/GetEndpointService", `{"name":"endpointServices/orders"}`)
		if status.Code(err) == codes.NotFound {
			return nil
		}
		return fmt.Errorf("it is there: %w", err)
	})
	if err := says(flow); err != nil {
		t.Errorf("a kept connection does not outlive the service: %v", err)
	}
	s.consumer.call("Endpoints/DeleteEndpoint", `{"name":"vpcs/prod/endpoints/orders"}`)
}

// used makes an endpoint with a live connection.
func (s *trade) used(id string) (*causewayv1.Endpoint, net.Conn) {
	s.t.Helper()
	s.request(id)
	e := s.awaitState(id, causewayv1.Endpoint_AVAILABLE)
	return e, s.flow(address(e))
}

func address(e *causewayv1.Endpoint) string { return e.GetNetworkInterfaces()[0].GetIpAddress() }

func (s *trade) reject(e *causewayv1.Endpoint, revocation string) {
	s.t.Helper()
	s.provider.call("EndpointServices/RejectConnections", `{"name":"endpointServices/orders","endpoints":[%q],"revocation":%s}`, e.GetUid(), revocation)
}

// endOf tells when a connection on which nobody speaks ends.
func endOf(c net.Conn) <-chan time.Time {
	ended := make(chan time.Time, 1)
	_ = c.SetDeadline(time.Now().Add(patience))
	go func() {
		_, _ = c.Read(make([]byte, 1))
		ended <- time.Now()
	}()
	return ended
}
