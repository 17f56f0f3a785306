package api

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"causeway/controlplane/apierr"
	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	"causeway/gateway/spec"
	pb "causeway/proto/causeway/v1"
)

// Explainer tells what a connection would meet on the gateways. Safe for concurrent use; it must not block.
type Explainer interface {
	Explain(q spec.Question) spec.Explanation
}

// explainRetry is when a caller may ask again for whom there is no gateway yet.
const explainRetry = 5 * time.Second

// Explain says first what never reaches a gateway, and then what the gateway says.
func (s *diagnostics) Explain(ctx context.Context, req *pb.ExplainRequest) (*pb.ExplainResponse, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	from, err := s.origin(ctx, who, req)
	if err != nil {
		return nil, err
	}
	to, err := s.destination(ctx, who, from, req)
	if err != nil {
		return nil, err
	}
	if s.explainer == nil {
		return nil, apierr.NotReady(explainRetry, "no gateway is there to ask")
	}
	resp := &pb.ExplainResponse{Vpc: from.vpc, SourceIpAddress: from.address.String()}
	if to.address.IsValid() {
		resp.DestinationIpAddress = to.address.String()
	}
	if to.endpoint != nil {
		if resp.Checks, err = s.explainEndpoint(ctx, who, from, to.endpoint); err != nil {
			return nil, err
		}
	}
	if n := len(resp.Checks); n > 0 && resp.Checks[n-1].GetVerdict() == pb.Check_DENY {
		return resp, nil
	}
	// Asking costs a look at the tunnels' state: each account asks one question at a time.
	done, err := s.turns.take(ctx, "explain/"+who.Account)
	if err != nil {
		return nil, err
	}
	defer done()
	answer := s.explainer.Explain(spec.Question{
		Domain: from.vpc, Source: netip.AddrPortFrom(from.address, uint16(req.GetSourcePort())),
		Destination: netip.AddrPortFrom(to.address, uint16(req.GetPort())), Name: to.name,
		ServerName: strings.ToLower(req.GetServerName()),
	})
	resp.Allowed = answer.Allowed
	if answer.Destination.IsValid() {
		resp.DestinationIpAddress = answer.Destination.Addr().String()
	}
	for _, c := range answer.Checks {
		resp.Checks = append(resp.Checks, who.check(c))
	}
	return resp, nil
}

// origin is where a connection begins.
type origin struct {
	vpc     string
	zone    string // "" when it is not known
	address netip.Addr
}

func (s *diagnostics) origin(ctx context.Context, who Caller, req *pb.ExplainRequest) (origin, error) {
	var wrong apierr.Violations
	given := netip.Addr{}
	if text := req.GetSourceIpAddress(); text != "" {
		var err error
		if given, err = parseAddress(text); err != nil {
			wrong.Add("source_ip_address", "%s is not an IPv4 address", quote(text))
		}
	}
	switch source, vpc := req.GetSource(), req.GetVpc(); {
	case source == "" && vpc == "":
		wrong.Add("source", "is missing; give an attachment or a VPN connection, or vpc and source_ip_address")
	case source != "" && vpc != "":
		wrong.Add("vpc", "goes without source; leave one of them out")
	case vpc != "" && req.GetSourceIpAddress() == "":
		wrong.Add("source_ip_address", "is missing; it goes with vpc")
	}
	if err := wrong.Err(); err != nil {
		return origin{}, err
	}
	if req.GetVpc() != "" {
		v, err := find(ctx, s.kernel, who, resource.Vpcs, "vpc", req.GetVpc())
		return origin{vpc: v.Name, address: given}, err
	}
	return s.source(ctx, who, req.GetSource(), given)
}

// source reads the attachment or VPN connection that a connection begins at.
func (s *diagnostics) source(ctx context.Context, who Caller, text string, given netip.Addr) (origin, error) {
	kind, name, err := s.sourceKind(ctx, who, text)
	if err != nil {
		return origin{}, err
	}
	if kind == resource.VpnConnections.Info {
		return s.site(ctx, who, name, text, given)
	}
	a, err := find(ctx, s.kernel, who, resource.Attachments, "source", name)
	if err != nil {
		return origin{}, spelled(err, kind, text)
	}
	address, err := parseAddress(a.Value.GetIpAddress())
	if err != nil {
		return origin{}, fmt.Errorf("stored %s: address %q: %w", name, a.Value.GetIpAddress(), err)
	}
	if given.IsValid() && given != address {
		return origin{}, apierr.Invalid("source_ip_address", "is %v, and the attachment has %v; leave it out", given, address)
	}
	subnet := resource.Parent(name)
	in, err := resource.Subnets.Get(ctx, s.store, subnet)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return origin{}, err
	}
	return origin{vpc: resource.Parent(subnet), zone: in.Value.GetAvailabilityZone(), address: address}, nil
}

