package api

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"causeway/controlplane/apierr"
	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

func (s *vpcs) GetSecurityGroup(ctx context.Context, req *pb.GetSecurityGroupRequest) (*pb.SecurityGroup, error) {
	return get(ctx, s.kernel, resource.SecurityGroups, req.GetName())
}

func (s *vpcs) ListSecurityGroups(ctx context.Context, req *pb.ListSecurityGroupsRequest) (*pb.ListSecurityGroupsResponse, error) {
	items, next, err := list(ctx, s.kernel, resource.SecurityGroups, req.GetParent(), req.GetPageSize(), req.GetPageToken())
	return &pb.ListSecurityGroupsResponse{SecurityGroups: items, NextPageToken: next}, err
}

func (s *vpcs) CreateSecurityGroup(ctx context.Context, req *pb.CreateSecurityGroupRequest) (*pb.SecurityGroup, error) {
	return create(ctx, s.kernel, resource.SecurityGroups, creation[*pb.SecurityGroup]{
		request: req, parent: req.GetParent(), id: req.GetSecurityGroupId(), requestID: req.GetRequestId(),
		field: "security_group", value: req.GetSecurityGroup(),
		prepare: func(ctx context.Context, c *change, group *pb.SecurityGroup) error {
			group.State = pb.SecurityGroup_PENDING
			uid, err := c.uidAhead(resource.SecurityGroups.Prefix)
			if err != nil {
				return err
			}
			return c.completeGroup(ctx, &pb.SecurityGroup{Uid: uid}, group)
		},
	})
}

func (s *vpcs) UpdateSecurityGroup(ctx context.Context, req *pb.UpdateSecurityGroupRequest) (*pb.SecurityGroup, error) {
	return update(ctx, s.kernel, resource.SecurityGroups, alteration[*pb.SecurityGroup]{
		field: "security_group", value: req.GetSecurityGroup(), mask: req.GetUpdateMask(),
		prepare: func(ctx context.Context, c *change, before, after *pb.SecurityGroup) error {
			return c.completeGroup(ctx, before, after)
		},
	})
}

// completeGroup checks the rules of a security group and spells them as they are stored. Of a new
// group there is only the uid before.
func (c *change) completeGroup(ctx context.Context, before, after *pb.SecurityGroup) error {
	rules := after.GetIngressRules()
	admitted := make(map[admission]int, len(rules))
	for n, rule := range rules {
		field := c.path(fmt.Sprintf("ingress_rules[%d]", n))
		c.completeProtocol(field, &rule.Protocol, rule.GetPortRange())
		if err := c.completeSource(ctx, field, before, rule); err != nil {
			return err
		}
		if first, twice := admitted[admissionOf(rule)]; twice {
			c.wrong.Add(field, "admits the same as ingress_rules[%d]", first)
		} else {
			admitted[admissionOf(rule)] = n
		}
	}
	if c.wrong.Len() > 0 {
		return nil
	}
	return c.within(ctx, quotaGroupRules, c.name, len(before.GetIngressRules()), len(rules))
}

// admission is what a rule admits, apart from what people call it.
type admission struct {
	protocol, prefix, group, uid string
	from, to                     int32
}

func admissionOf(rule *pb.SecurityGroupRule) admission {
	return admission{
		protocol: rule.GetProtocol(), prefix: rule.GetCidrBlock(), group: rule.GetSourceGroup(), uid: rule.GetSourceGroupUid(),
		from: rule.GetPortRange().GetFrom(), to: rule.GetPortRange().GetTo(),
	}
}

// completeSource checks whom a rule of a security group admits.
func (c *change) completeSource(ctx context.Context, field string, own *pb.SecurityGroup, rule *pb.SecurityGroupRule) error {
	rule.SourceGroupUid = ""
	switch source := rule.GetSource().(type) {
	case *pb.SecurityGroupRule_CidrBlock:
		source.CidrBlock = c.completeRulePrefix(field+".cidr_block", source.CidrBlock)
	case *pb.SecurityGroupRule_SourceGroup:
		name, uid, err := c.sourceGroup(ctx, field+".source_group", own, source.SourceGroup)
		if err != nil {
			return err
		}
		source.SourceGroup, rule.SourceGroupUid = name, uid
	default:
		c.wrong.Add(field, "needs a cidr_block or a source_group")
	}
	return nil
}

