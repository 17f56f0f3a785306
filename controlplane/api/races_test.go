package api

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

// atOnce runs f n times at once and counts the codes of what it gives.
func atOnce(n int, f func(int) error) map[codes.Code]int {
	counts := map[codes.Code]int{}
	var mu sync.Mutex
	var running sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		running.Go(func() {
			<-start
			err := f(i)
			mu.Lock()
			defer mu.Unlock()
			counts[status.Code(err)]++
		})
	}
	close(start)
	running.Wait()
	return counts
}

func wantCounts(t *testing.T, got, want map[codes.Code]int) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("outcomes %v, want %v", got, want)
	}
}

func TestIdenticalCreatesAtOnce(t *testing.T) {
	l := newLab(t)
	req := &pb.CreateVpcRequest{VpcId: "prod", Vpc: &pb.Vpc{Region: "us-east-1", CidrBlock: "10.0.0.0/16"}}
	create := func(req *pb.CreateVpcRequest) func(int) error {
		return func(int) error {
			_, err := l.vpcs().CreateVpc(l.as(l.a), req)
			return err
		}
	}
	wantCounts(t, atOnce(100, create(req)), map[codes.Code]int{codes.OK: 1, codes.AlreadyExists: 99})
	withID := &pb.CreateVpcRequest{VpcId: "again", Vpc: req.Vpc, RequestId: "0c0ffee0-0000-4000-8000-000000000001"}
	wantCounts(t, atOnce(100, create(withID)), map[codes.Code]int{codes.OK: 100})
}

func TestOverlappingSubnetsAtOnce(t *testing.T) {
	l := newLab(t)
	l.vpc(l.a, "prod", "10.0.0.0/16")
	counts := atOnce(40, func(n int) error {
		_, err := l.vpcs().CreateSubnet(l.as(l.a), &pb.CreateSubnetRequest{
			Parent: "vpcs/prod", SubnetId: fmt.Sprintf("s%d", n),
			Subnet: &pb.Subnet{AvailabilityZone: "us-east-1a", CidrBlock: netip.PrefixFrom(netip.MustParseAddr("10.0.0.0"), 17+n%8).String()},
		})
		return err
	})
	wantCounts(t, counts, map[codes.Code]int{codes.OK: 1, codes.FailedPrecondition: 39})
}

func TestSeparateSubnetsAtOnce(t *testing.T) {
	l := newLab(t)
	l.vpc(l.a, "prod", "10.0.0.0/16")
	counts := atOnce(50, func(n int) error {
		_, err := l.vpcs().CreateSubnet(l.as(l.a), &pb.CreateSubnetRequest{
			Parent: "vpcs/prod", SubnetId: fmt.Sprintf("s%d", n),
			Subnet: &pb.Subnet{AvailabilityZone: "us-east-1a", CidrBlock: fmt.Sprintf("10.0.%d.0/24", n)},
		})
		return err
	})
	wantCounts(t, counts, map[codes.Code]int{codes.OK: 50})
}

func TestAttachmentsAtOnceGetDifferentAddresses(t *testing.T) {
	l := newLab(t)
	subnet := l.subnet(l.vpc(l.a, "prod", "10.0.0.0/16"), "s", "10.0.0.0/25")
	counts := atOnce(60, func(n int) error {
		_, err := l.vpcs().CreateAttachment(l.as(l.a), &pb.CreateAttachmentRequest{
			Parent: subnet.GetName(), AttachmentId: fmt.Sprintf("w%d", n), Attachment: &pb.Attachment{PublicKey: newKey()},
		})
		return err
	})
	wantCounts(t, counts, map[codes.Code]int{codes.OK: 60})
	page, err := l.vpcs().ListAttachments(l.as(l.a), &pb.ListAttachmentsRequest{Parent: subnet.GetName(), PageSize: 100})
	must(t, err)
	seen := map[string]string{}
	for _, a := range page.GetAttachments() {
		if other := seen[a.GetIpAddress()]; other != "" {
			t.Errorf("%s and %s both have %s", other, a.GetName(), a.GetIpAddress())
		}
		seen[a.GetIpAddress()] = a.GetName()
	}
}

