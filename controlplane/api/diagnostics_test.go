package api

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"causeway/gateway/spec"
	pb "causeway/proto/causeway/v1"
)

// fakeFlows are connections of which a test decides. The zero value is ready.
type fakeFlows struct {
	live []spec.FlowRecord

	mu       sync.Mutex
	watchers map[chan *spec.FlowRecord]func(*spec.FlowRecord) bool
}

func (f *fakeFlows) Flows(match func(*spec.FlowRecord) bool, after uint64, limit int) (list []spec.FlowRecord) {
	for _, r := range f.live {
		if r.ID > after && len(list) < limit && match(&r) {
			list = append(list, r)
		}
	}
	return list
}

func (f *fakeFlows) WatchFlows(match func(*spec.FlowRecord) bool, buffer int) (<-chan *spec.FlowRecord, func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watchers == nil {
		f.watchers = map[chan *spec.FlowRecord]func(*spec.FlowRecord) bool{}
	}
	records := make(chan *spec.FlowRecord, buffer)
	f.watchers[records] = match
	return records, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watchers, records)
	}
}

func (f *fakeFlows) end(r spec.FlowRecord) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for records, match := range f.watchers {
		if match(&r) {
			records <- &r
		}
	}
}

// fallBehind ends all watches as a gateway does with those that are too slow.
func (f *fakeFlows) fallBehind() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for records := range f.watchers {
		close(records)
		delete(f.watchers, records)
	}
}

func (l *lab) diagnostics() pb.DiagnosticsClient { return pb.NewDiagnosticsClient(l.conn) }

// threeParties is a connection from a's VPC, over a peering, to an endpoint of b's for a service of a third account.
func (l *lab) threeParties(id uint64) (r spec.FlowRecord, provider string) {
	provider = l.a + "-provider"
	return spec.FlowRecord{
		ID: id, Protocol: 6, Domain: "accounts/" + l.a + "/vpcs/prod", Consumer: netip.MustParseAddrPort("10.0.1.4:40000"),
		Exposure: netip.MustParseAddrPort("10.8.1.9:443"), Peer: "accounts/" + l.a + "/vpcs/prod/subnets/a/attachments/app",
		Endpoint: "accounts/" + l.b + "/vpcs/shared/endpoints/orders", EndpointUID: "vpce-00000000000000001", Interface: "eni-00000000000000001",
		Zone: "us-east-1a", Via: "accounts/" + l.b + "/peerings/p", Service: "accounts/" + provider + "/endpointServices/orders",
		Statement: "#1", ServerName: "orders.example.com", Target: netip.MustParseAddrPort("192.168.7.10:8080"),
		TargetGroup: "accounts/" + provider + "/targetGroups/orders", IngressBytes: 10, EgressBytes: 20,
		Start: time.Unix(100, 0), End: time.Unix(160, 0), Reason: "completed",
	}, provider
}

