package api

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

// peer asks for a peering of two VPCs in the account of the first.
func (l *lab) peer(id, vpc, peer string) (*pb.Peering, error) {
	return l.peerings().CreatePeering(l.as(resource.Account(vpc)), &pb.CreatePeeringRequest{
		PeeringId: id, Peering: &pb.Peering{Vpc: vpc, PeerVpc: peer},
	})
}

func TestPeeringIsAcceptedByTheOtherOwner(t *testing.T) {
	l := newLab(t)
	a, b := l.vpc(l.a, "a", "10.0.0.0/16"), l.vpc(l.b, "b", "10.1.0.0/16")
	p, err := l.peer("p", a.GetName(), b.GetName())
	must(t, err)
	if p.GetState() != pb.Peering_PENDING_ACCEPTANCE || p.GetPeerVpc() != b.GetName() ||
		p.GetTunnelAccess() != pb.Peering_ALLOWED || p.GetPeerTunnelAccess() != pb.Peering_ALLOWED {
		t.Errorf("created %v", p)
	}
	if life := p.GetExpireTime().AsTime().Sub(p.GetCreateTime().AsTime()); life != 7*24*time.Hour {
		t.Errorf("expires after %v", life)
	}
	name := &pb.AcceptPeeringRequest{Name: p.GetUid()}
	_, err = l.peerings().AcceptPeering(l.as(l.a), name)
	wantError(t, err, codes.PermissionDenied, "PERMISSION_DENIED")
	for range 2 {
		p, err = l.peerings().AcceptPeering(l.as(l.b), name)
		must(t, err)
		if p.GetState() != pb.Peering_ACTIVE {
			t.Errorf("accepted peering is %v", p.GetState())
		}
	}
	_, err = l.peerings().RejectPeering(l.as(l.b), &pb.RejectPeeringRequest{Name: p.GetName()})
	wantError(t, err, codes.FailedPrecondition, "NOT_PENDING", "is ACTIVE")
	_, err = l.peer("again", b.GetName(), a.GetName())
	wantError(t, err, codes.FailedPrecondition, "PAIR_PEERED", p.GetName())

	for _, account := range []string{l.a, l.b} {
		got, err := l.peerings().GetPeering(l.as(account), &pb.GetPeeringRequest{Name: p.GetName()})
		must(t, err)
		page, err := l.peerings().ListPeerings(l.as(account), &pb.ListPeeringsRequest{})
		must(t, err)
		if len(page.GetPeerings()) != 1 || !proto.Equal(page.GetPeerings()[0], got) {
			t.Errorf("%s lists %v, want %v", account, page.GetPeerings(), got)
		}
		_, err = l.vpcs().DeleteVpc(l.as(account), &pb.DeleteVpcRequest{Name: "vpcs/" + account[:1]})
		wantError(t, err, codes.FailedPrecondition, "HAS_CHILDREN", p.GetName())
	}
	other := newLab(t)
	_, err = other.peerings().GetPeering(other.as(other.a), &pb.GetPeeringRequest{Name: p.GetName()})
	wantError(t, err, codes.NotFound, "PEERING_NOT_FOUND")
	_, err = other.peerings().AcceptPeering(other.as(other.a), &pb.AcceptPeeringRequest{Name: p.GetUid()})
	wantError(t, err, codes.NotFound, "PEERING_NOT_FOUND")
	_, err = l.peerings().DeletePeering(l.as(l.b), &pb.DeletePeeringRequest{Name: p.GetUid()})
	must(t, err)
	must(t, resource.Peerings.Purge(t.Context(), sharedStore, p.GetName()))
	_, err = l.peer("again", b.GetName(), a.GetName())
	must(t, err)
}

