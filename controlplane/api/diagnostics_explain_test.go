package api

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"

	"causeway/controlplane/apierr"
	"causeway/gateway/spec"
	pb "causeway/proto/causeway/v1"
)

// fakeExplainer gives an answer and keeps the question.
type fakeExplainer struct {
	asked  *spec.Question
	answer spec.Explanation
}

func (f *fakeExplainer) Explain(q spec.Question) spec.Explanation {
	f.asked = &q
	return f.answer
}

// TestExplainAsksTheGateway names source and destination in every way.
func TestExplainAsksTheGateway(t *testing.T) {
	s := newShop(t)
	s.offer("a", "b")
	endpoint, err := s.endpoint("orders", "a", "b")
	must(t, err)
	attachment := s.attachment(&pb.Subnet{Name: s.full("vpcs/prod/subnets/b")}, "app")
	gateway, err := s.vpns().CreateCustomerGateway(s.ctx, &pb.CreateCustomerGatewayRequest{CustomerGatewayId: "site", CustomerGateway: &pb.CustomerGateway{PublicKey: newKey()}})
	must(t, err)
	vpn, err := s.vpns().CreateVpnConnection(s.ctx, &pb.CreateVpnConnectionRequest{VpnConnectionId: "site", VpnConnection: &pb.VpnConnection{
		Vpc: "vpcs/prod", CustomerGateway: gateway.GetName(), StaticRoutes: []string{"192.168.7.0/24"}}})
	must(t, err)
	first, second := endpoint.GetNetworkInterfaces()[0].GetIpAddress(), endpoint.GetNetworkInterfaces()[1].GetIpAddress()
	for name, tt := range map[string]struct {
		request          *pb.ExplainRequest
		source, to, host string
	}{
		"attachment to endpoint": {
			&pb.ExplainRequest{Source: attachment.GetName(), Destination: "vpcs/prod/endpoints/orders", Port: 443, SourcePort: 40000, ServerName: "Orders.Example.com"},
			attachment.GetIpAddress() + ":40000", second + ":443", "",
		},
		"uids":          {&pb.ExplainRequest{Source: attachment.GetUid(), Destination: endpoint.GetUid(), Port: 443}, attachment.GetIpAddress() + ":0", second + ":443", ""},
		"site":          {&pb.ExplainRequest{Source: "vpnConnections/site", Destination: endpoint.GetUid(), Port: 443}, "192.168.7.1:0", first + ":443", ""},
		"host of site":  {&pb.ExplainRequest{Source: vpn.GetUid(), SourceIpAddress: "192.168.7.9", Destination: endpoint.GetUid(), Port: 443}, "192.168.7.9:0", first + ":443", ""},
		"VPC, address":  {&pb.ExplainRequest{Vpc: "vpcs/prod", SourceIpAddress: "10.0.9.9", Destination: "10.0.1.99", Port: 80}, "10.0.9.9:0", "10.0.1.99:80", ""},
		"domain name":   {&pb.ExplainRequest{Source: attachment.GetName(), Destination: "Orders.Example.COM.", Port: 443}, attachment.GetIpAddress() + ":0", "", "orders.example.com"},
		"underscore":    {&pb.ExplainRequest{Source: attachment.GetName(), Destination: "_x.example.com", Port: 443}, attachment.GetIpAddress() + ":0", "", "_x.example.com"},
		"endpoint's IP": {&pb.ExplainRequest{Source: attachment.GetName(), Destination: first, Port: 443}, attachment.GetIpAddress() + ":0", first + ":443", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s.explainer = fakeExplainer{answer: spec.Explanation{Allowed: true, Destination: netip.MustParseAddrPort("10.0.7.7:443"), Checks: []spec.Check{
				{Name: "network_acl_in", Verdict: spec.Pass, Detail: "rule 100 allows", Object: s.full("vpcs/prod/networkAcls/web")},
				{Name: "target", Verdict: spec.Pass, Detail: "192.168.7.10:8080", Object: "accounts/someone/targetGroups/orders"},
				{Name: "zone_budget", Verdict: spec.Skip, Detail: "0 of 10000 Mbit/s"},
			}}}
			got, err := s.diagnostics().Explain(s.ctx, tt.request)
			must(t, err)
			want := spec.Question{Domain: s.full("vpcs/prod"), Source: netip.MustParseAddrPort(tt.source), Name: tt.host}
			want.Destination = netip.AddrPortFrom(netip.Addr{}, uint16(tt.request.GetPort()))
			if tt.to != "" {
				want.Destination = netip.MustParseAddrPort(tt.to)
			}
			if tt.request.GetServerName() != "" {
				want.ServerName = "orders.example.com"
			}
			if *s.explainer.asked != want {
				t.Errorf("asked %+v, want %+v", *s.explainer.asked, want)
			}
			checks := got.GetChecks()
			last := checks[len(checks)-3:]
			shown := []*pb.Check{
				{Name: "network_acl_in", Verdict: pb.Check_PASS, Detail: "rule 100 allows", Object: s.full("vpcs/prod/networkAcls/web")},
				{Name: "target", Verdict: pb.Check_PASS},
				{Name: "zone_budget", Verdict: pb.Check_SKIP, Detail: "0 of 10000 Mbit/s"},
			}
			if diff := cmp.Diff(shown, last, protocmp.Transform()); diff != "" {
				t.Errorf("checks (-want +got):\n%s", diff)
			}
			if !got.GetAllowed() || got.GetVpc() != want.Domain || got.GetSourceIpAddress() != want.Source.Addr().String() || got.GetDestinationIpAddress() != "10.0.7.7" {
				t.Errorf("answer %v", got)
			}
		})
	}
}

