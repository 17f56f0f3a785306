package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"causeway/controlplane/apierr"
	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// acceptanceLife is how long an endpoint waits for acceptance, as in AWS:
// https://docs.aws.amazon.com/vpc/latest/privatelink/concepts.html
const acceptanceLife = 7 * 24 * time.Hour

// lapsed says whether an endpoint has waited too long for acceptance by now.
func lapsed(e *pb.Endpoint, now time.Time) bool {
	return e.GetState() == pb.Endpoint_PENDING_ACCEPTANCE && !now.Before(e.GetExpireTime().AsTime())
}

// connection is what the provider is shown of an endpoint: not its name, nor its VPC's or subnets'.
func connection(e *pb.Endpoint) *pb.Connection {
	var zones []string
	for _, eni := range e.GetNetworkInterfaces() {
		zones = append(zones, eni.GetAvailabilityZone())
	}
	slices.Sort(zones)
	return &pb.Connection{
		Endpoint: e.GetUid(), Account: resource.AccountName(resource.Account(e.GetName())), State: e.GetState(),
		CreateTime: e.GetCreateTime(), AcceptTime: e.GetAcceptTime(),
		ExpireTime: e.GetExpireTime(), DisconnectTime: e.GetDisconnectTime(), AvailabilityZones: zones,
	}
}

// ListConnections pages over the claims that lead to a service's endpoints in all accounts.
func (s *endpointServices) ListConnections(ctx context.Context, req *pb.ListConnectionsRequest) (*pb.ListConnectionsResponse, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	service, err := find(ctx, s.kernel, who, resource.EndpointServices, "name", req.GetName())
	if err != nil {
		return nil, err
	}
	resp := &pb.ListConnectionsResponse{}
	resp.NextPageToken, err = pageClaims(ctx, s.kernel, resource.ClaimConnection, service.Value.GetUid()+"/",
		req.GetPageSize(), req.GetPageToken(), func(claim store.Claim) (bool, error) {
			v, err := resource.Endpoints.Get(ctx, s.store, claim.Owner)
			if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrCorrupt) {
				return false, nil
			}
			if err != nil {
				return false, err
			}
			e, err := present(ctx, s.kernel, v)
			if err == nil {
				resp.Connections = append(resp.Connections, connection(e))
			}
			return true, err
		})
	return resp, err
}

// AcceptConnections puts endpoints to use. Doing so again changes nothing.
func (s *endpointServices) AcceptConnections(ctx context.Context, req *pb.AcceptConnectionsRequest) (*pb.AcceptConnectionsResponse, error) {
	connections, err := s.decide(ctx, req.GetName(), req.GetEndpoints(), pb.Notification_ACCEPT, (*change).accept)
	if err != nil {
		return nil, err
	}
	return &pb.AcceptConnectionsResponse{Connections: connections}, nil
}

// RejectConnections takes endpoints out of use, or does not let them come into it.
func (s *endpointServices) RejectConnections(ctx context.Context, req *pb.RejectConnectionsRequest) (*pb.RejectConnectionsResponse, error) {
	r, err := readRevocation(req.GetRevocation())
	if err != nil {
		return nil, err
	}
	connections, err := s.decide(ctx, req.GetName(), req.GetEndpoints(), pb.Notification_REJECT,
		func(c *change, _ *pb.EndpointService, e *pb.Endpoint) (bool, error) {
			if resource.Deleting(e) || e.GetState() == pb.Endpoint_EXPIRED || lapsed(e, c.now) {
				return false, notPending(c, e)
			}
			return r.apply(e, c.now), nil
		})
	if err != nil {
		return nil, err
	}
	return &pb.RejectConnectionsResponse{Connections: connections}, nil
}

// decision changes an endpoint of a service and says whether it did.
type decision func(c *change, service *pb.EndpointService, e *pb.Endpoint) (changed bool, err error)

// accept lets an endpoint come into use, also one that was rejected: its consumer still wants it.
func (c *change) accept(service *pb.EndpointService, e *pb.Endpoint) (changed bool, err error) {
	switch {
	case e.GetState() == pb.Endpoint_PENDING:
		return false, nil
	case e.GetState() != pb.Endpoint_PENDING_ACCEPTANCE && e.GetState() != pb.Endpoint_REJECTED, lapsed(e, c.now):
		return false, notPending(c, e)
	}
	if zone := lacking(service, e); zone != "" {
		return false, apierr.Precondition(reasonZoneMissing, resource.Endpoints.Word, e.GetUid(),
			"has a network interface in %s, which is no zone of the service any more", zone)
	}
	e.State, e.ExpireTime, e.DisconnectTime = pb.Endpoint_PENDING, nil, nil
	e.AcceptTime, e.UpdateTime = timestamppb.New(c.now), timestamppb.New(c.now)
	return true, nil
}

// lacking gives a zone that an endpoint needs and its service does not have, or "".
func lacking(service *pb.EndpointService, e *pb.Endpoint) string {
	if e.GetCrossZone() {
		return ""
	}
	for _, eni := range e.GetNetworkInterfaces() {
		if zone := eni.GetAvailabilityZone(); !slices.Contains(service.GetAvailabilityZones(), zone) {
			return zone
		}
	}
	return ""
}

func notPending(c *change, e *pb.Endpoint) error {
	state := e.GetState()
	if lapsed(e, c.now) {
		state = pb.Endpoint_EXPIRED
	}
	return apierr.Precondition(reasonNotPending, resource.Endpoints.Word, e.GetUid(), "is %v", state)
}