func TestCreatePeeringRules(t *testing.T) {
	l := newLab(t)
	a, inside := l.vpc(l.a, "a", "10.0.0.0/16"), l.vpc(l.b, "inside", "10.0.128.0/20")
	far, err := l.vpcs().CreateVpc(l.as(l.a), &pb.CreateVpcRequest{VpcId: "far", Vpc: &pb.Vpc{Region: "eu-west-1", CidrBlock: "10.0.64.0/18"}})
	must(t, err)
	own, gone := l.vpc(l.a, "own", "10.0.0.0/20"), l.vpc(l.a, "gone", "10.8.0.0/16")
	_, err = l.vpcs().DeleteVpc(l.as(l.a), &pb.DeleteVpcRequest{Name: "vpcs/gone"})
	must(t, err)
	cases := []struct {
		name, vpc, peer string
		code            codes.Code
		reason          string
		texts           []string
	}{
		{"bad itself", a.GetName(), a.GetUid(), codes.InvalidArgument, "INVALID_FIELD", []string{"peering.peer_vpc"}},
		{"bad overlap", a.GetName(), own.GetName(), codes.FailedPrecondition, "CIDR_OVERLAP", []string{"10.0.0.0/16", own.GetName()}},
		{"bad overlap in another region", a.GetName(), far.GetName(), codes.FailedPrecondition, "CIDR_OVERLAP", []string{"10.0.0.0/16", "10.0.64.0/18"}},
		{"bad absent peer", a.GetName(), "vpcs/x", codes.NotFound, "VPC_NOT_FOUND", nil},
		{"bad another's uid", a.GetName(), inside.GetUid(), codes.NotFound, "VPC_NOT_FOUND", nil},
		{"bad deleted peer", a.GetName(), gone.GetName(), codes.FailedPrecondition, "BEING_DELETED", nil},
		{"bad malformed peer", a.GetName(), "x", codes.InvalidArgument, "INVALID_FIELD", []string{"peering.peer_vpc"}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			_, err := l.peer("p", tc.vpc, tc.peer)
			wantError(t, err, tc.code, tc.reason, tc.texts...)
		})
	}
	_, err = l.peerings().CreatePeering(l.as(l.a), &pb.CreatePeeringRequest{
		PeeringId: "p", Peering: &pb.Peering{Vpc: inside.GetName(), PeerVpc: a.GetName()},
	})
	wantError(t, err, codes.NotFound, "VPC_NOT_FOUND", inside.GetName())
}

// TestAcceptancePeersWhatFits holds that what the request did not look at, its acceptance does.
func TestAcceptancePeersWhatFits(t *testing.T) {
	l := newLab(t)
	a, inside, gone := l.vpc(l.a, "a", "10.0.0.0/16"), l.vpc(l.b, "inside", "10.0.128.0/20"), l.vpc(l.b, "gone", "10.8.0.0/16")
	far, err := l.vpcs().CreateVpc(l.as(l.b), &pb.CreateVpcRequest{VpcId: "far", Vpc: &pb.Vpc{Region: "eu-west-1", CidrBlock: "10.0.64.0/18"}})
	must(t, err)
	_, err = l.vpcs().DeleteVpc(l.as(l.b), &pb.DeleteVpcRequest{Name: gone.GetName()})
	must(t, err)
	for n, tc := range []struct {
		peer   string
		code   codes.Code
		reason string
	}{
		{inside.GetName(), codes.FailedPrecondition, "CIDR_OVERLAP"},
		{far.GetName(), codes.FailedPrecondition, "CIDR_OVERLAP"},
		{gone.GetName(), codes.FailedPrecondition, "BEING_DELETED"},
		{"accounts/" + l.b + "/vpcs/absent", codes.NotFound, "VPC_NOT_FOUND"},
	} {
		p, err := l.peer(id(n), a.GetName(), tc.peer)
		must(t, err)
		_, err = l.peerings().AcceptPeering(l.as(l.b), &pb.AcceptPeeringRequest{Name: p.GetName()})
		wantError(t, err, tc.code, tc.reason)
		if tc.reason == "CIDR_OVERLAP" && strings.Contains(err.Error(), "10.0.0.0/16") {
			t.Errorf("tells the other's addresses: %v", err)
		}
	}
}

