package api

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"google.golang.org/protobuf/types/known/emptypb"

	"causeway/controlplane/apierr"
	"causeway/controlplane/dnsname"
	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// portDNS is where DNS servers are asked (RFC 1035 section 4.2).
const portDNS = 53

func (s *resolver) GetResolverRule(ctx context.Context, req *pb.GetResolverRuleRequest) (*pb.ResolverRule, error) {
	return get(ctx, s.kernel, resource.ResolverRules, req.GetName())
}

func (s *resolver) ListResolverRules(ctx context.Context, req *pb.ListResolverRulesRequest) (*pb.ListResolverRulesResponse, error) {
	items, next, err := list(ctx, s.kernel, resource.ResolverRules, req.GetParent(), req.GetPageSize(), req.GetPageToken())
	return &pb.ListResolverRulesResponse{ResolverRules: items, NextPageToken: next}, err
}

func (s *resolver) CreateResolverRule(ctx context.Context, req *pb.CreateResolverRuleRequest) (*pb.ResolverRule, error) {
	return create(ctx, s.kernel, resource.ResolverRules, creation[*pb.ResolverRule]{
		request: req, parent: req.GetParent(), id: req.GetResolverRuleId(), requestID: req.GetRequestId(),
		field: "resolver_rule", value: req.GetResolverRule(),
		prepare: func(ctx context.Context, c *change, rule *pb.ResolverRule) error {
			rule.State = pb.ResolverRule_PENDING
			if err := dnsname.CheckForwarded(rule.GetDomainName()); err != nil {
				c.wrong.Add(c.path("domain_name"), "%s %v", quote(rule.GetDomainName()), err)
			}
			return c.checkForwarders(ctx, rule)
		},
	})
}

func (s *resolver) UpdateResolverRule(ctx context.Context, req *pb.UpdateResolverRuleRequest) (*pb.ResolverRule, error) {
	return update(ctx, s.kernel, resource.ResolverRules, alteration[*pb.ResolverRule]{
		field: "resolver_rule", value: req.GetResolverRule(), mask: req.GetUpdateMask(),
		prepare: func(ctx context.Context, c *change, _, after *pb.ResolverRule) error {
			return c.checkForwarders(ctx, after)
		},
	})
}

func (s *resolver) DeleteResolverRule(ctx context.Context, req *pb.DeleteResolverRuleRequest) (*emptypb.Empty, error) {
	return remove(ctx, s.kernel, resource.ResolverRules, req.GetName(), req.GetEtag())
}

// checkForwarders completes the servers of a rule and notes those that cannot be asked.
func (c *change) checkForwarders(ctx context.Context, rule *pb.ResolverRule) error {
	vpc, err := resource.Vpcs.Get(ctx, c.store, resource.Parent(c.name))
	if err != nil {
		return err
	}
	first := make(map[netip.AddrPort]int)
	for n, target := range rule.GetTargetIps() {
		field := c.path(fmt.Sprintf("target_ips[%d]", n))
		if target.Port == nil {
			target.Port = new(int32(portDNS))
		}
		addr, refusal := targetAddress(target.GetIpAddress())
		if refusal != "" {
			c.wrong.Add(field+".ip_address", "%s %s", quote(target.GetIpAddress()), refusal)
			continue
		}
		if addr.String() == resolverAddress(vpc.Value.GetCidrBlock()) {
			c.wrong.Add(field+".ip_address", "%s is the VPC's own DNS server; questions to it would go round in a loop", quote(addr.String()))
		}
		server := netip.AddrPortFrom(addr, uint16(target.GetPort()))
		if before, twice := first[server]; twice {
			c.wrong.Add(field, "repeats target_ips[%d]", before)
			continue
		}
		first[server] = n
	}
	if c.wrong.Len() > 0 {
		return errViolations
	}
	return c.refuseOwnForwarders(ctx, vpc.Name, rule)
}

// refuseOwnForwarders refuses servers that are inbound addresses of the VPC. No resolver endpoint gets one there until
// the commit.
func (c *change) refuseOwnForwarders(ctx context.Context, vpc string, rule *pb.ResolverRule) error {
	revision, err := c.store.Revision(ctx)
	if err != nil {
		return err
	}
	for n, target := range rule.GetTargetIps() {
		claim := resource.AddressClaim(vpc, target.GetIpAddress())
		held, err := c.store.ClaimOwner(ctx, claim.Kind, claim.Key)
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return err
		case resource.ResolverEndpoints.Match(held.Owner):
			c.wrong.Add(c.path(fmt.Sprintf("target_ips[%d].ip_address", n)),
				"%s is an address of resolver endpoint %s of the same VPC; questions to it would go round in a loop", quote(target.GetIpAddress()), quote(held.Owner))
		}
	}
	resource.ResolverEndpoints.RequireUnchanged(c.tx, vpc, revision)
	return nil
}

// domainHeld names the rule that a domain has already. It is of the same VPC and so of the same account.
func domainHeld(rule, holder string) error {
	return apierr.Held("domain", resource.ResolverRules.Word, rule, "the same as that of %s; change that one", holder)
}
