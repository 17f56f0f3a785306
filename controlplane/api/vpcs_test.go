package api

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

func TestCreateVpcRules(t *testing.T) {
	l := newLab(t)
	cases := []struct {
		name, id, region, cidr string
		fields                 []string
	}{
		{"OK private", "private", "us-east-1", "10.0.0.0/16", nil},
		{"OK overlapping another", "overlap", "us-east-1", "10.0.0.0/16", nil},
		{"OK smallest", "smallest", "us-east-1", "192.168.0.16/28", nil},
		{"OK public", "public", "us-east-1", "8.8.0.0/16", nil},
		{"OK shared address space", "cgnat", "us-east-1", "100.64.0.0/16", nil},
		{"bad host bits", "x", "us-east-1", "10.0.0.5/16", []string{"vpc.cidr_block"}},
		{"bad too large", "x", "us-east-1", "10.0.0.0/15", []string{"vpc.cidr_block"}},
		{"bad too small", "x", "us-east-1", "10.0.0.0/29", []string{"vpc.cidr_block"}},
		{"bad not a prefix", "x", "us-east-1", "10.0.0.0", []string{"vpc.cidr_block"}},
		{"bad leading zero", "x", "us-east-1", "010.0.0.0/16", []string{"vpc.cidr_block"}},
		{"bad leading zero of length", "x", "us-east-1", "10.0.0.0/016", []string{"vpc.cidr_block"}},
		{"bad negative length", "x", "us-east-1", "10.0.0.0/-1", []string{"vpc.cidr_block"}},
		{"bad IPv6", "x", "us-east-1", "2001:db8::/32", []string{"vpc.cidr_block"}},
		{"bad mapped", "x", "us-east-1", "::ffff:10.0.0.0/112", []string{"vpc.cidr_block"}},
		{"bad loopback", "x", "us-east-1", "127.0.0.0/16", []string{"vpc.cidr_block"}},
		{"bad link-local", "x", "us-east-1", "169.254.0.0/16", []string{"vpc.cidr_block"}},
		{"bad multicast", "x", "us-east-1", "224.0.0.0/16", []string{"vpc.cidr_block"}},
		{"bad reserved", "x", "us-east-1", "240.0.0.0/16", []string{"vpc.cidr_block"}},
		{"bad this network", "x", "us-east-1", "0.0.0.0/16", []string{"vpc.cidr_block"}},
		{"bad region and range", "x", "moon-1", "10.0.0.0/8", []string{"vpc.region", "vpc.cidr_block"}},
		{"bad id", "X", "us-east-1", "10.0.0.0/16", []string{"vpc_id"}},
		{"bad nothing", "x", "", "", []string{"vpc.region", "vpc.cidr_block"}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			vpc, err := l.vpcs().CreateVpc(l.as(l.a), &pb.CreateVpcRequest{
				VpcId: tc.id, Vpc: &pb.Vpc{Region: tc.region, CidrBlock: tc.cidr, Name: "ignored", Uid: "ignored", State: pb.Vpc_FAILED},
			})
			if tc.fields != nil {
				wantField(t, err, tc.fields...)
				return
			}
			must(t, err)
			want := &pb.Vpc{
				Name: "accounts/" + l.a + "/vpcs/" + tc.id, Region: tc.region, CidrBlock: tc.cidr, State: pb.Vpc_PENDING,
				DnsServer: strings.NewReplacer(".0/16", ".2", ".16/28", ".18").Replace(tc.cidr),
				Uid:       vpc.GetUid(), Etag: vpc.GetEtag(), CreateTime: vpc.GetCreateTime(), UpdateTime: vpc.GetUpdateTime(),
			}
			if !proto.Equal(vpc, want) {
				t.Errorf("created %v, want %v", vpc, want)
			}
			if !resource.IsUID(vpc.GetUid()) || vpc.GetEtag() == "" || vpc.GetCreateTime() == nil {
				t.Errorf("created %v without uid, etag or time", vpc)
			}
		})
	}
}

func TestHostBitsAreAnsweredWithTheCorrection(t *testing.T) {
	l := newLab(t)
	_, err := l.vpcs().CreateVpc(l.as(l.a), &pb.CreateVpcRequest{VpcId: "x", Vpc: &pb.Vpc{Region: "us-east-1", CidrBlock: "10.1.2.3/16"}})
	wantError(t, err, codes.InvalidArgument, "INVALID_FIELD", `vpc.cidr_block "10.1.2.3/16" has host bits set; use "10.1.0.0/16"`)
}

func TestCreateSubnetRules(t *testing.T) {
	l := newLab(t)
	vpc := l.vpc(l.a, "prod", "10.0.0.0/16")
	l.subnet(vpc, "first", "10.0.1.0/24")
	cases := []struct {
		name, zone, cidr string
		fields           []string
		reason           string
	}{
		{"OK", "us-east-1b", "10.0.2.0/24", nil, ""},
		{"bad other region's zone", "eu-west-1a", "10.0.3.0/24", []string{"subnet.availability_zone"}, ""},
		{"bad unknown zone", "us-east-1z", "10.0.3.0/24", []string{"subnet.availability_zone"}, ""},
		{"bad outside", "us-east-1a", "10.1.0.0/24", []string{"subnet.cidr_block"}, ""},
		{"bad host bits", "us-east-1a", "10.0.3.1/24", []string{"subnet.cidr_block"}, ""},
		{"bad both", "x", "10.0.0.0/29", []string{"subnet.availability_zone", "subnet.cidr_block"}, ""},
		{"bad same", "us-east-1a", "10.0.1.0/24", nil, "CIDR_OVERLAP"},
		{"bad within", "us-east-1a", "10.0.1.64/26", nil, "CIDR_OVERLAP"},
		{"bad around", "us-east-1a", "10.0.0.0/16", nil, "CIDR_OVERLAP"},
	}
	for n, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			subnet, err := l.vpcs().CreateSubnet(l.as(l.a), &pb.CreateSubnetRequest{
				Parent: "vpcs/prod", SubnetId: fmt.Sprintf("s%d", n), Subnet: &pb.Subnet{AvailabilityZone: tc.zone, CidrBlock: tc.cidr},
			})
			switch {
			case tc.fields != nil:
				wantField(t, err, tc.fields...)
			case tc.reason != "":
				wantError(t, err, codes.FailedPrecondition, tc.reason, tc.cidr, "10.0.1.0/24", "subnets/first")
			default:
				must(t, err)
				if got := subnet.GetAvailableIpAddressCount(); got != 256-5 {
					t.Errorf("%d addresses available, want 251", got)
				}
			}
		})
	}
}

