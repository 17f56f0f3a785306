package api

import (
	"context"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

func TestNamesAndUids(t *testing.T) {
	l := newLab(t)
	vpc := l.vpc(l.a, "prod", "10.0.0.0/16")
	subnet := l.subnet(vpc, "s", "10.0.1.0/24")
	for _, name := range []string{"vpcs/prod", "accounts/" + l.a + "/vpcs/prod", vpc.GetUid()} {
		got, err := l.vpcs().GetVpc(l.as(l.a), &pb.GetVpcRequest{Name: name})
		must(t, err)
		if !proto.Equal(got, vpc) {
			t.Errorf("get %q gave %v, want %v", name, got, vpc)
		}
		page, err := l.vpcs().ListSubnets(l.as(l.a), &pb.ListSubnetsRequest{Parent: name})
		must(t, err)
		if len(page.GetSubnets()) != 1 || page.GetSubnets()[0].GetName() != subnet.GetName() {
			t.Errorf("list below %q gave %v", name, page)
		}
	}
	for _, name := range []string{
		"prod", "vpcs/", "vpcs/Prod", "vpcs/prod/", "/vpcs/prod", "vpcs//prod", "vpcs/prod/subnets/s", "subnets/prod",
		"accounts/" + l.a, "accounts/" + l.a + "/vpcs/..", "vpcs/pr%2fod", "vpcs/prod\x00", "vpcs/é", "vpcs/-", "vpc-0123456789abcdef",
	} {
		_, err := l.vpcs().GetVpc(l.as(l.a), &pb.GetVpcRequest{Name: name})
		wantField(t, err, "name")
	}
	_, err := l.vpcs().GetVpc(l.as(l.a), &pb.GetVpcRequest{Name: subnet.GetUid()})
	wantError(t, err, codes.NotFound, "VPC_NOT_FOUND", subnet.GetUid())
	_, err = l.vpcs().GetVpc(l.as(l.a), &pb.GetVpcRequest{Name: "vpc-0123456789abcdef0"})
	wantError(t, err, codes.NotFound, "VPC_NOT_FOUND")
	_, err = l.vpcs().CreateSubnet(l.as(l.a), &pb.CreateSubnetRequest{
		Parent: "vpcs/absent", SubnetId: "s", Subnet: &pb.Subnet{AvailabilityZone: "us-east-1a", CidrBlock: "10.0.0.0/24"},
	})
	wantError(t, err, codes.NotFound, "VPC_NOT_FOUND", `"vpcs/absent"`)
}

// TestOtherAccountsAreInvisible compares, for each way to name something, the answer about what is
// another account's with that about what is nobody's.
func TestOtherAccountsAreInvisible(t *testing.T) {
	l := newLab(t)
	vpc := l.vpc(l.a, "prod", "10.0.0.0/16")
	subnet := l.subnet(vpc, "s", "10.0.1.0/24")
	attachment := l.attachment(subnet, "w")
	absent := func(name string) string { return "accounts/nobody" + name[len("accounts/"+l.a):] }
	const noUID = "vpc-00000000000000000"
	calls := map[string]func(ctx context.Context, name string) error{
		"get vpc": func(ctx context.Context, name string) error {
			_, err := l.vpcs().GetVpc(ctx, &pb.GetVpcRequest{Name: name})
			return err
		},
		"update vpc": func(ctx context.Context, name string) error {
			_, err := l.vpcs().UpdateVpc(ctx, &pb.UpdateVpcRequest{Vpc: &pb.Vpc{Name: name, DisplayName: new("x")}})
			return err
		},
		"delete vpc": func(ctx context.Context, name string) error {
			_, err := l.vpcs().DeleteVpc(ctx, &pb.DeleteVpcRequest{Name: name})
			return err
		},
		"list subnets": func(ctx context.Context, name string) error {
			_, err := l.vpcs().ListSubnets(ctx, &pb.ListSubnetsRequest{Parent: name})
			return err
		},
		"create subnet": func(ctx context.Context, name string) error {
			_, err := l.vpcs().CreateSubnet(ctx, &pb.CreateSubnetRequest{
				Parent: name, SubnetId: "x", Subnet: &pb.Subnet{AvailabilityZone: "us-east-1a", CidrBlock: "10.0.9.0/24"},
			})
			return err
		},
		"refer to vpc": func(ctx context.Context, name string) error {
			_, err := l.peerings().CreatePeering(ctx, &pb.CreatePeeringRequest{
				PeeringId: "x", Peering: &pb.Peering{Vpc: name, PeerVpc: vpc.GetName()},
			})
			return err
		},
	}
	for what, call := range calls {
		t.Run(what, func(t *testing.T) {
			for _, pair := range [][2]string{{vpc.GetName(), absent(vpc.GetName())}, {vpc.GetUid(), noUID}} {
				theirs, nobodys := call(l.as(l.b), pair[0]), call(l.as(l.b), pair[1])
				wantError(t, theirs, codes.NotFound, "VPC_NOT_FOUND", pair[0])
				wantError(t, nobodys, codes.NotFound, "VPC_NOT_FOUND", pair[1])
			}
		})
	}
	_, err := l.vpcs().GetAttachment(l.as(l.b), &pb.GetAttachmentRequest{Name: attachment.GetName()})
	wantError(t, err, codes.NotFound, "ATTACHMENT_NOT_FOUND")
	_, err = l.vpcs().ListVpcs(l.as(l.b), &pb.ListVpcsRequest{Parent: "accounts/" + l.a})
	wantError(t, err, codes.NotFound, "ACCOUNT_NOT_FOUND")
	_, err = l.vpcs().ListVpcs(l.as(l.b), &pb.ListVpcsRequest{Parent: "accounts/nobody"})
	wantError(t, err, codes.NotFound, "ACCOUNT_NOT_FOUND")
	_, err = l.vpcs().GetVpc(l.operator(), &pb.GetVpcRequest{Name: vpc.GetName()})
	must(t, err)
	_, err = l.vpcs().GetVpc(l.t.Context(), &pb.GetVpcRequest{Name: vpc.GetName()})
	wantError(t, err, codes.Internal, "INTERNAL")
}

func TestUpdateMasks(t *testing.T) {
	l := newLab(t)
	original := l.vpc(l.a, "prod", "10.0.0.0/16")
	cases := []struct {
		name  string
		send  *pb.Vpc
		paths []string
		want  string
		field string
	}{
		{"OK populated", &pb.Vpc{DisplayName: new("one")}, nil, "one", ""},
		{"OK nothing", &pb.Vpc{}, nil, "one", ""},
		{"OK empty is populated", &pb.Vpc{DisplayName: new("")}, nil, "", ""},
		{"OK named", &pb.Vpc{DisplayName: new("two"), Region: "ignored"}, []string{"display_name"}, "two", ""},
		{"OK named and absent clears", &pb.Vpc{}, []string{"display_name"}, "", ""},
		{"OK twice", &pb.Vpc{DisplayName: new("three")}, []string{"display_name", "display_name"}, "three", ""},
		{"OK output-only ignored", &pb.Vpc{State: pb.Vpc_FAILED, Uid: "x"}, []string{"state", "uid", "name", "etag", "create_time"}, "three", ""},
		{"OK a pasted answer", proto.Clone(original).(*pb.Vpc), nil, "three", ""},
		{"OK replaced", &pb.Vpc{Region: "us-east-1", CidrBlock: "10.0.0.0/16"}, []string{"*"}, "", ""},
		{"bad unknown", &pb.Vpc{}, []string{"colour"}, "", "update_mask"},
		{"bad below a scalar", &pb.Vpc{}, []string{"region.name"}, "", "update_mask"},
		{"bad empty path", &pb.Vpc{}, []string{""}, "", "update_mask"},
		{"bad immutable", &pb.Vpc{CidrBlock: "10.1.0.0/16"}, nil, "", "vpc.cidr_block"},
		{"bad immutable cleared", &pb.Vpc{}, []string{"region"}, "", "vpc.region"},
		{"bad value", &pb.Vpc{DisplayName: new(string(make([]byte, 129)))}, nil, "", "vpc.display_name"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			tc.send.Name, tc.send.Etag = "vpcs/prod", ""
			var mask *fieldmaskpb.FieldMask
			if tc.paths != nil {
				mask = &fieldmaskpb.FieldMask{Paths: tc.paths}
			}
			got, err := l.vpcs().UpdateVpc(l.as(l.a), &pb.UpdateVpcRequest{Vpc: tc.send, UpdateMask: mask})
			if tc.field != "" {
				if err == nil {
					t.Fatalf("updated to %v", got)
				}
				wantError(t, err, codes.InvalidArgument, "INVALID_FIELD", tc.field)
				return
			}
			must(t, err)
			if got.GetDisplayName() != tc.want || got.GetUid() != original.GetUid() || got.GetRegion() != "us-east-1" {
				t.Errorf("updated to %v, want display name %q", got, tc.want)
			}
		})
	}
}

