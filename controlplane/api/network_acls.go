package api

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"

	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"causeway/controlplane/apierr"
	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// defaultACLRule is the number of the rules that a default network ACL begins with, as in AWS:
// https://docs.aws.amazon.com/vpc/latest/userguide/default-network-acl.html
const defaultACLRule = 100

func (s *vpcs) GetNetworkAcl(ctx context.Context, req *pb.GetNetworkAclRequest) (*pb.NetworkAcl, error) {
	return get(ctx, s.kernel, resource.NetworkAcls, req.GetName())
}

func (s *vpcs) ListNetworkAcls(ctx context.Context, req *pb.ListNetworkAclsRequest) (*pb.ListNetworkAclsResponse, error) {
	items, next, err := list(ctx, s.kernel, resource.NetworkAcls, req.GetParent(), req.GetPageSize(), req.GetPageToken())
	return &pb.ListNetworkAclsResponse{NetworkAcls: items, NextPageToken: next}, err
}

func (s *vpcs) CreateNetworkAcl(ctx context.Context, req *pb.CreateNetworkAclRequest) (*pb.NetworkAcl, error) {
	return create(ctx, s.kernel, resource.NetworkAcls, creation[*pb.NetworkAcl]{
		request: req, parent: req.GetParent(), id: req.GetNetworkAclId(), requestID: req.GetRequestId(),
		field: "network_acl", value: req.GetNetworkAcl(),
		prepare: func(ctx context.Context, c *change, acl *pb.NetworkAcl) error {
			acl.State = pb.NetworkAcl_PENDING
			return c.completeACL(ctx, &pb.NetworkAcl{}, acl)
		},
	})
}

func (s *vpcs) UpdateNetworkAcl(ctx context.Context, req *pb.UpdateNetworkAclRequest) (*pb.NetworkAcl, error) {
	return update(ctx, s.kernel, resource.NetworkAcls, alteration[*pb.NetworkAcl]{
		field: "network_acl", value: req.GetNetworkAcl(), mask: req.GetUpdateMask(),
		prepare: func(ctx context.Context, c *change, before, after *pb.NetworkAcl) error {
			return c.completeACL(ctx, before, after)
		},
	})
}

// completeACL checks the rules of a network ACL, spells them as they are stored and puts them in order.
func (c *change) completeACL(ctx context.Context, before, after *pb.NetworkAcl) error {
	c.completeACLRules("ingress_rules", after.GetIngressRules())
	c.completeACLRules("egress_rules", after.GetEgressRules())
	if c.wrong.Len() > 0 {
		return nil
	}
	had := max(len(before.GetIngressRules()), len(before.GetEgressRules()))
	return c.within(ctx, quotaACLRules, c.name, had, max(len(after.GetIngressRules()), len(after.GetEgressRules())))
}

func (c *change) completeACLRules(list string, rules []*pb.NetworkAclRule) {
	numbers := make(map[int32]int, len(rules))
	for n, rule := range rules {
		field := c.path(fmt.Sprintf("%s[%d]", list, n))
		if first, twice := numbers[rule.GetRuleNumber()]; twice {
			c.wrong.Add(field+".rule_number", "%d is that of %s[%d]; a number stands once in a direction", rule.GetRuleNumber(), list, first)
		} else {
			numbers[rule.GetRuleNumber()] = n
		}
		if protocol, ok := c.completeProtocol(field, &rule.Protocol, rule.GetPortRange()); ok {
			c.completeICMP(field, protocol, rule)
		}
		rule.CidrBlock = c.completeRulePrefix(field+".cidr_block", rule.GetCidrBlock())
	}
	slices.SortStableFunc(rules, func(a, b *pb.NetworkAclRule) int { return cmp.Compare(a.GetRuleNumber(), b.GetRuleNumber()) })
}

// completeICMP checks that a rule has a type and a code only where they mean something. All is not
// given, however it was spelled.
func (c *change) completeICMP(field string, protocol int, rule *pb.NetworkAclRule) {
	for _, part := range []struct {
		field string
		value **int32
	}{{"icmp_type", &rule.IcmpType}, {"icmp_code", &rule.IcmpCode}} {
		switch {
		case *part.value == nil:
		case protocol != resource.ProtocolICMP:
			c.wrong.Add(field+"."+part.field, "is for icmp; leave it out for protocol %s", rule.GetProtocol())
		case **part.value == -1:
			*part.value = nil
		}
	}
	if rule.IcmpCode != nil && rule.IcmpType == nil {
		c.wrong.Add(field+".icmp_code", "needs an icmp_type that has codes; leave it out for all types")
	}
}

// makeDefaultACL adds to the creation of a VPC its default network ACL, which lets everything pass.
func (c *change) makeDefaultACL() error {
	uid, err := c.newUID(resource.NetworkAcls.Prefix)
	if err != nil {
		return err
	}
	acl := &pb.NetworkAcl{
		Name: resource.NetworkAcls.Name(c.name, resource.DefaultNetworkACL), Uid: uid, State: pb.NetworkAcl_PENDING,
		IngressRules: []*pb.NetworkAclRule{passAll()}, EgressRules: []*pb.NetworkAclRule{passAll()},
		CreateTime: timestamppb.New(c.now), UpdateTime: timestamppb.New(c.now),
	}
	resource.NetworkAcls.Create(c.tx, acl.GetName(), acl)
	resource.Move(c.tx, acl.GetName(), nil, resource.NetworkAcls.Claims(acl))
	return nil
}

func passAll() *pb.NetworkAclRule {
	return &pb.NetworkAclRule{
		RuleNumber: defaultACLRule, Action: pb.NetworkAclRule_ALLOW,
		Protocol: resource.FormatProtocol(resource.ProtocolAll), CidrBlock: "0.0.0.0/0",
	}
}

// isDefaultACL says whether a name is that of the network ACL of the subnets that name none.
func isDefaultACL(name string) bool {
	return resource.NetworkAcls.Match(name) && path.Base(name) == resource.DefaultNetworkACL
}

// filter checks the network ACL that a subnet names: one of its VPC.
func (c *change) filter(ctx context.Context, subnet *pb.Subnet) error {
	if subnet.GetNetworkAcl() == "" {
		return nil
	}
	spelled := subnet.GetNetworkAcl()
	acl, err := reference(ctx, c, resource.NetworkAcls, "network_acl", &subnet.NetworkAcl)
	if err != nil {
		return err
	}
	if vpc := resource.Parent(c.name); resource.Parent(acl.Name) != vpc {
		c.wrong.Add(c.path("network_acl"), "%s is not a network ACL of VPC %s", quote(spelled), quote(vpc))
	}
	return nil
}

func (s *vpcs) DeleteNetworkAcl(ctx context.Context, req *pb.DeleteNetworkAclRequest) (*emptypb.Empty, error) {
	return removeWith(ctx, s.kernel, resource.NetworkAcls, req.GetName(), req.GetEtag(),
		func(_ context.Context, _ *change, acl store.Versioned[*pb.NetworkAcl], subnets []resource.Entry) error {
			switch {
			case isDefaultACL(acl.Name):
				return apierr.Precondition(reasonDefaultNetworkACL, resource.NetworkAcls.Word, req.GetName(), "is the default of its VPC and goes with it only")
			case len(subnets) > 0:
				return namedBy(resource.NetworkAcls.Info, req.GetName(), names(subnets))
			}
			return nil
		})
}