// decide makes the same decision about endpoints of a service, given by their uids, in one
// transaction with the events that tell of it, and gives them as they are then.
func (s *endpointServices) decide(ctx context.Context, text string, uids []string, event pb.Notification_Event, decide decision) ([]*pb.Connection, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	var connections []*pb.Connection
	err = s.attempt(change{caller: who, word: resource.EndpointServices.Word}, func(c *change) error {
		service, err := find(ctx, s.kernel, who, resource.EndpointServices, "name", text)
		if err != nil {
			return err
		}
		c.name = service.Name
		if resource.Deleting(service.Value) {
			return beingDeleted(resource.EndpointServices.Info, text)
		}
		resource.EndpointServices.Require(c.tx, service.Name, service.Revision)
		decided := make([]store.Versioned[*pb.Endpoint], len(uids))
		changed := make([]bool, len(uids))
		for n, uid := range uids {
			if decided[n], err = c.connected(ctx, service.Value, fmt.Sprintf("endpoints[%d]", n), uid); err != nil {
				return err
			}
			if changed[n], err = c.writeDecision(ctx, service.Value, decided[n], event, decide); err != nil {
				return err
			}
		}
		if err := c.commitDecisions(ctx, decided, changed); err != nil {
			return err
		}
		connections = nil
		for _, v := range decided {
			e, err := present(ctx, s.kernel, v)
			if err != nil {
				return err
			}
			connections = append(connections, connection(e))
		}
		return nil
	})
	return connections, err
}

// connected reads an endpoint of a service by its uid.
func (c *change) connected(ctx context.Context, service *pb.EndpointService, field, uid string) (v store.Versioned[*pb.Endpoint], err error) {
	if !resource.IsUID(uid) {
		return v, apierr.Invalid(field, "%s is not the uid of an endpoint", quote(uid))
	}
	key := resource.ConnectionClaim(service.GetUid(), uid).Key
	claim, err := c.store.ClaimOwner(ctx, resource.ClaimConnection, key)
	if err == nil {
		v, err = resource.Endpoints.Get(ctx, c.store, claim.Owner)
	}
	if errors.Is(err, store.ErrNotFound) {
		return v, notFound(resource.Endpoints.Info, uid)
	}
	return v, err
}

// writeDecision makes a decision about an endpoint and adds what comes of it to the transaction, with
// the event if that gives the endpoint another state.
func (c *change) writeDecision(ctx context.Context, service *pb.EndpointService, v store.Versioned[*pb.Endpoint], event pb.Notification_Event, decide decision) (changed bool, err error) {
	state, before := v.Value.GetState(), resource.Endpoints.Claims(v.Value)
	if changed, err = decide(c, service, v.Value); !changed || err != nil {
		return false, err
	}
	resource.Move(c.tx, v.Name, before, resource.Endpoints.Claims(v.Value))
	resource.Endpoints.Update(c.tx, v.Name, v.Value, v.Revision)
	if event == pb.Notification_EVENT_UNSPECIFIED || v.Value.GetState() == state {
		return true, nil
	}
	return true, c.notify(ctx, service, event, v.Value)
}

// commitDecisions commits unless nothing is changed, and notes the revision of what is.
func (c *change) commitDecisions(ctx context.Context, decided []store.Versioned[*pb.Endpoint], changed []bool) error {
	if !slices.Contains(changed, true) {
		return nil
	}
	revision, err := c.tx.Commit(ctx)
	if err != nil {
		return err
	}
	for n := range decided {
		if changed[n] {
			decided[n].Revision = revision
		}
	}
	return nil
}

// rejectEach rejects those endpoints of a service that meet a condition, one after the other. The
// service stays as it is known meanwhile, or the condition is asked again.
func (s *endpointServices) rejectEach(ctx context.Context, who Caller, name string, r revocation, condition func(c *change, service *pb.EndpointService, endpoint string) (bool, error)) error {
	service, err := resource.EndpointServices.Get(ctx, s.store, name)
	if err != nil {
		return ignoreAbsent(err)
	}
	claims, _, err := s.store.Claims(ctx, resource.ClaimConnection, service.Value.GetUid()+"/")
	if err != nil {
		return err
	}
	for _, claim := range claims {
		err := s.attempt(change{caller: who, word: resource.EndpointServices.Word, name: name}, func(c *change) error {
			service, err := resource.EndpointServices.Get(ctx, s.store, name)
			if err != nil {
				return ignoreAbsent(err)
			}
			resource.EndpointServices.Require(c.tx, name, service.Revision)
			if met, err := condition(c, service.Value, claim.Owner); !met || err != nil {
				return err
			}
			return c.rejectOne(ctx, service.Value, claim.Owner, r)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// rejectOne rejects an endpoint if it can be, and commits that.
func (c *change) rejectOne(ctx context.Context, service *pb.EndpointService, endpoint string, r revocation) error {
	v, err := resource.Endpoints.Get(ctx, c.store, endpoint)
	if err != nil {
		return ignoreAbsent(err)
	}
	changed, err := c.writeDecision(ctx, service, v, pb.Notification_REJECT, r.decide)
	if !changed || err != nil {
		return err
	}
	_, err = c.tx.Commit(ctx)
	return err
}

// decide rejects an endpoint unless it is out of use in another way.
func (r revocation) decide(c *change, _ *pb.EndpointService, e *pb.Endpoint) (changed bool, err error) {
	if resource.Deleting(e) || e.GetState() == pb.Endpoint_EXPIRED {
		return false, nil
	}
	return r.apply(e, c.now), nil
}