// TestEachPartySeesItsSideOfAFlow compares all that each account is shown of one connection.
func TestEachPartySeesItsSideOfAFlow(t *testing.T) {
	l := newLab(t)
	r, provider := l.threeParties(7)
	other := l.a + "-other"
	for _, id := range []string{provider, other} {
		_, err := l.accounts().CreateAccount(l.operator(), &pb.CreateAccountRequest{AccountId: id, Account: &pb.Account{}})
		must(t, err)
	}
	l.flows.live = []spec.FlowRecord{r}
	everybodys := &pb.Flow{
		Number: 7, Protocol: 6, DestinationPort: 443, EndpointUid: r.EndpointUID, AvailabilityZone: r.Zone, ServerName: r.ServerName,
		IngressBytes: 10, EgressBytes: 20, StartTime: timestamppb.New(r.Start), EndTime: timestamppb.New(r.End), EndReason: "completed",
	}
	way := &pb.Flow{
		Vpc: r.Domain, Peering: r.Via, NetworkInterface: r.Interface, SourceIpAddress: "10.0.1.4", SourcePort: 40000, DestinationIpAddress: "10.8.1.9",
		PolicyDecision: pb.Flow_ALLOW,
	}
	consumers := &pb.Flow{Peer: r.Peer}
	owners := &pb.Flow{Endpoint: r.Endpoint, PolicyStatement: "#1"}
	providers := &pb.Flow{EndpointService: r.Service, TargetGroup: r.TargetGroup, TargetIpAddress: "192.168.7.10", TargetPort: 8080}
	for name, tt := range map[string]struct {
		ctx    context.Context
		parent string
		shown  []*pb.Flow
	}{
		"consumer":       {l.as(l.a), "", []*pb.Flow{everybodys, way, consumers}},
		"endpoint owner": {l.as(l.b), "", []*pb.Flow{everybodys, way, owners}},
		"provider":       {l.as(provider), "accounts/" + provider, []*pb.Flow{everybodys, providers}},
		"operator":       {l.operator(), "accounts/" + l.a, []*pb.Flow{everybodys, way, consumers, owners, providers}},
		"all accounts":   {l.operator(), "accounts/-", []*pb.Flow{everybodys, way, consumers, owners, providers}},
		"nobody":         {l.as(other), "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := l.diagnostics().ListFlows(tt.ctx, &pb.ListFlowsRequest{Parent: tt.parent})
			must(t, err)
			want := &pb.ListFlowsResponse{}
			if tt.shown != nil {
				flow := &pb.Flow{}
				for _, part := range tt.shown {
					proto.Merge(flow, part)
				}
				want.Flows = []*pb.Flow{flow}
			}
			if diff := cmp.Diff(want, resp, protocmp.Transform()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestProviderSeesNoRefusalOfTheConsumersSide has a connection that never concerned the service.
func TestProviderSeesNoRefusalOfTheConsumersSide(t *testing.T) {
	l := newLab(t)
	r, provider := l.threeParties(1)
	_, err := l.accounts().CreateAccount(l.operator(), &pb.CreateAccountRequest{AccountId: provider, Account: &pb.Account{}})
	must(t, err)
	r.Service = ""
	l.flows.live = []spec.FlowRecord{r}
	resp, err := l.diagnostics().ListFlows(l.as(provider), &pb.ListFlowsRequest{})
	must(t, err)
	if len(resp.GetFlows()) != 0 {
		t.Errorf("shown %v", resp.GetFlows())
	}
}

func TestListFlowsFiltersAndPages(t *testing.T) {
	s := newShop(t)
	service := s.offer("a")
	endpoint, err := s.endpoint("orders", "a")
	must(t, err)
	for id := range uint64(6) {
		r, _ := s.threeParties(id + 1)
		if id%2 == 0 {
			r.Endpoint, r.Service = endpoint.GetName(), service.GetName()
		}
		s.flows.live = append(s.flows.live, r)
	}
	for _, filter := range []*pb.FlowFilter{
		{Vpc: "vpcs/prod", Endpoint: endpoint.GetUid()}, {EndpointService: "endpointServices/orders"}, {EndpointService: service.GetUid(), Endpoint: "vpcs/prod/endpoints/orders"},
	} {
		var seen []int64
		req := &pb.ListFlowsRequest{Filter: filter, PageSize: 2}
		for {
			resp, err := s.diagnostics().ListFlows(s.ctx, req)
			must(t, err)
			for _, f := range resp.GetFlows() {
				seen = append(seen, f.GetNumber())
			}
			if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
				break
			}
		}
		if fmt.Sprint(seen) != "[1 3 5]" {
			t.Errorf("%v selects %v", filter, seen)
		}
	}
	first, err := s.diagnostics().ListFlows(s.ctx, &pb.ListFlowsRequest{PageSize: 1})
	must(t, err)
	_, err = s.diagnostics().ListFlows(s.ctx, &pb.ListFlowsRequest{PageToken: first.GetNextPageToken(), Filter: &pb.FlowFilter{Vpc: "vpcs/prod"}})
	wantField(t, err, "page_token")
	_, err = s.diagnostics().ListFlows(s.ctx, &pb.ListFlowsRequest{Filter: &pb.FlowFilter{Endpoint: "vpcs/prod/endpoints/none"}})
	wantError(t, err, codes.NotFound, "ENDPOINT_NOT_FOUND")
}

func TestWatchFlows(t *testing.T) {
	l := newLab(t)
	ctx, cancel := context.WithCancel(l.as(l.a))
	defer cancel()
	stream, err := l.diagnostics().WatchFlows(ctx, &pb.WatchFlowsRequest{})
	must(t, err)
	_, err = stream.Header() // the watch has begun
	must(t, err)
	others, _ := l.threeParties(1)
	others.Domain, others.Endpoint = "accounts/other/vpcs/v", "accounts/other/vpcs/v/endpoints/e"
	l.flows.end(others)
	ours, _ := l.threeParties(2)
	l.flows.end(ours)
	got, err := stream.Recv()
	must(t, err)
	if f := got.GetFlow(); f.GetNumber() != 2 || f.GetEndReason() != "completed" || f.GetTargetIpAddress() != "" {
		t.Errorf("got %v", f)
	}
	l.flows.fallBehind()
	_, err = stream.Recv()
	wantError(t, err, codes.ResourceExhausted, reasonWatchTooSlow, "4096 records behind")
}

func TestWatchesAreLimitedPerAccount(t *testing.T) {
	l := newLab(t)
	open := func(account string) error {
		stream, err := l.diagnostics().WatchFlows(l.as(account), &pb.WatchFlowsRequest{})
		must(t, err)
		if _, err = stream.Header(); err == nil {
			return nil
		}
		_, err = stream.Recv()
		return err
	}
	for range maxWatches {
		must(t, open(l.a))
	}
	must(t, open(l.b))
	stream, err := l.diagnostics().WatchFlows(l.as(l.a), &pb.WatchFlowsRequest{})
	must(t, err)
	_, err = stream.Recv()
	wantError(t, err, codes.ResourceExhausted, reasonTooManyWatches, "16 watches")
	l.flows.fallBehind()
	deadline, tick := time.After(10*time.Second), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		stream, err := l.diagnostics().WatchFlows(l.as(l.a), &pb.WatchFlowsRequest{})
		must(t, err)
		if md, err := stream.Header(); err == nil && md.Len() > 0 {
			return
		}
		select {
		case <-deadline:
			t.Fatal("no watch is admitted after the others have ended")
		case <-tick.C:
		}
	}
}

func TestWatchFlowsRefusesWhatIsNotTheCallers(t *testing.T) {
	l := newLab(t)
	l.vpc(l.b, "theirs", "10.0.0.0/16")
	for _, req := range []*pb.WatchFlowsRequest{
		{Parent: "accounts/" + l.b}, {Parent: "accounts/none"}, {Filter: &pb.FlowFilter{Vpc: "accounts/" + l.b + "/vpcs/theirs"}},
	} {
		stream, err := l.diagnostics().WatchFlows(l.as(l.a), req)
		must(t, err)
		_, err = stream.Recv()
		if c := status.Code(err); c != codes.NotFound {
			t.Errorf("%v gives %v", req, err)
		}
	}
	for field, req := range map[string]*pb.WatchFlowsRequest{
		"filter.vpc": {Filter: &pb.FlowFilter{Vpc: "x y"}}, "parent": {Parent: allAccounts},
	} {
		stream, err := l.diagnostics().WatchFlows(l.as(l.a), req)
		must(t, err)
		_, err = stream.Recv()
		wantField(t, err, field)
	}
}
