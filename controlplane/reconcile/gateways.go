package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"causeway/gateway/spec"
	pb "causeway/proto/causeway/v1"
)

// Gateways gives the gateway as it reports itself. It implements api.GatewayStatus.
func (r *Reconciler) Gateways(context.Context) []*pb.Gateway {
	v, index := r.view.Load(), r.current()
	g := &pb.Gateway{Name: GatewayName, AppliedRevision: index.status.Revision, State: pb.Gateway_PENDING}
	for _, zone := range r.cfg.Zones {
		g.Zones = append(g.Zones, &pb.Gateway_Zone{Region: zone.Region, AvailabilityZone: zone.Name})
	}
	places := map[string]spec.TunnelEndpoint{}
	vpcs := map[string]string{}
	if v.applied != nil {
		for _, d := range v.applied.spec.Domains {
			for _, te := range d.TunnelEndpoints {
				places[te.UID], vpcs[te.UID] = te, d.Name
			}
		}
	}
	for i := range index.status.TunnelEndpoints {
		s := &index.status.TunnelEndpoints[i]
		g.TunnelEndpoints = append(g.TunnelEndpoints, tunnelEndpoint(s, places[s.UID].Zone, vpcs[s.UID]))
	}
	slices.SortFunc(g.TunnelEndpoints, func(a, b *pb.TunnelEndpoint) int { return cmp.Compare(a.GetUid(), b.GetUid()) })
	if refused := index.status.Refused; refused != nil {
		g.Refusal = refused.Reason
	}
	if v.latest != nil {
		g.DesiredRevision = v.latest.spec.Revision
		g.State, g.StateMessage = gatewayState(v, index)
	}
	return []*pb.Gateway{g}
}

func tunnelEndpoint(s *spec.TunnelEndpointStatus, zone, vpc string) *pb.TunnelEndpoint {
	te := &pb.TunnelEndpoint{
		Uid: s.UID, Vpc: vpc, AvailabilityZone: zone,
		Endpoint: s.Endpoint, PublicKey: s.PublicKey.String(),
	}
	if !s.Serving {
		te.StateMessage = s.Reason
	}
	for _, p := range s.Peers {
		te.Peers = append(te.Peers, &pb.TunnelEndpoint_Peer{
			Name: p.Name, LastHandshakeTime: timestamp(p.LastHandshake), Endpoint: addrPort(p.Endpoint),
			ReceivedBytes: p.ReceivedBytes, TransmittedBytes: p.TransmittedBytes,
		})
	}
	return te
}

// gatewayState tells whether the newest spec is in force and, if so, what of it is not served.
func gatewayState(v *view, index *statusIndex) (pb.Gateway_State, string) {
	if v.applied != v.latest {
		if refused := index.status.Refused; refused != nil {
			return pb.Gateway_DEGRADED, fmt.Sprintf("spec %d is refused: %s", refused.Revision, refused.Reason)
		}
		return pb.Gateway_PENDING, ""
	}
	var faults []string
	for i := range index.status.TunnelEndpoints {
		if te := &index.status.TunnelEndpoints[i]; !te.Serving {
			faults = append(faults, fmt.Sprintf("tunnel endpoint %q: %s", te.UID, te.Reason))
		}
	}
	for i := range index.status.Interfaces {
		if ni := &index.status.Interfaces[i]; !ni.Serving {
			faults = append(faults, fmt.Sprintf("network interface %q: %s", ni.UID, ni.Reason))
		}
	}
	if len(faults) == 0 {
		return pb.Gateway_AVAILABLE, ""
	}
	const shown = 10
	message := strings.Join(faults[:min(len(faults), shown)], "; ")
	if more := len(faults) - shown; more > 0 {
		message += fmt.Sprintf("; and %d more", more)
	}
	return pb.Gateway_DEGRADED, message
}