func TestPeeringExpires(t *testing.T) {
	l := newLab(t)
	a, b := l.vpc(l.a, "a", "10.0.0.0/16"), l.vpc(l.b, "b", "10.1.0.0/16")
	old, err := l.peer("old", a.GetName(), b.GetName())
	must(t, err)
	l.advance(7*24*time.Hour - time.Minute)
	_, err = l.peer("new", b.GetName(), a.GetName())
	wantError(t, err, codes.FailedPrecondition, "PAIR_PEERED")
	l.advance(time.Minute)
	got, err := l.peerings().GetPeering(l.as(l.b), &pb.GetPeeringRequest{Name: old.GetName()})
	must(t, err)
	if got.GetState() != pb.Peering_EXPIRED {
		t.Errorf("after 7 days: %v", got.GetState())
	}
	_, err = l.peerings().AcceptPeering(l.as(l.b), &pb.AcceptPeeringRequest{Name: old.GetName()})
	wantError(t, err, codes.FailedPrecondition, "NOT_PENDING", "is EXPIRED")
	next, err := l.peer("new", b.GetName(), a.GetName())
	must(t, err)
	must(t, l.deletePeering(old))
	must(t, resource.Peerings.Purge(t.Context(), sharedStore, old.GetName()))
	_, err = l.peer("third", a.GetName(), b.GetName())
	wantError(t, err, codes.FailedPrecondition, "PAIR_PEERED", next.GetName())
}

// TestPeeringJoinsRegions peers VPCs of two regions, of one owner and of two.
func TestPeeringJoinsRegions(t *testing.T) {
	l := newLab(t)
	near := l.vpc(l.a, "near", "10.0.0.0/16")
	for n, account := range []string{l.a, l.b} {
		far, err := l.vpcs().CreateVpc(l.as(account), &pb.CreateVpcRequest{
			VpcId: "far", Vpc: &pb.Vpc{Region: "eu-west-1", CidrBlock: fmt.Sprintf("10.%d.0.0/16", n+1)},
		})
		must(t, err)
		p, err := l.peer(id(n), near.GetName(), far.GetName())
		must(t, err)
		p, err = l.peerings().AcceptPeering(l.as(account), &pb.AcceptPeeringRequest{Name: p.GetName()})
		must(t, err)
		if p.GetState() != pb.Peering_ACTIVE {
			t.Errorf("accepted peering of two regions is %v", p)
		}
	}
}

// TestExpiredPeeringBlocksNothing lets both VPCs of a request that has expired be peered again and
// deleted, and shows its state to both owners, in lists as well.
func TestExpiredPeeringBlocksNothing(t *testing.T) {
	l := newLab(t)
	a, b := l.vpc(l.a, "a", "10.0.0.0/16"), l.vpc(l.b, "b", "10.1.0.0/16")
	old, err := l.peer("old", a.GetName(), b.GetName())
	must(t, err)
	l.advance(peeringLife)
	shown := func() {
		t.Helper()
		for _, account := range []string{l.a, l.b} {
			page, err := l.peerings().ListPeerings(l.as(account), &pb.ListPeeringsRequest{})
			must(t, err)
			for _, p := range page.GetPeerings() {
				if p.GetName() == old.GetName() && p.GetState() != pb.Peering_EXPIRED {
					t.Errorf("%s lists an expired peering as %v", account, p.GetState())
				}
			}
		}
	}
	shown()
	again, err := l.peer("again", a.GetName(), b.GetName()) // stores that the other has expired
	must(t, err)
	must(t, l.deletePeering(again))
	must(t, resource.Peerings.Purge(t.Context(), sharedStore, again.GetName()))
	for _, vpc := range []*pb.Vpc{a, b} {
		_, err := l.vpcs().DeleteVpc(l.operator(), &pb.DeleteVpcRequest{Name: vpc.GetName()})
		must(t, err)
		purgeVpc(t, vpc)
	}
	shown()
	_, err = l.peerings().AcceptPeering(l.as(l.b), &pb.AcceptPeeringRequest{Name: old.GetName()})
	wantError(t, err, codes.FailedPrecondition, "NOT_PENDING", "is EXPIRED")
	must(t, l.deletePeering(old))
}