// site is a host behind a VPN connection, the first one unless an address is given.
func (s *diagnostics) site(ctx context.Context, who Caller, name, text string, given netip.Addr) (origin, error) {
	v, err := find(ctx, s.kernel, who, resource.VpnConnections, "source", name)
	if err != nil {
		return origin{}, spelled(err, resource.VpnConnections.Info, text)
	}
	from := origin{vpc: v.Value.GetVpc(), address: given}
	if given.IsValid() {
		return from, nil
	}
	routes := v.Value.GetStaticRoutes()
	if len(routes) == 0 {
		return origin{}, apierr.Invalid("source_ip_address", "is missing: the VPN connection has no static route to take a host of")
	}
	p, err := netip.ParsePrefix(routes[0])
	if err != nil {
		return origin{}, fmt.Errorf("stored %s: %w", name, err)
	}
	if from.address = p.Addr(); !p.IsSingleIP() {
		from.address = from.address.Next() // the first is that of the network itself
	}
	return from, nil
}

// sourceKind tells attachments and VPN connections apart.
func (s *diagnostics) sourceKind(ctx context.Context, who Caller, text string) (kind *resource.Info, name string, err error) {
	kinds := []*resource.Info{resource.Attachments.Info, resource.VpnConnections.Info}
	if resource.IsUID(text) {
		claim, err := s.store.ClaimOwner(ctx, resource.ClaimUID, text)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, "", err
		}
		for _, kind := range kinds {
			if kind.Match(claim.Owner) && who.owns(resource.Account(claim.Owner)) {
				return kind, claim.Owner, nil
			}
		}
		return nil, "", apierr.NotFound("source", text)
	}
	for _, kind := range kinds {
		if name := qualify(who, text); kind.Match(name) {
			return kind, name, nil
		}
	}
	return nil, "", apierr.Invalid("source", "%s is not the name of an attachment or a VPN connection: use %s, %s or a uid",
		quote(text), kinds[0].Pattern(), kinds[1].Pattern())
}

// spelled says of what is not found how the caller spelled it.
func spelled(err error, kind *resource.Info, text string) error {
	if isNotFound(err) {
		return notFound(kind, text)
	}
	return err
}

// aim is where a connection goes.
type aim struct {
	// address is invalid for a domain name, which is in name.
	address netip.Addr
	name    string
	// endpoint is that at the address as far as the caller may know of it, nil otherwise.
	endpoint *pb.Endpoint
}

// domainName is what the name of a destination looks like: that of a host, with a leading underscore where labels have one.
var domainName = regexp.MustCompile(`^(?i:[a-z0-9_]([a-z0-9-]{0,61}[a-z0-9])?)(?i:\.[a-z0-9_]([a-z0-9-]{0,61}[a-z0-9])?)*\.?$`)

const longestDomainName = 253

func (s *diagnostics) destination(ctx context.Context, who Caller, from origin, req *pb.ExplainRequest) (aim, error) {
	text := req.GetDestination()
	if address, err := parseAddress(text); err == nil {
		endpoint, err := s.endpointAt(ctx, who, from.vpc, address)
		return aim{address: address, endpoint: endpoint}, err
	}
	if strings.Contains(text, "/") || resource.IsUID(text) {
		v, err := find(ctx, s.kernel, who, resource.Endpoints, "destination", text)
		if err != nil {
			return aim{}, err
		}
		endpoint, err := present(ctx, s.kernel, v)
		if err != nil {
			return aim{}, err
		}
		return aim{address: addressNear(endpoint, from.zone), endpoint: endpoint}, nil
	}
	if len(text) > longestDomainName || !domainName.MatchString(text) || onlyDigits(text) {
		return aim{}, apierr.Invalid("destination", "%s is neither an endpoint's name or uid, nor an IPv4 address, nor a domain name", quote(text))
	}
	return aim{name: strings.ToLower(strings.TrimSuffix(text, "."))}, nil
}

// onlyDigits tells what some take for an address.
func onlyDigits(text string) bool { return strings.Trim(text, "0123456789.") == "" }

// endpointAt is the endpoint that has an address of a VPC, nil if there is none that the caller sees.
func (s *diagnostics) endpointAt(ctx context.Context, who Caller, vpc string, address netip.Addr) (*pb.Endpoint, error) {
	claim, err := s.store.ClaimOwner(ctx, resource.ClaimAddress, resource.AddressClaim(vpc, address.String()).Key)
	if errors.Is(err, store.ErrNotFound) || err == nil && !resource.Endpoints.Match(claim.Owner) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v, err := find(ctx, s.kernel, who, resource.Endpoints, "destination", claim.Owner)
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return present(ctx, s.kernel, v)
}

// addressNear is the address of an endpoint in a zone, or its first.
func addressNear(e *pb.Endpoint, zone string) netip.Addr {
	var first netip.Addr
	for _, eni := range e.GetNetworkInterfaces() {
		address, err := parseAddress(eni.GetIpAddress())
		switch {
		case err != nil:
		case eni.GetAvailabilityZone() == zone:
			return address
		case !first.IsValid():
			first = address
		}
	}
	return first
}