func TestSubnetMayFillItsVpc(t *testing.T) {
	l := newLab(t)
	l.subnet(l.vpc(l.a, "prod", "10.0.0.0/28"), "all", "10.0.0.0/28")
}

func TestAttachmentGetsLowestFreeAddress(t *testing.T) {
	l := newLab(t)
	vpc := l.vpc(l.a, "prod", "10.0.0.0/16")
	subnet := l.subnet(vpc, "s", "10.0.1.0/28")
	var last *pb.Attachment
	for n := range 11 {
		last = l.attachment(subnet, fmt.Sprintf("w%d", n))
		if want := fmt.Sprintf("10.0.1.%d", 4+n); last.GetIpAddress() != want {
			t.Errorf("attachment %d has %s, want %s", n, last.GetIpAddress(), want)
		}
	}
	_, err := l.vpcs().CreateAttachment(l.as(l.a), &pb.CreateAttachmentRequest{
		Parent: subnet.GetName(), AttachmentId: "more", Attachment: &pb.Attachment{PublicKey: newKey()},
	})
	wantError(t, err, codes.ResourceExhausted, "AZ_ADDRESSES_EXHAUSTED", subnet.GetName())
	full, err := l.vpcs().GetSubnet(l.as(l.a), &pb.GetSubnetRequest{Name: subnet.GetUid()})
	must(t, err)
	if full.GetAvailableIpAddressCount() != 0 {
		t.Errorf("%d addresses available in a full subnet", full.GetAvailableIpAddressCount())
	}
	_, err = l.vpcs().DeleteAttachment(l.as(l.a), &pb.DeleteAttachmentRequest{Name: last.GetName()})
	must(t, err)
	must(t, resource.Attachments.Purge(t.Context(), sharedStore, last.GetName()))
	if again := l.attachment(subnet, "again"); again.GetIpAddress() != last.GetIpAddress() {
		t.Errorf("after a purge got %s, want the freed %s", again.GetIpAddress(), last.GetIpAddress())
	}
}

func TestPublicKeysAreUniqueAcrossAccounts(t *testing.T) {
	l := newLab(t)
	key := newKey()
	create := func(account, id, key string) (*pb.Attachment, error) {
		return l.vpcs().CreateAttachment(l.as(account), &pb.CreateAttachmentRequest{
			Parent: "vpcs/prod/subnets/s", AttachmentId: id, Attachment: &pb.Attachment{PublicKey: key},
		})
	}
	for _, account := range []string{l.a, l.b} {
		l.subnet(l.vpc(account, "prod", "10.0.0.0/16"), "s", "10.0.1.0/24")
	}
	_, err := create(l.a, "one", key)
	must(t, err)
	_, err = create(l.b, "one", key)
	wantError(t, err, codes.AlreadyExists, "PUBLIC_KEY_IN_USE")
	if text := err.Error(); containsAny(text, l.a+"/", key) {
		t.Errorf("the error tells whose key it is: %s", text)
	}
	_, err = l.vpns().CreateCustomerGateway(l.as(l.b), &pb.CreateCustomerGatewayRequest{
		CustomerGatewayId: "site", CustomerGateway: &pb.CustomerGateway{PublicKey: key},
	})
	wantError(t, err, codes.AlreadyExists, "PUBLIC_KEY_IN_USE")

	t.Run("key change frees the old one", func(t *testing.T) {
		next := newKey()
		got, err := l.vpcs().UpdateAttachment(l.as(l.a), &pb.UpdateAttachmentRequest{
			Attachment: &pb.Attachment{Name: "vpcs/prod/subnets/s/attachments/one", PublicKey: next},
		})
		must(t, err)
		if got.GetPublicKey() != next || got.GetIpAddress() != "10.0.1.4" {
			t.Errorf("after a key change: %v", got)
		}
		_, err = create(l.b, "one", next)
		wantError(t, err, codes.AlreadyExists, "PUBLIC_KEY_IN_USE")
		_, err = create(l.b, "one", key)
		must(t, err)
		_, err = l.vpcs().UpdateAttachment(l.as(l.b), &pb.UpdateAttachmentRequest{
			Attachment: &pb.Attachment{Name: "vpcs/prod/subnets/s/attachments/one", PublicKey: next},
		})
		wantError(t, err, codes.AlreadyExists, "PUBLIC_KEY_IN_USE")
		_, err = l.vpcs().UpdateAttachment(l.as(l.b), &pb.UpdateAttachmentRequest{
			Attachment: &pb.Attachment{Name: "vpcs/prod/subnets/s/attachments/one", PublicKey: fromHex(lowOrder[0])},
		})
		wantField(t, err, "attachment.public_key")
	})
}
