package api

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

// admits gives a rule for a protocol from a prefix or, where that has no bits, a security group. Ports
// are as in aclRule.
func admits(protocol, source string, from, to int32) *pb.SecurityGroupRule {
	rule := &pb.SecurityGroupRule{Protocol: protocol, Source: &pb.SecurityGroupRule_SourceGroup{SourceGroup: source}}
	if !strings.Contains(source, "securityGroups/") && !strings.HasPrefix(source, "sg-") {
		rule.Source = &pb.SecurityGroupRule_CidrBlock{CidrBlock: source}
	}
	if from >= 0 {
		rule.PortRange = &pb.PortRange{From: from, To: to}
	}
	return rule
}

func (l *lab) group(account, vpc, id string, rules ...*pb.SecurityGroupRule) (*pb.SecurityGroup, error) {
	return l.vpcs().CreateSecurityGroup(l.as(account), &pb.CreateSecurityGroupRequest{
		Parent: vpc, SecurityGroupId: id, SecurityGroup: &pb.SecurityGroup{IngressRules: rules},
	})
}

func (l *lab) regroup(account, name string, rules ...*pb.SecurityGroupRule) (*pb.SecurityGroup, error) {
	return l.vpcs().UpdateSecurityGroup(l.as(account), &pb.UpdateSecurityGroupRequest{
		SecurityGroup: &pb.SecurityGroup{Name: name, IngressRules: rules}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"ingress_rules"}},
	})
}

func (l *lab) deleteGroup(account, name string) error {
	_, err := l.vpcs().DeleteSecurityGroup(l.as(account), &pb.DeleteSecurityGroupRequest{Name: name})
	return err
}

func TestSecurityGroupRules(t *testing.T) {
	l := newLab(t)
	l.vpc(l.a, "prod", "10.0.0.0/16")
	_, err := l.group(l.a, "vpcs/prod", "app")
	must(t, err)
	at := func(n int, field string) string {
		return strings.TrimSuffix(fmt.Sprintf("security_group.ingress_rules[%d].%s", n, field), ".")
	}
	const app = "vpcs/prod/securityGroups/app"
	described := func(text string) *pb.SecurityGroupRule {
		rule := admits("all", "10.0.0.0/8", -1, 0)
		rule.Description = text
		return rule
	}
	cases := []struct {
		name   string
		rules  []*pb.SecurityGroupRule
		fields []string
	}{
		{"OK none", nil, nil},
		{"OK", []*pb.SecurityGroupRule{admits("tcp", "10.0.0.0/16", 443, 443), admits("udp", app, 0, 65535), admits("icmp", app, -1, 0), admits("132", app, -1, 0)}, nil},
		{"OK description", []*pb.SecurityGroupRule{described(strings.Repeat("ä", 255))}, nil},
		{"OK same ports of another source", []*pb.SecurityGroupRule{admits("tcp", "10.0.0.0/16", 443, 443), admits("tcp", "10.1.0.0/16", 443, 443), admits("tcp", app, 443, 443)}, nil},
		{"bad duplicate", []*pb.SecurityGroupRule{admits("tcp", "10.0.0.0/24", 1, 1), admits("tcp", "10.0.0.0/24", 1, 1)}, []string{at(1, "")}},
		{"bad duplicate in another spelling", []*pb.SecurityGroupRule{admits("tcp", "10.0.0.1/24", 1, 1), admits("6", "10.0.0.0/24", 1, 1)}, []string{at(1, "")}},
		{"bad duplicate with another description", []*pb.SecurityGroupRule{described("a"), described("b")}, []string{at(1, "")}},
		{"bad duplicate group", []*pb.SecurityGroupRule{admits("all", app, -1, 0), admits("-1", "accounts/"+l.a+"/"+app, -1, 0)}, []string{at(1, "")}},
		{"bad no source", []*pb.SecurityGroupRule{{Protocol: "all"}}, []string{at(0, "")}},
		{"bad empty sources", []*pb.SecurityGroupRule{admits("all", "", -1, 0), {Protocol: "all", Source: &pb.SecurityGroupRule_SourceGroup{}}}, []string{at(0, "cidr_block"), at(1, "source_group")}},
		{"bad protocol", []*pb.SecurityGroupRule{admits("256", app, -1, 0), admits("gre", app, -1, 0)}, []string{at(0, "protocol"), at(1, "protocol")}},
		{"bad ports", []*pb.SecurityGroupRule{admits("tcp", app, -1, 0), admits("udp", app, 2, 1), admits("all", app, 1, 1)}, []string{at(0, "port_range"), at(1, "port_range.to"), at(2, "port_range")}},
		{"bad prefix", []*pb.SecurityGroupRule{admits("all", "::/0", -1, 0), admits("all", "10.0.0.0", -1, 0)}, []string{at(0, "cidr_block"), at(1, "cidr_block")}},
		{"bad description", []*pb.SecurityGroupRule{described("a\nb"), described(strings.Repeat("a", 256))}, []string{at(0, "description"), at(1, "description")}},
		{"bad group's name", []*pb.SecurityGroupRule{{Protocol: "all", Source: &pb.SecurityGroupRule_SourceGroup{SourceGroup: "vpcs/prod"}}}, []string{at(0, "source_group")}},
	}
	for n, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			group, err := l.group(l.a, "vpcs/prod", id(n), tc.rules...)
			if tc.fields != nil {
				wantField(t, err, tc.fields...)
				return
			}
			must(t, err)
			if len(group.GetIngressRules()) != len(tc.rules) || group.GetState() != pb.SecurityGroup_PENDING {
				t.Errorf("created %v", group)
			}
		})
	}
	var many []*pb.SecurityGroupRule
	for n := range int32(61) {
		many = append(many, admits("tcp", "10.0.0.0/8", n, n))
	}
	_, err = l.group(l.a, "vpcs/prod", "many", many...)
	wantField(t, err, "security_group.ingress_rules")
	_, err = l.group(l.a, "vpcs/prod", "many", many[:60]...)
	must(t, err)
}