func TestEtags(t *testing.T) {
	l := newLab(t)
	first := l.vpc(l.a, "prod", "10.0.0.0/16")
	rename := func(name, etag string) (*pb.Vpc, error) {
		return l.vpcs().UpdateVpc(l.as(l.a), &pb.UpdateVpcRequest{Vpc: &pb.Vpc{Name: "vpcs/prod", DisplayName: &name, Etag: etag}})
	}
	second, err := rename("x", first.GetEtag())
	must(t, err)
	if second.GetEtag() == first.GetEtag() || second.GetUpdateTime().AsTime().Before(first.GetUpdateTime().AsTime()) {
		t.Errorf("etag %q and time %v after %q", second.GetEtag(), second.GetUpdateTime(), first.GetEtag())
	}
	same, err := rename("x", second.GetEtag())
	must(t, err)
	if same.GetEtag() != second.GetEtag() {
		t.Error("an update that changes nothing gives a new etag")
	}
	for _, etag := range []string{first.GetEtag(), "*", "0", "9999999999", "x"} {
		_, err := rename("y", etag)
		wantError(t, err, codes.Aborted, "ETAG_MISMATCH", "vpcs/prod")
		_, err = l.vpcs().DeleteVpc(l.as(l.a), &pb.DeleteVpcRequest{Name: "vpcs/prod", Etag: etag})
		wantError(t, err, codes.Aborted, "ETAG_MISMATCH")
	}
	_, err = l.vpcs().DeleteVpc(l.as(l.a), &pb.DeleteVpcRequest{Name: "vpcs/prod", Etag: second.GetEtag()})
	must(t, err)
}

