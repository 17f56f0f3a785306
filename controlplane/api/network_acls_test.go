package api

import (
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

// aclRule gives a rule that lets a protocol pass, to the ports from and to unless from is negative.
func aclRule(number int32, protocol, cidr string, from, to int32) *pb.NetworkAclRule {
	rule := &pb.NetworkAclRule{RuleNumber: number, Action: pb.NetworkAclRule_ALLOW, Protocol: protocol, CidrBlock: cidr}
	if from >= 0 {
		rule.PortRange = &pb.PortRange{From: from, To: to}
	}
	return rule
}

func icmpRule(number int32, kind, code *int32) *pb.NetworkAclRule {
	rule := aclRule(number, "icmp", "0.0.0.0/0", -1, 0)
	rule.IcmpType, rule.IcmpCode = kind, code
	return rule
}

func (l *lab) networkACL(vpc, id string, ingress ...*pb.NetworkAclRule) (*pb.NetworkAcl, error) {
	return l.vpcs().CreateNetworkAcl(l.as(l.a), &pb.CreateNetworkAclRequest{
		Parent: vpc, NetworkAclId: id, NetworkAcl: &pb.NetworkAcl{IngressRules: ingress},
	})
}

func TestNetworkACLRules(t *testing.T) {
	l := newLab(t)
	l.vpc(l.a, "prod", "10.0.0.0/16")
	at := func(n int, field string) string { return fmt.Sprintf("network_acl.ingress_rules[%d].%s", n, field) }
	cases := []struct {
		name   string
		rules  []*pb.NetworkAclRule
		fields []string
	}{
		{"OK none", nil, nil},
		{"OK bounds", []*pb.NetworkAclRule{aclRule(1, "tcp", "0.0.0.0/0", 0, 65535), aclRule(32766, "udp", "10.0.0.1/32", 7, 7)}, nil},
		{"OK numbers", []*pb.NetworkAclRule{aclRule(1, "0", "10.0.0.0/8", -1, 0), aclRule(2, "255", "10.0.0.0/8", -1, 0), aclRule(3, "-1", "10.0.0.0/8", -1, 0)}, nil},
		{"OK icmp", []*pb.NetworkAclRule{icmpRule(1, nil, nil), icmpRule(2, new(int32(-1)), new(int32(-1))), icmpRule(3, new(int32(255)), new(int32(0)))}, nil},
		{"OK address that no host has", []*pb.NetworkAclRule{aclRule(1, "all", "127.0.0.0/8", -1, 0), aclRule(2, "all", "255.255.255.255/32", -1, 0)}, nil},
		{"bad number 0", []*pb.NetworkAclRule{aclRule(0, "all", "10.0.0.0/8", -1, 0)}, []string{at(0, "rule_number")}},
		{"bad number 32767", []*pb.NetworkAclRule{aclRule(32767, "all", "10.0.0.0/8", -1, 0)}, []string{at(0, "rule_number")}},
		{"bad number twice", []*pb.NetworkAclRule{aclRule(9, "all", "10.0.0.0/8", -1, 0), aclRule(8, "all", "10.0.0.0/8", -1, 0), aclRule(9, "tcp", "10.0.0.0/8", 1, 1)}, []string{at(2, "rule_number")}},
		{"bad protocol 256", []*pb.NetworkAclRule{aclRule(1, "256", "10.0.0.0/8", -1, 0)}, []string{at(0, "protocol")}},
		{"bad protocol -2", []*pb.NetworkAclRule{aclRule(1, "-2", "10.0.0.0/8", -1, 0)}, []string{at(0, "protocol")}},
		{"bad protocol spelled otherwise", []*pb.NetworkAclRule{aclRule(1, "TCP", "10.0.0.0/8", 1, 1), aclRule(2, "06", "10.0.0.0/8", 1, 1), aclRule(3, "+6", "10.0.0.0/8", 1, 1), aclRule(4, "6 ", "10.0.0.0/8", 1, 1)},
			[]string{at(0, "protocol"), at(1, "protocol"), at(2, "protocol"), at(3, "protocol")}},
		{"bad no protocol", []*pb.NetworkAclRule{aclRule(1, "", "10.0.0.0/8", -1, 0)}, []string{at(0, "protocol")}},
		{"bad ports out of order", []*pb.NetworkAclRule{aclRule(1, "tcp", "10.0.0.0/8", 444, 443)}, []string{at(0, "port_range.to")}},
		{"bad port 65536", []*pb.NetworkAclRule{aclRule(1, "tcp", "10.0.0.0/8", 1, 65536)}, []string{at(0, "port_range.to")}},
		{"bad no ports", []*pb.NetworkAclRule{aclRule(1, "udp", "10.0.0.0/8", -1, 0)}, []string{at(0, "port_range")}},
		{"bad ports of icmp", []*pb.NetworkAclRule{aclRule(1, "icmp", "10.0.0.0/8", 1, 1)}, []string{at(0, "port_range")}},
		{"bad ports of all", []*pb.NetworkAclRule{aclRule(1, "all", "10.0.0.0/8", 0, 65535)}, []string{at(0, "port_range")}},
		{"bad icmp type 256", []*pb.NetworkAclRule{icmpRule(1, new(int32(256)), nil)}, []string{at(0, "icmp_type")}},
		{"bad icmp type -2", []*pb.NetworkAclRule{icmpRule(1, new(int32(-2)), nil)}, []string{at(0, "icmp_type")}},
		{"bad icmp code 256", []*pb.NetworkAclRule{icmpRule(1, new(int32(3)), new(int32(256)))}, []string{at(0, "icmp_code")}},
		{"bad icmp code of all types", []*pb.NetworkAclRule{icmpRule(1, new(int32(-1)), new(int32(4)))}, []string{at(0, "icmp_code")}},
		{"bad icmp type of tcp", []*pb.NetworkAclRule{{RuleNumber: 1, Action: pb.NetworkAclRule_DENY, Protocol: "tcp", CidrBlock: "10.0.0.0/8", PortRange: &pb.PortRange{}, IcmpType: new(int32(8)), IcmpCode: new(int32(0))}},
			[]string{at(0, "icmp_type"), at(0, "icmp_code")}},
		{"bad IPv6", []*pb.NetworkAclRule{aclRule(1, "all", "::/0", -1, 0), aclRule(2, "all", "::ffff:10.0.0.0/104", -1, 0)}, []string{at(0, "cidr_block"), at(1, "cidr_block")}},
		{"bad prefix", []*pb.NetworkAclRule{aclRule(1, "all", "10.0.0.0/33", -1, 0), aclRule(2, "all", "10.0.0.0", -1, 0), aclRule(3, "all", "10.0.0.0/08", -1, 0)},
			[]string{at(0, "cidr_block"), at(1, "cidr_block"), at(2, "cidr_block")}},
		{"bad action", []*pb.NetworkAclRule{{RuleNumber: 1, Protocol: "all", CidrBlock: "10.0.0.0/8"}}, []string{at(0, "action")}},
		{"bad all over", []*pb.NetworkAclRule{aclRule(5, "x", "10.0.0.0/8", -1, 0), aclRule(5, "tcp", "y", -1, 0)},
			[]string{at(0, "protocol"), at(1, "rule_number"), at(1, "port_range"), at(1, "cidr_block")}},
	}
	for n, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			acl, err := l.networkACL("vpcs/prod", id(n), tc.rules...)
			if tc.fields != nil {
				wantField(t, err, tc.fields...)
				return
			}
			must(t, err)
			if len(acl.GetIngressRules()) != len(tc.rules) || acl.GetIsDefault() || acl.GetState() != pb.NetworkAcl_PENDING {
				t.Errorf("created %v", acl)
			}
		})
	}
	var many []*pb.NetworkAclRule
	for n := range int32(41) {
		many = append(many, aclRule(n+1, "all", "10.0.0.0/8", -1, 0))
	}
	_, err := l.networkACL("vpcs/prod", "many", many...)
	wantField(t, err, "network_acl.ingress_rules")
	_, err = l.networkACL("vpcs/prod", "many", many[:21]...)
	wantError(t, err, codes.ResourceExhausted, "QUOTA_EXCEEDED", "20 rules per network ACL and direction", quotaACLRules)
}

