package api

import (
	"net/netip"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"causeway/controlplane/resource"
	"causeway/gateway/spec"
	pb "causeway/proto/causeway/v1"
)

// flow is what a caller is shown of a connection that concerns it: its own side whole, and of the others' what
// they have to know of each other to speak about it.
func (c Caller) flow(r *spec.FlowRecord) *pb.Flow {
	f := &pb.Flow{
		Number: int64(r.ID), Protocol: int32(r.Protocol), DestinationPort: int32(r.Exposure.Port()),
		EndpointUid: r.EndpointUID, AvailabilityZone: r.Zone, ServerName: r.ServerName,
		IngressBytes: int64(r.IngressBytes), EgressBytes: int64(r.EgressBytes),
		StartTime: shownTime(r.Start), EndTime: shownTime(r.End), EndReason: r.Reason,
	}
	consumer, owner := c.owns(resource.Account(r.Domain)), c.owns(resource.Account(r.Endpoint))
	if consumer || owner {
		f.Vpc, f.Peering, f.NetworkInterface = r.Domain, r.Via, r.Interface
		f.SourceIpAddress, f.SourcePort = shownAddress(r.Consumer)
		f.DestinationIpAddress, _ = shownAddress(r.Exposure)
		f.PolicyDecision = policyDecision(r)
	}
	if consumer {
		f.Peer = r.Peer
	}
	if owner {
		f.Endpoint, f.PolicyStatement = r.Endpoint, r.Statement
	}
	if r.Service != "" && c.owns(resource.Account(r.Service)) {
		f.EndpointService, f.TargetGroup = r.Service, r.TargetGroup
		f.TargetIpAddress, f.TargetPort = shownAddress(r.Target)
	}
	return f
}

func policyDecision(r *spec.FlowRecord) pb.Flow_PolicyDecision {
	switch {
	case r.Statement == "":
		return pb.Flow_POLICY_DECISION_UNSPECIFIED
	case r.Denied && r.DryRun:
		return pb.Flow_DENY_DRY_RUN
	case r.Denied:
		return pb.Flow_DENY
	}
	return pb.Flow_ALLOW
}

func shownAddress(a netip.AddrPort) (address string, port int32) {
	if !a.IsValid() {
		return "", 0
	}
	return a.Addr().Unmap().String(), int32(a.Port())
}

func shownTime(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