// TestChildCreatedWhileParentIsDeleted holds that one of the two loses, always.
func TestChildCreatedWhileParentIsDeleted(t *testing.T) {
	l := newLab(t)
	l.setQuota(l.a, "vpcs", 200)
	bothWon, created := 0, 0
	for n := range 200 {
		vpc := l.vpc(l.a, fmt.Sprintf("v%d", n), "10.0.0.0/16")
		var createErr, deleteErr error
		atOnce(2, func(who int) error {
			if who == 0 {
				_, createErr = l.vpcs().CreateSubnet(l.as(l.a), &pb.CreateSubnetRequest{
					Parent: vpc.GetName(), SubnetId: "s", Subnet: &pb.Subnet{AvailabilityZone: "us-east-1a", CidrBlock: "10.0.0.0/24"},
				})
				return createErr
			}
			_, deleteErr = l.vpcs().DeleteVpc(l.as(l.a), &pb.DeleteVpcRequest{Name: vpc.GetName()})
			return deleteErr
		})
		switch {
		case createErr == nil && deleteErr == nil:
			bothWon++
		case createErr == nil:
			created++
			wantError(t, deleteErr, codes.FailedPrecondition, "HAS_CHILDREN")
		default:
			must(t, deleteErr)
			wantError(t, createErr, codes.FailedPrecondition, "BEING_DELETED")
		}
	}
	if bothWon > 0 {
		t.Errorf("%d times a subnet was created in a VPC that was deleted", bothWon)
	}
	t.Logf("the child won %d of 200 times", created)
}

// TestReferenceMadeWhileTargetIsDeleted is the same for what refers to a resource from elsewhere.
func TestReferenceMadeWhileTargetIsDeleted(t *testing.T) {
	l := newLab(t)
	for quota, value := range map[string]int32{"vpcs": 200, "outstanding-peerings": 200, quotaPeerings: 125} {
		l.setQuota(l.a, quota, value)
	}
	peer := l.vpc(l.a, "peer", "10.9.0.0/16")
	for n := range 100 {
		vpc := l.vpc(l.a, fmt.Sprintf("v%d", n), "10.0.0.0/16")
		var createErr, deleteErr error
		atOnce(2, func(who int) error {
			if who == 0 {
				_, createErr = l.peerings().CreatePeering(l.as(l.a), &pb.CreatePeeringRequest{
					PeeringId: fmt.Sprintf("p%d", n), Peering: &pb.Peering{Vpc: vpc.GetUid(), PeerVpc: peer.GetName()},
				})
				return createErr
			}
			_, deleteErr = l.vpcs().DeleteVpc(l.as(l.a), &pb.DeleteVpcRequest{Name: vpc.GetName()})
			return deleteErr
		})
		if (createErr == nil) == (deleteErr == nil) {
			t.Fatalf("try %d: create %v, delete %v", n, createErr, deleteErr)
		}
	}
}

func TestUpdatesAtOnceAllCount(t *testing.T) {
	l := newLab(t)
	vpc := l.vpc(l.a, "prod", "10.0.0.0/16")
	counts := atOnce(40, func(n int) error {
		text := fmt.Sprint(n)
		_, err := l.vpcs().UpdateVpc(l.as(l.a), &pb.UpdateVpcRequest{Vpc: &pb.Vpc{Name: vpc.GetName(), DisplayName: &text}})
		return err
	})
	wantCounts(t, counts, map[codes.Code]int{codes.OK: 40})
	counts = atOnce(10, func(n int) error {
		text := fmt.Sprint("etag", n)
		stored, err := resource.Vpcs.Get(t.Context(), sharedStore, vpc.GetName())
		if err != nil {
			return err
		}
		_, err = l.vpcs().UpdateVpc(l.as(l.a), &pb.UpdateVpcRequest{
			Vpc: &pb.Vpc{Name: vpc.GetName(), DisplayName: &text, Etag: stored.Etag()},
		})
		return err
	})
	if counts[codes.OK]+counts[codes.Aborted] != 10 || counts[codes.OK] == 0 {
		t.Errorf("outcomes with etags %v", counts)
	}
}