// TestRequestsDoNotKeepVPCs has a stranger's request not be in the way of a VPC's owner, whatever became
// of it.
func TestRequestsDoNotKeepVPCs(t *testing.T) {
	l := newLab(t)
	a := l.vpc(l.a, "a", "10.0.0.0/16")
	for n, answer := range []func(*pb.Peering){
		func(*pb.Peering) {},
		func(p *pb.Peering) {
			_, err := l.peerings().RejectPeering(l.as(l.b), &pb.RejectPeeringRequest{Name: p.GetName()})
			must(t, err)
		},
	} {
		b := l.vpc(l.b, id(n), "10.1.0.0/16")
		p, err := l.peer(id(n), a.GetName(), b.GetName())
		must(t, err)
		answer(p)
		_, err = l.vpcs().DeleteVpc(l.as(l.a), &pb.DeleteVpcRequest{Name: a.GetName()})
		wantError(t, err, codes.FailedPrecondition, "HAS_CHILDREN", p.GetName())
		_, err = l.vpcs().DeleteVpc(l.as(l.b), &pb.DeleteVpcRequest{Name: b.GetName()})
		must(t, err)
		purgeVpc(t, b)
		_, err = l.peerings().AcceptPeering(l.as(l.b), &pb.AcceptPeeringRequest{Name: p.GetName()})
		if code := status.Code(err); code != codes.NotFound && code != codes.FailedPrecondition {
			t.Errorf("accepted for a VPC that is gone: %v", err)
		}
	}
}

func (l *lab) deletePeering(p *pb.Peering) error {
	_, err := l.peerings().DeletePeering(l.operator(), &pb.DeletePeeringRequest{Name: p.GetName()})
	return err
}

func TestRejectedPeeringFreesThePair(t *testing.T) {
	l := newLab(t)
	a, b := l.vpc(l.a, "a", "10.0.0.0/16"), l.vpc(l.b, "b", "10.1.0.0/16")
	p, err := l.peer("p", a.GetName(), b.GetName())
	must(t, err)
	p, err = l.peerings().RejectPeering(l.as(l.b), &pb.RejectPeeringRequest{Name: p.GetName()})
	must(t, err)
	if p.GetState() != pb.Peering_REJECTED {
		t.Errorf("rejected peering is %v", p.GetState())
	}
	_, err = l.peerings().AcceptPeering(l.as(l.b), &pb.AcceptPeeringRequest{Name: p.GetName()})
	wantError(t, err, codes.FailedPrecondition, "NOT_PENDING", "is REJECTED")
	_, err = l.peer("q", a.GetName(), b.GetName())
	must(t, err)
}

