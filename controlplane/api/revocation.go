package api

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"causeway/controlplane/apierr"
	pb "causeway/proto/causeway/v1"
)

// revocation says what becomes of the live connections of endpoints that are rejected.
type revocation struct {
	mode  pb.Revocation_Mode
	drain time.Duration
}

// readRevocation reads a request's revocation; none is KEEP.
func readRevocation(m *pb.Revocation) (revocation, error) {
	r := revocation{mode: m.GetMode(), drain: m.GetDrainDuration().AsDuration()}
	if r.mode == pb.Revocation_MODE_UNSPECIFIED {
		r.mode = pb.Revocation_KEEP
	}
	switch given := m.GetDrainDuration() != nil; {
	case r.mode == pb.Revocation_DRAIN && !given:
		return r, apierr.Invalid("revocation.drain_duration", "is missing: DRAIN needs to know when to reset what is left")
	case r.mode != pb.Revocation_DRAIN && given:
		return r, apierr.Invalid("revocation.drain_duration", "is for DRAIN only, and the mode is %v", r.mode)
	}
	return r, nil
}

// rejects says whether losing the permission alone takes an endpoint out of use.
func (r revocation) rejects() bool { return r.mode != pb.Revocation_KEEP }

// apply makes an endpoint a rejected one and says whether that changed it. Connections of one that is
// rejected already can only end sooner.
func (r revocation) apply(e *pb.Endpoint, now time.Time) (changed bool) {
	var end *timestamppb.Timestamp
	switch {
	case e.GetAcceptTime() == nil: // it never had any
	case r.mode == pb.Revocation_CUT:
		end = timestamppb.New(now)
	case r.mode == pb.Revocation_DRAIN:
		end = timestamppb.New(now.Add(r.drain))
	}
	if e.GetState() == pb.Endpoint_REJECTED {
		before := e.GetDisconnectTime()
		if end == nil || before != nil && !end.AsTime().Before(before.AsTime()) {
			return false
		}
	}
	e.State, e.ExpireTime, e.DisconnectTime = pb.Endpoint_REJECTED, nil, end
	e.UpdateTime = timestamppb.New(now)
	return true
}