// TestNetworkACLIsStoredCanonically sends a network ACL in one spelling, reads the other, and sends what
// it reads.
func TestNetworkACLIsStoredCanonically(t *testing.T) {
	l := newLab(t)
	l.vpc(l.a, "prod", "10.0.0.0/16")
	made, err := l.networkACL("vpcs/prod", "web",
		aclRule(200, "6", "100.68.0.18/18", 443, 443), aclRule(100, "-1", "10.0.0.5/8", -1, 0), icmpRule(150, new(int32(3)), new(int32(-1))))
	must(t, err)
	want := []*pb.NetworkAclRule{
		aclRule(100, "all", "10.0.0.0/8", -1, 0), icmpRule(150, new(int32(3)), nil), aclRule(200, "tcp", "100.68.0.0/18", 443, 443),
	}
	for n, rule := range made.GetIngressRules() {
		if !proto.Equal(rule, want[n]) {
			t.Errorf("rule %d is %v, want %v", n, rule, want[n])
		}
	}
	again, err := l.vpcs().UpdateNetworkAcl(l.as(l.a), &pb.UpdateNetworkAclRequest{NetworkAcl: made, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"*"}}})
	must(t, err)
	if !proto.Equal(again, made) {
		t.Errorf("sent back it becomes %v, want %v", again, made)
	}
}

