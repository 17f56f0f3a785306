package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	"causeway/gateway/spec"
	pb "causeway/proto/causeway/v1"
)

// Codes of reasons. Those of AWS have the names of Reachability Analyzer's
// (https://docs.aws.amazon.com/vpc/latest/reachability/explanation-codes.html).
const (
	codeACL         = "SUBNET_ACL_RESTRICTION"
	codeGroup       = "ENI_SG_RULES_MISMATCH"
	codeZone        = "VPCE_SERVICE_NOT_INSTALLED_IN_AZ"
	codeListener    = "ELBV2_LISTENERS_MISMATCH"
	codeNoRoute     = "NO_ROUTE_TO_DESTINATION"
	codeBadState    = "BAD_STATE"
	codeNotAccepted = "EP_NOT_ACCEPTED"
	codeRejected    = "EP_REJECTED"
	codeExpired     = "EP_EXPIRED"
	codePeering     = "PCX_NOT_ACTIVE"
)

// codesByCheck are for checks that deny for one cause only, whatever the reason that packets are counted by.
var codesByCheck = map[string]string{
	"peer": "SOURCE_NOT_ATTACHED", "source": "SOURCE_ADDRESS_TAKEN", "endpoint_state": codeRejected, "endpoint_zone": codeZone,
	"listener": codeListener, "name": "DNS_NOT_RESOLVED", "domain": "VPC_NOT_SERVED",
}

// codesByReason are for all others.
var codesByReason = map[string]string{
	"network_acl": codeACL, "security_group": codeGroup, "no_exposure": codeNoRoute, "no_listener": codeListener,
	"tunnel_access": "PCX_TUNNEL_ACCESS_DENIED", "connection_limit": "CONNECTION_LIMIT", "no_healthy_target": "NO_HEALTHY_TARGET",
	"refused_domain_dials": "CONNECTION_LIMIT", "refused_client_dials": "CONNECTION_LIMIT", "refused_domain_flows": "CONNECTION_LIMIT",
	"refused_policy": "EP_POLICY_DENY", "refused_no_target": "NO_HEALTHY_TARGET", "refused_target_guard": "TARGET_NOT_ALLOWED",
	"refused_targets_failed": "TARGET_UNREACHABLE", "refused_ports_exhausted": "PORT_POOL_EXHAUSTED",
	"stale_handshake": "TUNNEL_STALE_HANDSHAKE", "name_not_verified": "DNS_NOT_VERIFIED",
}

func codeOf(c spec.Check) string {
	if code := codesByReason[c.Reason]; c.Verdict != spec.Deny || codesByCheck[c.Name] == "" {
		return code
	}
	return codesByCheck[c.Name]
}

var verdicts = map[spec.Verdict]pb.Check_Verdict{spec.Pass: pb.Check_PASS, spec.Deny: pb.Check_DENY, spec.Skip: pb.Check_SKIP}

// check is what a caller is shown of a gateway's check: always what comes of it and why, and what decided only if that is its
// own.
func (c Caller) check(x spec.Check) *pb.Check {
	shown := &pb.Check{Name: x.Name, Verdict: verdicts[x.Verdict], Reason: x.Reason, ReasonCode: codeOf(x)}
	if x.Object == "" || c.owns(resource.Account(x.Object)) {
		shown.Detail, shown.Object = x.Detail, x.Object
	}
	return shown
}

// explainEndpoint makes the checks of an endpoint that never show on a gateway: whether it may be used at all, and whether it is
// seen where the connection begins. Both are the caller's to know.
func (s *diagnostics) explainEndpoint(ctx context.Context, who Caller, from origin, e *pb.Endpoint) ([]*pb.Check, error) {
	accepted := acceptance(e)
	if accepted.GetVerdict() == pb.Check_DENY {
		return []*pb.Check{accepted}, nil
	}
	peering, err := s.explainPeering(ctx, who, from.vpc, resource.Parent(e.GetName()))
	return []*pb.Check{accepted, peering}, err
}

// acceptance says whether the endpoint has come, and still is, in use.
func acceptance(e *pb.Endpoint) *pb.Check {
	c := &pb.Check{Name: "endpoint_acceptance", Verdict: pb.Check_DENY, Object: e.GetName(), Detail: e.GetStateMessage()}
	switch e.GetState() {
	case pb.Endpoint_PENDING_ACCEPTANCE:
		c.Reason, c.ReasonCode = "pending_acceptance", codeNotAccepted
		c.Detail = "the provider of the service has not accepted the endpoint yet; it expires at " + e.GetExpireTime().AsTime().Format(time.RFC3339)
	case pb.Endpoint_REJECTED:
		c.Reason, c.ReasonCode = "rejected", codeRejected
	case pb.Endpoint_EXPIRED:
		c.Reason, c.ReasonCode = "expired", codeExpired
	case pb.Endpoint_DELETING:
		c.Reason, c.ReasonCode, c.Detail = "deleting", codeBadState, "the endpoint is being deleted"
	case pb.Endpoint_FAILED, pb.Endpoint_PENDING:
		c.Verdict = pb.Check_SKIP // the gateway knows better
		if c.Detail == "" {
			c.Detail = "the endpoint is not in force yet as it was last changed"
		}
	default:
		c.Verdict, c.Detail = pb.Check_PASS, "the endpoint is in use"
	}
	return c
}

// explainPeering says whether a VPC sees the endpoints of another.
func (s *diagnostics) explainPeering(ctx context.Context, who Caller, vpc, other string) (*pb.Check, error) {
	c := &pb.Check{Name: "peering", Verdict: pb.Check_SKIP, Detail: "source and endpoint are in one VPC"}
	if vpc == other {
		return c, nil
	}
	claim, err := s.store.ClaimOwner(ctx, resource.ClaimPair, resource.PairClaim(vpc, other).Key)
	var v store.Versioned[*pb.Peering]
	if err == nil {
		v, err = find(ctx, s.kernel, who, resource.Peerings, "destination", claim.Owner)
	}
	if errors.Is(err, store.ErrNotFound) || isNotFound(err) {
		c.Verdict, c.Reason, c.ReasonCode = pb.Check_DENY, "no_exposure", codeNoRoute
		c.Detail = fmt.Sprintf("%s and %s are not peered", vpc, other)
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	peering, err := present(ctx, s.kernel, v)
	if err != nil {
		return nil, err
	}
	c.Object = peering.GetName()
	if peering.GetState() == pb.Peering_ACTIVE {
		c.Verdict, c.Detail = pb.Check_PASS, "the peering is active"
		return c, nil
	}
	c.Verdict, c.Reason, c.ReasonCode = pb.Check_DENY, "peering_state", codePeering
	c.Detail = fmt.Sprintf("the peering is %v", peering.GetState())
	if message := peering.GetStateMessage(); message != "" {
		c.Detail += ": " + message
	}
	return c, nil
}