// TestExplainShowsTheOperatorEverything and the code of each reason.
func TestExplainShowsTheOperatorEverything(t *testing.T) {
	l := newLab(t)
	l.vpc(l.a, "prod", "10.0.0.0/16")
	foreign := "accounts/someone/targetGroups/orders"
	l.explainer.answer = spec.Explanation{Checks: []spec.Check{{Name: "target_path", Verdict: spec.Deny, Reason: "refused_targets_failed", Detail: "nobody holds it", Object: foreign}}}
	req := &pb.ExplainRequest{Vpc: "accounts/" + l.a + "/vpcs/prod", SourceIpAddress: "10.0.0.9", Destination: "10.0.0.10", Port: 1}
	want := &pb.Check{Name: "target_path", Verdict: pb.Check_DENY, Reason: "refused_targets_failed", ReasonCode: "TARGET_UNREACHABLE"}
	got, err := l.diagnostics().Explain(l.as(l.a), req)
	must(t, err)
	if diff := cmp.Diff([]*pb.Check{want}, got.GetChecks(), protocmp.Transform()); diff != "" {
		t.Errorf("the consumer is shown (-want +got):\n%s", diff)
	}
	got, err = l.diagnostics().Explain(l.operator(), req)
	must(t, err)
	want.Detail, want.Object = "nobody holds it", foreign
	if diff := cmp.Diff([]*pb.Check{want}, got.GetChecks(), protocmp.Transform()); diff != "" {
		t.Errorf("the operator is shown (-want +got):\n%s", diff)
	}
}

// TestExplainWhatNeverReachesAGateway asks about endpoints that are out of use or out of sight.
func TestExplainWhatNeverReachesAGateway(t *testing.T) {
	s := newShop(t)
	s.offer("a")
	_, err := s.svc.UpdateEndpointService(s.ctx, &pb.UpdateEndpointServiceRequest{EndpointService: &pb.EndpointService{
		Name: "endpointServices/orders", AcceptanceRequired: new(true)}})
	must(t, err)
	endpoint, err := s.endpoint("orders", "a")
	must(t, err)
	explain := func(vpc, address string) *pb.ExplainResponse {
		t.Helper()
		s.explainer = fakeExplainer{answer: spec.Explanation{Allowed: true}}
		resp, err := s.diagnostics().Explain(s.ctx, &pb.ExplainRequest{Vpc: vpc, SourceIpAddress: address, Destination: endpoint.GetName(), Port: 443})
		must(t, err)
		return resp
	}
	want := func(resp *pb.ExplainResponse, check string, verdict pb.Check_Verdict, code string) {
		t.Helper()
		last := resp.GetChecks()[len(resp.GetChecks())-1]
		if last.GetName() != check || last.GetVerdict() != verdict || last.GetReasonCode() != code || last.GetDetail() == "" {
			t.Errorf("the last check is %v, want %s %v %s", last, check, verdict, code)
		}
		if allowed := verdict != pb.Check_DENY; resp.GetAllowed() != allowed || (s.explainer.asked != nil) != allowed {
			t.Errorf("allowed %v, the gateway was asked %v", resp.GetAllowed(), s.explainer.asked)
		}
	}
	want(explain("vpcs/prod", "10.0.1.9"), "endpoint_acceptance", pb.Check_DENY, "EP_NOT_ACCEPTED")
	_, err = s.svc.RejectConnections(s.ctx, &pb.RejectConnectionsRequest{Name: "endpointServices/orders", Endpoints: []string{endpoint.GetUid()}})
	must(t, err)
	want(explain("vpcs/prod", "10.0.1.9"), "endpoint_acceptance", pb.Check_DENY, "EP_REJECTED")
	_, err = s.svc.AcceptConnections(s.ctx, &pb.AcceptConnectionsRequest{Name: "endpointServices/orders", Endpoints: []string{endpoint.GetUid()}})
	must(t, err)
	want(explain("vpcs/prod", "10.0.1.9"), "peering", pb.Check_SKIP, "")

	want(explain("vpcs/partner", "10.1.1.9"), "peering", pb.Check_DENY, "NO_ROUTE_TO_DESTINATION")
	peering, err := s.peerings().CreatePeering(s.ctx, &pb.CreatePeeringRequest{PeeringId: "p", Peering: &pb.Peering{Vpc: "vpcs/prod", PeerVpc: "vpcs/partner"}})
	must(t, err)
	if peering.GetState() != pb.Peering_ACTIVE {
		want(explain("vpcs/partner", "10.1.1.9"), "peering", pb.Check_DENY, "PCX_NOT_ACTIVE")
		_, err = s.peerings().AcceptPeering(s.ctx, &pb.AcceptPeeringRequest{Name: "peerings/p"})
		must(t, err)
	}
	want(explain("vpcs/partner", "10.1.1.9"), "peering", pb.Check_PASS, "")
}