func TestNetworkACLRulesAreReplacedAsAWhole(t *testing.T) {
	l := newLab(t)
	l.vpc(l.a, "prod", "10.0.0.0/16")
	first, err := l.networkACL("vpcs/prod", "web", aclRule(1, "all", "10.0.0.0/8", -1, 0))
	must(t, err)
	update := func(etag string, mask []string, rules ...*pb.NetworkAclRule) (*pb.NetworkAcl, error) {
		return l.vpcs().UpdateNetworkAcl(l.as(l.a), &pb.UpdateNetworkAclRequest{
			NetworkAcl: &pb.NetworkAcl{Name: first.GetUid(), Etag: etag, IngressRules: rules}, UpdateMask: &fieldmaskpb.FieldMask{Paths: mask},
		})
	}
	second, err := update(first.GetEtag(), nil, aclRule(2, "tcp", "10.0.0.0/8", 22, 22), aclRule(3, "udp", "10.0.0.0/8", 53, 53))
	must(t, err)
	if len(second.GetIngressRules()) != 2 || second.GetIngressRules()[0].GetRuleNumber() != 2 {
		t.Errorf("replaced rules are %v", second.GetIngressRules())
	}
	_, err = update(first.GetEtag(), nil, aclRule(4, "all", "10.0.0.0/8", -1, 0))
	wantError(t, err, codes.Aborted, "ETAG_MISMATCH")
	_, err = update("", nil, aclRule(4, "all", "10.0.0.0/8", -1, 0), aclRule(4, "all", "10.0.0.0/8", -1, 0))
	wantField(t, err, "network_acl.ingress_rules[1].rule_number")
	got, err := l.vpcs().GetNetworkAcl(l.as(l.a), &pb.GetNetworkAclRequest{Name: first.GetName()})
	must(t, err)
	if !proto.Equal(got, second) {
		t.Errorf("after refused changes: %v, want %v", got, second)
	}
	none, err := update("", []string{"ingress_rules"})
	must(t, err)
	if len(none.GetIngressRules()) != 0 {
		t.Errorf("emptied rules are %v", none.GetIngressRules())
	}
}

func TestDefaultNetworkACL(t *testing.T) {
	l := newLab(t)
	vpc := l.vpc(l.a, "prod", "10.0.0.0/16")
	const name = "vpcs/prod/networkAcls/default"
	acl, err := l.vpcs().GetNetworkAcl(l.as(l.a), &pb.GetNetworkAclRequest{Name: name})
	must(t, err)
	pass := []*pb.NetworkAclRule{aclRule(100, "all", "0.0.0.0/0", -1, 0)}
	want := &pb.NetworkAcl{
		Name: "accounts/" + l.a + "/" + name, Uid: acl.GetUid(), IsDefault: true, IngressRules: pass, EgressRules: pass,
		State: pb.NetworkAcl_PENDING, Etag: vpc.GetEtag(), CreateTime: vpc.GetCreateTime(), UpdateTime: vpc.GetUpdateTime(),
	}
	if !proto.Equal(acl, want) || !resource.IsUID(acl.GetUid()) {
		t.Errorf("the default is %v, want %v", acl, want)
	}
	_, err = l.networkACL("vpcs/prod", "default")
	wantError(t, err, codes.AlreadyExists, "NETWORK_ACL_EXISTS")
	_, err = l.vpcs().DeleteNetworkAcl(l.as(l.a), &pb.DeleteNetworkAclRequest{Name: acl.GetUid()})
	wantError(t, err, codes.FailedPrecondition, "DEFAULT_NETWORK_ACL", acl.GetUid(), "the default of its VPC")
	changed, err := l.vpcs().UpdateNetworkAcl(l.as(l.a), &pb.UpdateNetworkAclRequest{NetworkAcl: &pb.NetworkAcl{Name: name},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"ingress_rules", "is_default"}}})
	must(t, err)
	if len(changed.GetIngressRules()) != 0 || len(changed.GetEgressRules()) != 1 || !changed.GetIsDefault() {
		t.Errorf("changed to %v", changed)
	}

	// A second one is in the way of deleting the VPC, the default is not.
	more, err := l.networkACL("vpcs/prod", "more")
	must(t, err)
	_, err = l.vpcs().DeleteVpc(l.as(l.a), &pb.DeleteVpcRequest{Name: "vpcs/prod"})
	wantError(t, err, codes.FailedPrecondition, "HAS_CHILDREN", "first delete "+more.GetName())
	_, err = l.vpcs().DeleteNetworkAcl(l.as(l.a), &pb.DeleteNetworkAclRequest{Name: more.GetName()})
	must(t, err)
	must(t, resource.NetworkAcls.Purge(t.Context(), sharedStore, more.GetName()))
	_, err = l.vpcs().DeleteVpc(l.as(l.a), &pb.DeleteVpcRequest{Name: "vpcs/prod"})
	must(t, err)
	acl, err = l.vpcs().GetNetworkAcl(l.as(l.a), &pb.GetNetworkAclRequest{Name: name})
	must(t, err)
	if acl.GetState() != pb.NetworkAcl_DELETING {
		t.Errorf("the default of a VPC that is being deleted is %v", acl.GetState())
	}
	purgeVpc(t, vpc)
	l.vpc(l.a, "prod", "10.0.0.0/16")
}