func TestEachOwnerSetsItsOwnTunnelAccess(t *testing.T) {
	l := newLab(t)
	a, b := l.vpc(l.a, "a", "10.0.0.0/16"), l.vpc(l.b, "b", "10.1.0.0/16")
	_, err := l.peerings().CreatePeering(l.as(l.a), &pb.CreatePeeringRequest{
		PeeringId: "p", Peering: &pb.Peering{Vpc: a.GetName(), PeerVpc: b.GetName(), PeerTunnelAccess: pb.Peering_DENIED},
	})
	wantError(t, err, codes.PermissionDenied, "PERMISSION_DENIED")
	p, err := l.peerings().CreatePeering(l.as(l.a), &pb.CreatePeeringRequest{
		PeeringId: "p", Peering: &pb.Peering{Vpc: a.GetName(), PeerVpc: b.GetName(), TunnelAccess: pb.Peering_DENIED},
	})
	must(t, err)
	cases := []struct {
		name, account string
		change        *pb.Peering
		ok            bool
	}{
		{"OK requester's", l.a, &pb.Peering{TunnelAccess: pb.Peering_ALLOWED}, true},
		{"OK accepter's", l.b, &pb.Peering{PeerTunnelAccess: pb.Peering_DENIED}, true},
		{"OK unchanged by the other", l.b, &pb.Peering{TunnelAccess: pb.Peering_ALLOWED}, true},
		{"bad accepter changes the requester's", l.b, &pb.Peering{TunnelAccess: pb.Peering_DENIED}, false},
		{"bad requester changes the accepter's", l.a, &pb.Peering{PeerTunnelAccess: pb.Peering_ALLOWED}, false},
		{"bad accepter renames", l.b, &pb.Peering{DisplayName: new("mine")}, false},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			tc.change.Name = p.GetName()
			_, err := l.peerings().UpdatePeering(l.as(tc.account), &pb.UpdatePeeringRequest{Peering: tc.change})
			if tc.ok {
				must(t, err)
				return
			}
			wantError(t, err, codes.PermissionDenied, "PERMISSION_DENIED")
		})
	}
	got, err := l.peerings().GetPeering(l.as(l.a), &pb.GetPeeringRequest{Name: "peerings/p"})
	must(t, err)
	if got.GetTunnelAccess() != pb.Peering_ALLOWED || got.GetPeerTunnelAccess() != pb.Peering_DENIED {
		t.Errorf("ended as %v", got)
	}
}

func TestListPeeringsPagesOverBothSides(t *testing.T) {
	l := newLab(t)
	hub := l.vpc(l.a, "hub", "10.0.0.0/16")
	var want []string
	for n := range 5 {
		spoke := l.vpc(l.b, fmt.Sprintf("s%d", n), fmt.Sprintf("10.%d.0.0/16", n+1))
		from, to := hub.GetName(), spoke.GetName()
		if n%2 == 1 {
			from, to = to, from
		}
		p, err := l.peer(fmt.Sprintf("p%d", n), from, to)
		must(t, err)
		want = append(want, p.GetName())
	}
	for _, account := range []string{l.a, l.b} {
		seen := map[string]bool{}
		last, token := "", ""
		for pages := 0; pages == 0 || token != ""; pages++ {
			page, err := l.peerings().ListPeerings(l.as(account), &pb.ListPeeringsRequest{PageSize: 2, PageToken: token})
			must(t, err)
			for _, p := range page.GetPeerings() {
				if strings.Compare(last, p.GetName()) >= 0 {
					t.Errorf("%s after %s", p.GetName(), last)
				}
				last, seen[p.GetName()] = p.GetName(), true
			}
			token = page.GetNextPageToken()
		}
		for _, name := range want {
			if !seen[name] {
				t.Errorf("%s does not list %s", account, name)
			}
		}
	}
	page, err := l.peerings().ListPeerings(l.as(l.a), &pb.ListPeeringsRequest{PageSize: 2})
	must(t, err)
	for _, token := range []string{page.GetNextPageToken()[1:], "A", "*", page.GetNextPageToken() + "AAAA"} {
		_, err := l.peerings().ListPeerings(l.as(l.a), &pb.ListPeeringsRequest{PageToken: token})
		wantField(t, err, "page_token")
	}
	_, err = l.peerings().ListPeerings(l.as(l.b), &pb.ListPeeringsRequest{PageToken: page.GetNextPageToken()})
	wantField(t, err, "page_token")
	_, err = l.peerings().ListPeerings(l.as(l.b), &pb.ListPeeringsRequest{PageSize: -1})
	wantField(t, err, "page_size")
}