func TestSecurityGroupIsStoredCanonically(t *testing.T) {
	l := newLab(t)
	l.vpc(l.a, "prod", "10.0.0.0/16")
	app, err := l.group(l.a, "vpcs/prod", "app")
	must(t, err)
	forged := admits("all", "vpcs/prod/securityGroups/app", -1, 0)
	forged.SourceGroupUid = "sg-00000000000000000"
	made, err := l.group(l.a, "vpcs/prod", "web", admits("17", "100.68.0.18/18", 53, 53), forged, admits("all", "vpcs/prod/securityGroups/web", -1, 0))
	must(t, err)
	want := []*pb.SecurityGroupRule{admits("udp", "100.68.0.0/18", 53, 53), admits("all", app.GetName(), -1, 0), admits("all", made.GetName(), -1, 0)}
	want[1].SourceGroupUid, want[2].SourceGroupUid = app.GetUid(), made.GetUid()
	for n, rule := range made.GetIngressRules() {
		if !proto.Equal(rule, want[n]) {
			t.Errorf("rule %d is %v, want %v", n, rule, want[n])
		}
	}
	again, err := l.vpcs().UpdateSecurityGroup(l.as(l.a), &pb.UpdateSecurityGroupRequest{SecurityGroup: made, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"*"}}})
	must(t, err)
	if !proto.Equal(again, made) {
		t.Errorf("sent back it becomes %v, want %v", again, made)
	}
	byUID, err := l.regroup(l.a, made.GetUid(), want[0], admits("all", app.GetUid(), -1, 0), admits("all", made.GetUid(), -1, 0))
	must(t, err)
	if !proto.Equal(byUID, made) {
		t.Errorf("with uids it becomes %v, want %v", byUID, made)
	}
}