func TestSubnetsNameNetworkACLs(t *testing.T) {
	l := newLab(t)
	vpc := l.vpc(l.a, "prod", "10.0.0.0/16")
	l.vpc(l.a, "other", "10.0.0.0/16")
	web, err := l.networkACL("vpcs/prod", "web")
	must(t, err)
	foreign, err := l.networkACL("vpcs/other", "web")
	must(t, err)
	create := func(id, cidr, acl string) (*pb.Subnet, error) {
		return l.vpcs().CreateSubnet(l.as(l.a), &pb.CreateSubnetRequest{
			Parent: vpc.GetName(), SubnetId: id, Subnet: &pb.Subnet{AvailabilityZone: "us-east-1a", CidrBlock: cidr, NetworkAcl: acl},
		})
	}
	a, err := create("a", "10.0.1.0/24", web.GetUid())
	must(t, err)
	if a.GetNetworkAcl() != web.GetName() {
		t.Errorf("the subnet names %q", a.GetNetworkAcl())
	}
	b, err := create("b", "10.0.2.0/24", "")
	must(t, err)
	_, err = create("c", "10.0.3.0/24", "vpcs/prod/networkAcls/none")
	wantError(t, err, codes.NotFound, "NETWORK_ACL_NOT_FOUND")
	_, err = create("c", "10.0.3.0/24", foreign.GetName())
	wantField(t, err, "subnet.network_acl")
	_, err = create("c", "10.0.3.0/24", "vpcs/prod")
	wantField(t, err, "subnet.network_acl")
	update := func(subnet *pb.Subnet, acl string) error {
		_, err := l.vpcs().UpdateSubnet(l.as(l.a), &pb.UpdateSubnetRequest{
			Subnet: &pb.Subnet{Name: subnet.GetName(), NetworkAcl: acl}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"network_acl"}},
		})
		return err
	}
	must(t, update(b, "vpcs/prod/networkAcls/web"))
	wantField(t, update(b, foreign.GetUid()), "subnet.network_acl")
	remove := func() error {
		_, err := l.vpcs().DeleteNetworkAcl(l.as(l.a), &pb.DeleteNetworkAclRequest{Name: "vpcs/prod/networkAcls/web"})
		return err
	}
	wantError(t, remove(), codes.FailedPrecondition, "HAS_CHILDREN", "first take it out of "+a.GetName()+", "+b.GetName())
	must(t, update(a, ""))
	wantError(t, remove(), codes.FailedPrecondition, "HAS_CHILDREN", b.GetName())
	must(t, update(b, "vpcs/prod/networkAcls/default"))
	must(t, remove())
	wantError(t, update(a, web.GetName()), codes.FailedPrecondition, "BEING_DELETED")
}

// TestSubnetNamesNetworkACLWhileItIsDeleted holds that one of the two loses, always.
func TestSubnetNamesNetworkACLWhileItIsDeleted(t *testing.T) {
	l := newLab(t)
	subnet := l.subnet(l.vpc(l.a, "prod", "10.0.0.0/16"), "s", "10.0.0.0/24")
	named := 0
	for n := range 100 {
		acl, err := l.networkACL("vpcs/prod", id(n))
		must(t, err)
		var nameErr, deleteErr error
		atOnce(2, func(who int) error {
			if who == 0 {
				_, nameErr = l.vpcs().UpdateSubnet(l.as(l.a), &pb.UpdateSubnetRequest{Subnet: &pb.Subnet{Name: subnet.GetName(), NetworkAcl: acl.GetName()}})
				return nameErr
			}
			_, deleteErr = l.vpcs().DeleteNetworkAcl(l.as(l.a), &pb.DeleteNetworkAclRequest{Name: acl.GetName()})
			return deleteErr
		})
		switch {
		case (nameErr == nil) == (deleteErr == nil):
			t.Fatalf("try %d: name %v, delete %v", n, nameErr, deleteErr)
		case nameErr == nil:
			named++
			wantError(t, deleteErr, codes.FailedPrecondition, "HAS_CHILDREN", subnet.GetName())
		default:
			wantError(t, nameErr, codes.FailedPrecondition, "BEING_DELETED")
		}
	}
	t.Logf("the subnet won %d of 100 times", named)
}