// sourceGroup finds the security group that a rule of own names. One that the rules name already stays
// although it is gone: then the rule admits nobody, and what else is in the group can still be changed.
func (c *change) sourceGroup(ctx context.Context, field string, own *pb.SecurityGroup, text string) (name, uid string, err error) {
	name, err = c.resolve(ctx, c.caller, resource.SecurityGroups.Info, field, text, true)
	if err != nil || name == c.name {
		return name, own.GetUid(), err
	}
	group, err := c.admissible(ctx, field, text, name)
	if err == nil {
		return name, group.GetUid(), nil
	}
	if _, refused := status.FromError(err); !refused {
		return "", "", err
	}
	for _, rule := range own.GetIngressRules() {
		if held := rule.GetSourceGroup(); held != "" && (held == name || rule.GetSourceGroupUid() == text) {
			return held, rule.GetSourceGroupUid(), nil
		}
	}
	return "", "", err
}

// admissible reads a security group that rules of the changed one may admit: of the same VPC, or of one
// that an active peering joins to it. Of others the caller is told as much as of any resource.
func (c *change) admissible(ctx context.Context, field, spelled, name string) (*pb.SecurityGroup, error) {
	if own, other := resource.Parent(c.name), resource.Parent(name); own != other {
		peered, err := c.peered(ctx, own, other)
		switch {
		case err != nil:
			return nil, err
		case !peered && !c.caller.owns(resource.Account(name)):
			return nil, notFound(resource.SecurityGroups.Info, spelled)
		case !peered:
			return nil, apierr.Invalid(field, "%s is of VPC %s, which no active peering joins to %s", quote(spelled), quote(other), quote(own))
		}
	}
	group, err := referenceByName(ctx, c, resource.SecurityGroups, spelled, name, &name)
	return group.Value, err
}

// peered says whether an active peering joins two VPCs.
func (k *kernel) peered(ctx context.Context, a, b string) (bool, error) {
	pair := resource.PairClaim(a, b)
	claim, err := k.store.ClaimOwner(ctx, pair.Kind, pair.Key)
	if err == nil {
		var peering store.Versioned[*pb.Peering]
		if peering, err = resource.Peerings.Get(ctx, k.store, claim.Owner); err == nil {
			return peering.Value.GetState() == pb.Peering_ACTIVE, nil
		}
	}
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return false, err
}

// joinGroups checks the security groups that an endpoint or an attachment of a VPC names, of which it
// had some before, and spells them in full.
func (c *change) joinGroups(ctx context.Context, vpc, quota string, before, names []string) error {
	for n, spelled := range names {
		field := fmt.Sprintf("security_groups[%d]", n)
		group, err := reference(ctx, c, resource.SecurityGroups, field, &names[n])
		if err != nil {
			return err
		}
		if resource.Parent(group.Name) != vpc {
			c.wrong.Add(c.path(field), "%s is not a security group of VPC %s", quote(spelled), quote(vpc))
		}
		if first := slices.Index(names[:n], group.Name); first >= 0 {
			c.wrong.Add(c.path(field), "%s repeats security_groups[%d]", quote(spelled), first)
		}
	}
	if c.wrong.Len() > 0 {
		return nil
	}
	return c.within(ctx, quota, c.name, len(before), len(names))
}

func (s *vpcs) DeleteSecurityGroup(ctx context.Context, req *pb.DeleteSecurityGroupRequest) (*emptypb.Empty, error) {
	return removeWith(ctx, s.kernel, resource.SecurityGroups, req.GetName(), req.GetEtag(),
		func(_ context.Context, _ *change, _ store.Versioned[*pb.SecurityGroup], users []resource.Entry) error {
			if len(users) > 0 {
				return namedBy(resource.SecurityGroups.Info, req.GetName(), names(users))
			}
			return nil
		})
}