// TestSourceGroups has groups of the VPC, of peered and other VPCs, of the account and of others.
func TestSourceGroups(t *testing.T) {
	l := newLab(t)
	own, theirs := l.vpc(l.a, "own", "10.0.0.0/16"), l.vpc(l.b, "theirs", "10.1.0.0/16")
	l.vpc(l.a, "apart", "10.2.0.0/16")
	web, err := l.group(l.a, own.GetName(), "web")
	must(t, err)
	apart, err := l.group(l.a, "vpcs/apart", "app")
	must(t, err)
	foreign, err := l.group(l.b, theirs.GetName(), "app")
	must(t, err)
	admit := func(source string) (*pb.SecurityGroup, error) {
		return l.regroup(l.a, web.GetName(), admits("all", source, -1, 0))
	}
	_, err = admit("vpcs/own/securityGroups/none")
	wantError(t, err, codes.NotFound, "SECURITY_GROUP_NOT_FOUND")
	_, err = admit(apart.GetUid())
	wantField(t, err, "security_group.ingress_rules[0].source_group")
	for _, name := range []string{foreign.GetName(), foreign.GetUid(), "accounts/nobody/vpcs/v/securityGroups/g", "sg-00000000000000000"} {
		_, err = admit(name)
		wantError(t, err, codes.NotFound, "SECURITY_GROUP_NOT_FOUND", name)
	}

	peering, err := l.peer("p", own.GetName(), theirs.GetName())
	must(t, err)
	_, err = admit(foreign.GetName())
	wantError(t, err, codes.NotFound, "SECURITY_GROUP_NOT_FOUND")
	_, err = l.peerings().AcceptPeering(l.as(l.b), &pb.AcceptPeeringRequest{Name: peering.GetName()})
	must(t, err)
	got, err := admit(foreign.GetUid())
	must(t, err)
	if rule := got.GetIngressRules()[0]; rule.GetSourceGroup() != foreign.GetName() || rule.GetSourceGroupUid() != foreign.GetUid() {
		t.Errorf("the rule is %v", rule)
	}

	// Its owner may delete it whatever others' rules say. The rule stays, and may be sent back.
	must(t, l.deleteGroup(l.b, foreign.GetName()))
	must(t, resource.SecurityGroups.Purge(t.Context(), sharedStore, foreign.GetName()))
	kept, err := l.regroup(l.a, web.GetName(), got.GetIngressRules()[0], admits("tcp", "10.0.0.0/8", 1, 1))
	must(t, err)
	if rule := kept.GetIngressRules()[0]; rule.GetSourceGroupUid() != foreign.GetUid() {
		t.Errorf("the rule without a source is %v", rule)
	}
	other, err := l.group(l.a, own.GetName(), "other")
	must(t, err)
	_, err = l.regroup(l.a, other.GetName(), got.GetIngressRules()[0])
	wantError(t, err, codes.NotFound, "SECURITY_GROUP_NOT_FOUND")
	next, err := l.group(l.b, theirs.GetName(), "app")
	must(t, err)
	if got, err = admit(foreign.GetName()); err != nil || got.GetIngressRules()[0].GetSourceGroupUid() != next.GetUid() {
		t.Errorf("named anew the rule is %v (%v), want the group of uid %s", got.GetIngressRules(), err, next.GetUid())
	}
}

func TestSecurityGroupsInUseStay(t *testing.T) {
	s := newShop(t)
	s.offer("a")
	app, err := s.group(s.a, "vpcs/prod", "app")
	must(t, err)
	web, err := s.group(s.a, "vpcs/prod", "web", admits("all", app.GetName(), -1, 0))
	must(t, err)
	must(t, errOf(s.regroup(s.a, app.GetName(), admits("all", web.GetName(), -1, 0), admits("all", app.GetName(), -1, 0))))
	endpoint, err := s.create("vpcs/prod", "e", &pb.Endpoint{
		ServiceName: "endpointServices/orders", Subnets: []string{"vpcs/prod/subnets/a"}, SecurityGroups: []string{web.GetUid()},
	})
	must(t, err)
	attachment, err := s.vpcs().CreateAttachment(s.ctx, &pb.CreateAttachmentRequest{Parent: "vpcs/prod/subnets/a", AttachmentId: "app",
		Attachment: &pb.Attachment{PublicKey: newKey(), SecurityGroups: []string{"vpcs/prod/securityGroups/app"}}})
	must(t, err)
	if got := endpoint.GetSecurityGroups(); len(got) != 1 || got[0] != web.GetName() {
		t.Errorf("the endpoint has %q", got)
	}
	if got := attachment.GetSecurityGroups(); len(got) != 1 || got[0] != app.GetName() {
		t.Errorf("the attachment has %q", got)
	}
	wantError(t, s.deleteGroup(s.a, web.GetName()), codes.FailedPrecondition, "HAS_CHILDREN", endpoint.GetName(), app.GetName())
	wantError(t, s.deleteGroup(s.a, app.GetName()), codes.FailedPrecondition, "HAS_CHILDREN", attachment.GetName(), web.GetName())
	_, err = s.vpcs().DeleteVpc(s.ctx, &pb.DeleteVpcRequest{Name: "vpcs/prod"})
	wantError(t, err, codes.FailedPrecondition, "HAS_CHILDREN", web.GetName())

	must(t, errOf(s.eps.UpdateEndpoint(s.ctx, &pb.UpdateEndpointRequest{
		Endpoint: &pb.Endpoint{Name: endpoint.GetName()}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"security_groups"}}})))
	must(t, errOf(s.vpcs().UpdateAttachment(s.ctx, &pb.UpdateAttachmentRequest{
		Attachment: &pb.Attachment{Name: attachment.GetName(), SecurityGroups: []string{web.GetName()}}})))
	wantError(t, s.deleteGroup(s.a, app.GetName()), codes.FailedPrecondition, "HAS_CHILDREN", web.GetName())
	must(t, errOf(s.regroup(s.a, web.GetName())))
	must(t, s.deleteGroup(s.a, app.GetName()))
	_, err = s.regroup(s.a, web.GetName(), admits("all", app.GetName(), -1, 0))
	wantError(t, err, codes.FailedPrecondition, "BEING_DELETED")
	must(t, resource.SecurityGroups.Purge(t.Context(), sharedStore, app.GetName()))
}

