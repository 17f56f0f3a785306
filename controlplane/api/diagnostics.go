package api

import (
	"cmp"
	"context"
	"strconv"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"causeway/controlplane/apierr"
	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	"causeway/gateway/spec"
	pb "causeway/proto/causeway/v1"
)

// Flows shows the connections that the gateways carry. Its methods are safe for concurrent use.
type Flows interface {
	// Flows gives the live connections that match and have a greater ID than after, in the order of their
	// IDs, limit of them at most.
	Flows(match func(*spec.FlowRecord) bool, after uint64, limit int) []spec.FlowRecord
	// WatchFlows delivers the record of every connection that matches when it ends or is refused. The channel is
	// closed when its reader is more than buffer records behind, and by stop. Nobody changes a record; match does
	// not block.
	WatchFlows(match func(*spec.FlowRecord) bool, buffer int) (records <-chan *spec.FlowRecord, stop func())
}

const (
	// watchBuffer is how many records wait for a watcher that reads slowly.
	watchBuffer = 4096
	// maxWatches is how many watches an account may have at a time: each looks at every record of all accounts.
	maxWatches = 16
)

// allAccounts is a parent that stands for every account (AIP-159).
const allAccounts = "accounts/-"

// Reasons of RESOURCE_EXHAUSTED.
const (
	reasonWatchTooSlow   = "WATCH_TOO_SLOW"
	reasonTooManyWatches = "TOO_MANY_WATCHES"
)

// diagnostics shows what the gateways know of connections. None of it is stored.
type diagnostics struct {
	*kernel
	flows     Flows
	explainer Explainer
	watches   watches
	pb.UnsafeDiagnosticsServer
}

func (s *diagnostics) ListFlows(ctx context.Context, req *pb.ListFlowsRequest) (*pb.ListFlowsResponse, error) {
	scope, err := s.scope(ctx, req.GetParent(), req.GetFilter())
	if err != nil {
		return nil, err
	}
	size, err := pageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	after, ok := scope.position(req.GetPageToken())
	if !ok {
		return nil, listError(store.ErrPageToken)
	}
	resp := &pb.ListFlowsResponse{}
	if s.flows == nil {
		return resp, nil
	}
	// A page costs a look at every connection there is: one page at a time.
	done, err := s.turns.take(ctx, "flows")
	if err != nil {
		return nil, err
	}
	defer done()
	list := s.flows.Flows(scope.match, after, size+1)
	for i := range list[:min(size, len(list))] {
		resp.Flows = append(resp.Flows, scope.caller.flow(&list[i]))
	}
	if len(list) > size {
		resp.NextPageToken = encodePosition(scope.key(), strconv.FormatUint(list[size-1].ID, 10))
	}
	return resp, nil
}

func (s *diagnostics) WatchFlows(req *pb.WatchFlowsRequest, stream grpc.ServerStreamingServer[pb.WatchFlowsResponse]) error {
	ctx := stream.Context()
	scope, err := s.scope(ctx, req.GetParent(), req.GetFilter())
	if err != nil {
		return err
	}
	done, err := s.watches.begin(scope.caller.Account)
	if err != nil {
		return err
	}
	defer done()
	var records <-chan *spec.FlowRecord
	if s.flows != nil {
		var stop func()
		records, stop = s.flows.WatchFlows(scope.match, watchBuffer)
		defer stop()
	}
	// The headers tell the caller that it will miss nothing from now on.
	if err := stream.SendHeader(metadata.MD{}); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case r, ok := <-records:
			if !ok {
				return apierr.Exhausted(reasonWatchTooSlow, resource.AccountName(scope.caller.Account),
					"the watch fell more than %d records behind; read faster, filter more, or watch again and miss some", watchBuffer)
			}
			if err := stream.Send(&pb.WatchFlowsResponse{Flow: scope.caller.flow(r)}); err != nil {
				return err
			}
		}
	}
}

// watches counts those of each account.
type watches struct {
	mu   sync.Mutex
	open map[string]int
}

// begin admits a watch of an account; it ends when the caller calls done.
func (w *watches) begin(account string) (done func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open[account] >= maxWatches {
		return nil, apierr.Exhausted(reasonTooManyWatches, resource.AccountName(account),
			"%q has %d watches open, the most there may be; end one first", resource.AccountName(account), maxWatches)
	}
	if w.open == nil {
		w.open = map[string]int{}
	}
	w.open[account]++
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.open[account]--; w.open[account] == 0 {
			delete(w.open, account)
		}
	}, nil
}

// flowScope is which connections a request is about.
type flowScope struct {
	caller Caller
	// account is that which the connections concern; "" for any, which is the operator's to see.
	account string
	// Full names; "" for any.
	vpc, endpoint, service string
}

// scope reads what a request selects. Everything in it is the caller's to see.
func (s *diagnostics) scope(ctx context.Context, parent string, f *pb.FlowFilter) (flowScope, error) {
	who, err := caller(ctx)
	if err != nil {
		return flowScope{}, err
	}
	scope := flowScope{caller: who}
	if !who.Operator || parent != allAccounts {
		account, err := s.parent(ctx, who, resource.Vpcs.Info, parent)
		if err != nil {
			return flowScope{}, err
		}
		scope.account = resource.Account(account.Name)
	}
	if text := f.GetVpc(); text != "" {
		v, err := find(ctx, s.kernel, who, resource.Vpcs, "filter.vpc", text)
		if err != nil {
			return flowScope{}, err
		}
		scope.vpc = v.Name
	}
	if text := f.GetEndpoint(); text != "" {
		v, err := find(ctx, s.kernel, who, resource.Endpoints, "filter.endpoint", text)
		if err != nil {
			return flowScope{}, err
		}
		scope.endpoint = v.Name
	}
	if text := f.GetEndpointService(); text != "" {
		v, err := find(ctx, s.kernel, who, resource.EndpointServices, "filter.endpoint_service", text)
		if err != nil {
			return flowScope{}, err
		}
		scope.service = v.Name
	}
	return scope, nil
}

// match says whether a connection concerns the account and fits the filter. The packets' goroutines call it.
func (s *flowScope) match(r *spec.FlowRecord) bool {
	return (s.account == "" || resource.Account(r.Domain) == s.account || resource.Account(r.Endpoint) == s.account || resource.Account(r.Service) == s.account) &&
		cmp.Or(s.vpc, r.Domain) == r.Domain && cmp.Or(s.endpoint, r.Endpoint) == r.Endpoint && cmp.Or(s.service, r.Service) == r.Service
}

// key is what a page token is good for.
func (s *flowScope) key() string {
	return "flows\x00" + s.account + "\x00" + s.vpc + "\x00" + s.endpoint + "\x00" + s.service
}

func (s *flowScope) position(token string) (after uint64, ok bool) {
	text, ok := decodePosition(s.key(), token)
	if !ok || text == "" {
		return 0, ok
	}
	after, err := strconv.ParseUint(text, 10, 64)
	return after, err == nil
}