func TestRequestIDs(t *testing.T) {
	l := newLab(t)
	const id = "6f1c2a34-0c1e-4b7e-9f41-1f0d6f4f8a10"
	req := &pb.CreateVpcRequest{VpcId: "prod", Vpc: &pb.Vpc{Region: "us-east-1", CidrBlock: "10.0.0.0/16"}, RequestId: id}
	first, err := l.vpcs().CreateVpc(l.as(l.a), req)
	must(t, err)
	again, err := l.vpcs().CreateVpc(l.as(l.a), req)
	must(t, err)
	if !proto.Equal(first, again) {
		t.Errorf("repeated request gave %v, want %v", again, first)
	}
	other := proto.Clone(req).(*pb.CreateVpcRequest)
	other.VpcId = "test"
	_, err = l.vpcs().CreateVpc(l.as(l.a), other)
	wantError(t, err, codes.InvalidArgument, "REQUEST_ID_REUSED")
	_, err = l.vpcs().CreateVpc(l.as(l.b), other)
	must(t, err)
	req.RequestId = ""
	_, err = l.vpcs().CreateVpc(l.as(l.a), req)
	wantError(t, err, codes.AlreadyExists, "VPC_EXISTS", "vpcs/prod")
}

func TestPaging(t *testing.T) {
	l := newLab(t)
	for n := range 7 {
		l.vpc(l.a, fmt.Sprintf("v%d", n), "10.0.0.0/16")
	}
	l.vpc(l.b, "other", "10.0.0.0/16")
	var names []string
	req := &pb.ListVpcsRequest{PageSize: 3}
	for {
		page, err := l.vpcs().ListVpcs(l.as(l.a), req)
		must(t, err)
		if len(page.GetVpcs()) > 3 {
			t.Fatalf("page of %d", len(page.GetVpcs()))
		}
		for _, v := range page.GetVpcs() {
			names = append(names, v.GetName()[len("accounts/"+l.a+"/vpcs/"):])
		}
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
			break
		}
		_, err = l.vpcs().ListVpcs(l.as(l.b), &pb.ListVpcsRequest{PageToken: req.PageToken})
		wantField(t, err, "page_token")
		_, err = l.vpcs().ListVpcs(l.as(l.a), &pb.ListVpcsRequest{PageToken: req.PageToken[1:]})
		wantField(t, err, "page_token")
	}
	if fmt.Sprint(names) != "[v0 v1 v2 v3 v4 v5 v6]" {
		t.Errorf("listed %v", names)
	}
	_, err := l.vpcs().ListVpcs(l.as(l.a), &pb.ListVpcsRequest{PageSize: -1})
	wantField(t, err, "page_size")
	_, err = l.vpcs().ListVpcs(l.as(l.a), &pb.ListVpcsRequest{PageSize: 1_000_000_000})
	must(t, err)
	_, err = l.vpcs().ListSubnets(l.as(l.a), &pb.ListSubnetsRequest{})
	wantField(t, err, "parent")
}