func errOf[T any](_ T, err error) error { return err }

func TestOnlyGroupsOfTheVpcCanBeJoined(t *testing.T) {
	s := newShop(t)
	s.offer("a")
	for _, vpc := range []string{"prod", "partner"} {
		must(t, errOf(s.group(s.a, "vpcs/"+vpc, "g")))
	}
	own := s.full("vpcs/prod/securityGroups/g")
	cases := []struct {
		name   string
		groups []string
		check  func(t *testing.T, err error, field string)
	}{
		{"another VPC's", []string{own, "vpcs/partner/securityGroups/g"}, func(t *testing.T, err error, field string) { wantField(t, err, field+"[1]") }},
		{"twice", []string{own, "vpcs/prod/securityGroups/g"}, func(t *testing.T, err error, field string) { wantField(t, err, field+"[1]") }},
		{"of another kind", []string{"vpcs/prod/subnets/a"}, func(t *testing.T, err error, field string) { wantField(t, err, field+"[0]") }},
		{"too many", strings.Split(strings.Repeat("x ", 16)+"x", " "), func(t *testing.T, err error, field string) { wantField(t, err, field) }},
		{"none such", []string{"vpcs/prod/securityGroups/x"}, func(t *testing.T, err error, _ string) {
			wantError(t, err, codes.NotFound, "SECURITY_GROUP_NOT_FOUND")
		}},
		{"another account's", []string{"accounts/" + s.b + "/vpcs/prod/securityGroups/g"}, func(t *testing.T, err error, _ string) {
			wantError(t, err, codes.NotFound, "SECURITY_GROUP_NOT_FOUND")
		}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			_, err := s.create("vpcs/prod", "e", &pb.Endpoint{ServiceName: "endpointServices/orders", Subnets: []string{"vpcs/prod/subnets/a"}, SecurityGroups: tc.groups})
			tc.check(t, err, "endpoint.security_groups")
			_, err = s.vpcs().CreateAttachment(s.ctx, &pb.CreateAttachmentRequest{Parent: "vpcs/prod/subnets/a", AttachmentId: "app",
				Attachment: &pb.Attachment{PublicKey: newKey(), SecurityGroups: tc.groups}})
			tc.check(t, err, "attachment.security_groups")
		})
	}
}

// TestGroupIsNamedWhileItIsDeleted holds that one of the two loses, always, whatever names the group.
func TestGroupIsNamedWhileItIsDeleted(t *testing.T) {
	s := newShop(t)
	s.offer("a")
	endpoint, err := s.endpoint("e", "a")
	must(t, err)
	attachment, err := s.vpcs().CreateAttachment(s.ctx, &pb.CreateAttachmentRequest{
		Parent: "vpcs/prod/subnets/a", AttachmentId: "app", Attachment: &pb.Attachment{PublicKey: newKey()}})
	must(t, err)
	must(t, errOf(s.group(s.a, "vpcs/prod", "web")))
	names := map[string]func(group string) error{
		"endpoint": func(group string) error {
			return errOf(s.eps.UpdateEndpoint(s.ctx, &pb.UpdateEndpointRequest{Endpoint: &pb.Endpoint{Name: endpoint.GetName(), SecurityGroups: []string{group}}}))
		},
		"attachment": func(group string) error {
			return errOf(s.vpcs().UpdateAttachment(s.ctx, &pb.UpdateAttachmentRequest{Attachment: &pb.Attachment{Name: attachment.GetName(), SecurityGroups: []string{group}}}))
		},
		"rule": func(group string) error {
			return errOf(s.regroup(s.a, "vpcs/prod/securityGroups/web", admits("all", group, -1, 0)))
		},
	}
	for what, name := range names {
		t.Run(what, func(t *testing.T) {
			named := 0
			for n := range 50 {
				group, err := s.group(s.a, "vpcs/prod", what+id(n))
				must(t, err)
				var nameErr, deleteErr error
				atOnce(2, func(who int) error {
					if who == 0 {
						nameErr = name(group.GetName())
						return nameErr
					}
					deleteErr = s.deleteGroup(s.a, group.GetName())
					return deleteErr
				})
				switch {
				case (nameErr == nil) == (deleteErr == nil):
					t.Fatalf("try %d: name %v, delete %v", n, nameErr, deleteErr)
				case nameErr == nil:
					named++
					wantError(t, deleteErr, codes.FailedPrecondition, "HAS_CHILDREN")
				default:
					wantError(t, nameErr, codes.FailedPrecondition, "BEING_DELETED")
				}
			}
			t.Logf("the name won %d of 50 times", named)
		})
	}
}