func TestExplainRefusesBadQuestions(t *testing.T) {
	s := newShop(t)
	s.offer("a")
	endpoint, err := s.endpoint("orders", "a")
	must(t, err)
	attachment := s.attachment(&pb.Subnet{Name: s.full("vpcs/prod/subnets/a")}, "app")
	l := s.lab
	theirs := l.vpc(l.b, "theirs", "10.0.0.0/16")
	good := func(change func(*pb.ExplainRequest)) *pb.ExplainRequest {
		r := &pb.ExplainRequest{Source: attachment.GetName(), Destination: endpoint.GetName(), Port: 443}
		change(r)
		return r
	}
	for field, req := range map[string]*pb.ExplainRequest{
		"source":            good(func(r *pb.ExplainRequest) { r.Source = "" }),
		"vpc":               good(func(r *pb.ExplainRequest) { r.Vpc = "vpcs/prod" }),
		"source_ip_address": good(func(r *pb.ExplainRequest) { r.Source, r.Vpc = "", "vpcs/prod" }),
		"destination":       good(func(r *pb.ExplainRequest) { r.Destination = "10.0.1" }),
		"port":              good(func(r *pb.ExplainRequest) { r.Port = 65536 }),
		"source_port":       good(func(r *pb.ExplainRequest) { r.SourcePort = -1 }),
		"server_name":       good(func(r *pb.ExplainRequest) { r.ServerName = "a b" }),
	} {
		_, err := s.diagnostics().Explain(s.ctx, req)
		wantField(t, err, field)
	}
	for _, text := range []string{"10.0.1.300", "::1", "10.0.1.9/32", "10.0.1.77"} { // the last is not the attachment's
		_, err := s.diagnostics().Explain(s.ctx, good(func(r *pb.ExplainRequest) { r.SourceIpAddress = text }))
		wantField(t, err, "source_ip_address")
	}
	for reason, req := range map[string]*pb.ExplainRequest{
		"VPC_NOT_FOUND":        good(func(r *pb.ExplainRequest) { r.Source, r.Vpc, r.SourceIpAddress = "", theirs.GetName(), "10.0.0.9" }),
		"ATTACHMENT_NOT_FOUND": good(func(r *pb.ExplainRequest) { r.Source = "vpcs/prod/subnets/a/attachments/none" }),
		"SOURCE_NOT_FOUND":     good(func(r *pb.ExplainRequest) { r.Source = theirs.GetUid() }),
		"ENDPOINT_NOT_FOUND":   good(func(r *pb.ExplainRequest) { r.Destination = theirs.GetName() + "/endpoints/e" }),
	} {
		_, err := s.diagnostics().Explain(s.ctx, req)
		wantError(t, err, codes.NotFound, reason)
	}
	_, err = (&diagnostics{kernel: s.api.kernel}).Explain(WithCaller(t.Context(), Caller{Account: s.a}), good(func(*pb.ExplainRequest) {}))
	wantError(t, err, codes.Unavailable, apierr.ReasonNotReady)
}