func TestDeleteInTwoSteps(t *testing.T) {
	l := newLab(t)
	vpc := l.vpc(l.a, "prod", "10.0.0.0/16")
	var attachments []*pb.Attachment
	subnet := l.subnet(vpc, "s", "10.0.1.0/24")
	for n := range 12 {
		attachments = append(attachments, l.attachment(subnet, fmt.Sprintf("w%02d", n)))
	}
	removeVpc := func() error {
		_, err := l.vpcs().DeleteVpc(l.as(l.a), &pb.DeleteVpcRequest{Name: "vpcs/prod"})
		return err
	}
	removeSubnet := func() error {
		_, err := l.vpcs().DeleteSubnet(l.as(l.a), &pb.DeleteSubnetRequest{Name: subnet.GetUid()})
		return err
	}
	wantError(t, removeSubnet(), codes.FailedPrecondition, "HAS_CHILDREN", attachments[0].GetName())
	wantError(t, removeVpc(), codes.FailedPrecondition, "HAS_CHILDREN", subnet.GetName())
	for _, a := range attachments {
		for range 2 {
			_, err := l.vpcs().DeleteAttachment(l.as(l.a), &pb.DeleteAttachmentRequest{Name: a.GetName()})
			must(t, err)
		}
	}
	shown, err := l.vpcs().GetAttachment(l.as(l.a), &pb.GetAttachmentRequest{Name: attachments[0].GetName()})
	must(t, err)
	if shown.GetState() != pb.Attachment_DELETING {
		t.Errorf("deleted attachment is %v", shown.GetState())
	}
	_, err = l.vpcs().UpdateAttachment(l.as(l.a), &pb.UpdateAttachmentRequest{
		Attachment: &pb.Attachment{Name: shown.GetName(), PublicKey: newKey()},
	})
	wantError(t, err, codes.FailedPrecondition, "BEING_DELETED")
	must(t, removeSubnet())
	must(t, removeVpc())
	_, err = l.vpcs().CreateAttachment(l.as(l.a), &pb.CreateAttachmentRequest{
		Parent: subnet.GetName(), AttachmentId: "late", Attachment: &pb.Attachment{PublicKey: newKey()},
	})
	wantError(t, err, codes.FailedPrecondition, "BEING_DELETED", subnet.GetName())
	_, err = l.vpcs().CreateVpc(l.as(l.a), &pb.CreateVpcRequest{VpcId: "prod", Vpc: &pb.Vpc{Region: "us-east-1", CidrBlock: "10.0.0.0/16"}})
	wantError(t, err, codes.AlreadyExists, "VPC_EXISTS")

	// Reconcile purges; the order in which it comes by does not matter.
	if err := resource.Vpcs.Purge(t.Context(), sharedStore, vpc.GetName()); err == nil {
		t.Error("a VPC was purged before its subnets")
	}
	for _, a := range attachments {
		must(t, resource.Attachments.Purge(t.Context(), sharedStore, a.GetName()))
	}
	must(t, resource.Subnets.Purge(t.Context(), sharedStore, subnet.GetName()))
	purgeVpc(t, vpc)
	for _, kind := range []string{resource.ClaimAddress, resource.ClaimInside} {
		claims, _, err := sharedStore.Claims(t.Context(), kind, vpc.GetName())
		must(t, err)
		if len(claims) != 0 {
			t.Errorf("claims are left: %v", claims)
		}
	}
	_, err = l.vpcs().GetVpc(l.as(l.a), &pb.GetVpcRequest{Name: vpc.GetUid()})
	wantError(t, err, codes.NotFound, "VPC_NOT_FOUND")
	if next := l.vpc(l.a, "prod", "10.0.0.0/16"); next.GetUid() == vpc.GetUid() {
		t.Error("a new VPC has the uid of the one before")
	}
}

func TestObserverDecoratesWhatIsShown(t *testing.T) {
	l := newLab(t)
	l.observe = func(m proto.Message) {
		if vpc, ok := m.(*pb.Vpc); ok && vpc.GetState() == pb.Vpc_PENDING {
			vpc.State, vpc.StateMessage = pb.Vpc_FAILED, "no zone"
		}
	}
	l.vpc(l.a, "prod", "10.0.0.0/16")
	got, err := l.vpcs().UpdateVpc(l.as(l.a), &pb.UpdateVpcRequest{Vpc: &pb.Vpc{Name: "vpcs/prod", DisplayName: new("x")}})
	must(t, err)
	if got.GetState() != pb.Vpc_FAILED || got.GetStateMessage() != "no zone" {
		t.Errorf("shown %v", got)
	}
	stored, err := resource.Vpcs.Get(t.Context(), sharedStore, got.GetName())
	must(t, err)
	if stored.Value.GetState() != pb.Vpc_PENDING || stored.Value.GetStateMessage() != "" || stored.Value.GetEtag() != "" {
		t.Errorf("what was observed is stored: %v", stored.Value)
	}
}
