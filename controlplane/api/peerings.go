package api

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"causeway/controlplane/apierr"
	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// peeringLife is how long a request waits for its answer, as in AWS:
// https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-basics.html
const peeringLife = 7 * 24 * time.Hour

type peerings struct {
	*kernel
	pb.UnsafePeeringsServer
}

func (s *peerings) GetPeering(ctx context.Context, req *pb.GetPeeringRequest) (*pb.Peering, error) {
	return get(ctx, s.kernel, resource.Peerings, req.GetName())
}

// CreatePeering asks for a peering of one of the caller's VPCs with any VPC, of whatever region. Another
// account's VPC is not looked at before its owner accepts: the answer tells nothing of it, not even
// whether it is there.
func (s *peerings) CreatePeering(ctx context.Context, req *pb.CreatePeeringRequest) (*pb.Peering, error) {
	return create(ctx, s.kernel, resource.Peerings, creation[*pb.Peering]{
		request: req, parent: req.GetParent(), id: req.GetPeeringId(), requestID: req.GetRequestId(),
		field: "peering", value: req.GetPeering(), prepare: preparePeering,
	})
}

func preparePeering(ctx context.Context, c *change, p *pb.Peering) error {
	vpc, err := reference(ctx, c, resource.Vpcs, "vpc", &p.Vpc)
	if err != nil {
		return err
	}
	if err := c.askPeer(ctx, p, vpc.Value); err != nil {
		return err
	}
	if err := c.freePair(ctx, p.GetVpc(), p.GetPeerVpc()); err != nil {
		return err
	}
	fillAccess(p)
	p.State = pb.Peering_PENDING_ACCEPTANCE
	p.ExpireTime = timestamppb.New(c.now.Add(peeringLife))
	return nil
}

// askPeer resolves the VPC that a peering is asked for with. That of another account can be named, but
// not by its uid, which would tell whose it is.
func (c *change) askPeer(ctx context.Context, p *pb.Peering, vpc *pb.Vpc) error {
	spelled := p.GetPeerVpc()
	name, err := c.resolve(ctx, c.caller, resource.Vpcs.Info, c.path("peer_vpc"), spelled, !resource.IsUID(spelled))
	if err != nil {
		return err
	}
	if !c.caller.owns(resource.Account(name)) {
		if p.GetPeerTunnelAccess() == pb.Peering_DENIED || p.GetPeerDnsResolution() == pb.Peering_ALLOWED {
			return apierr.PermissionDenied()
		}
		p.PeerVpc = name
		return nil
	}
	if name == p.GetVpc() {
		c.wrong.Add(c.path("peer_vpc"), "is the same VPC as vpc")
		return errViolations
	}
	peer, err := referenceByName(ctx, c, resource.Vpcs, spelled, name, &p.PeerVpc)
	if err != nil {
		return err
	}
	return c.mayPeer(vpc, peer.Value)
}

// joinVpcs checks that both VPCs of a peering that is accepted are there and fit, and stay.
func (c *change) joinVpcs(ctx context.Context, p *pb.Peering) error {
	vpc, err := referenceByName(ctx, c, resource.Vpcs, p.GetVpc(), p.GetVpc(), &p.Vpc)
	if err != nil {
		return err
	}
	peer, err := referenceByName(ctx, c, resource.Vpcs, p.GetPeerVpc(), p.GetPeerVpc(), &p.PeerVpc)
	if err != nil {
		return err
	}
	return c.mayPeer(vpc.Value, peer.Value)
}

// mayPeer refuses overlapping VPCs, whether the addresses are used or not, as AWS does. Of another
// account's VPC it does not tell the addresses.
func (c *change) mayPeer(vpc, peer *pb.Vpc) error {
	name := c.name
	a, errA := netip.ParsePrefix(vpc.GetCidrBlock())
	b, errB := netip.ParsePrefix(peer.GetCidrBlock())
	if err := errors.Join(errA, errB); err != nil {
		return fmt.Errorf("stored VPC of %s: %w", name, err)
	}
	switch {
	case !a.Overlaps(b):
		return nil
	case !c.caller.owns(resource.Account(vpc.GetName())):
		return apierr.Precondition(reasonCIDROverlap, resource.Peerings.Word, name, "cannot have %s of %s: it overlaps %s", b, peer.GetName(), vpc.GetName())
	}
	return cidrOverlap(resource.Peerings.Info, name, a.String()+" of "+vpc.GetName(), peer.GetName(), b.String())
}

// fillAccess completes what a peering says of access: tunnels are let in unless they are denied, as the endpoints of a
// peer are there to be used; names are not answered unless that is allowed, as in AWS:
// https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-dns.html
func fillAccess(p *pb.Peering) {
	if p.GetDnsResolution() == pb.Peering_ACCESS_UNSPECIFIED {
		p.DnsResolution = pb.Peering_DENIED
	}
	if p.GetPeerDnsResolution() == pb.Peering_ACCESS_UNSPECIFIED {
		p.PeerDnsResolution = pb.Peering_DENIED
	}
	if p.GetTunnelAccess() == pb.Peering_ACCESS_UNSPECIFIED {
		p.TunnelAccess = pb.Peering_ALLOWED
	}
	if p.GetPeerTunnelAccess() == pb.Peering_ACCESS_UNSPECIFIED {
		p.PeerTunnelAccess = pb.Peering_ALLOWED
	}
}

// freePair takes the claim of two VPCs from a request that nobody answered in time, unless reconcile has
// done so: what nobody can answer any more must not keep the owners from trying again.
func (c *change) freePair(ctx context.Context, vpc, peer string) error {
	pair := resource.PairClaim(vpc, peer)
	claim, err := c.store.ClaimOwner(ctx, pair.Kind, pair.Key)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	old, err := resource.Peerings.Get(ctx, c.store, claim.Owner)
	if err != nil || !expired(old.Value, c.now) {
		return ignoreAbsent(err)
	}
	old.Value.State = pb.Peering_EXPIRED
	tx := c.store.Begin()
	resource.Peerings.Update(tx, old.Name, old.Value, old.Revision)
	tx.Release(pair.Kind, pair.Key, old.Name)
	_, err = tx.Commit(ctx)
	return err
}

func ignoreAbsent(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// expired says whether a request has waited too long by now.
func expired(p *pb.Peering, now time.Time) bool {
	return p.GetState() == pb.Peering_PENDING_ACCEPTANCE && !now.Before(p.GetExpireTime().AsTime())
}

// UpdatePeering lets each owner change what the other's tunnels may do in its own VPC, and what it says to names.
func (s *peerings) UpdatePeering(ctx context.Context, req *pb.UpdatePeeringRequest) (*pb.Peering, error) {
	return update(ctx, s.kernel, resource.Peerings, alteration[*pb.Peering]{
		field: "peering", value: req.GetPeering(), mask: req.GetUpdateMask(),
		prepare: func(_ context.Context, c *change, before, after *pb.Peering) error {
			fillAccess(before)
			fillAccess(after)
			requester := c.caller.owns(resource.Account(before.GetVpc()))
			accepter := c.caller.owns(resource.Account(before.GetPeerVpc()))
			if before.GetTunnelAccess() != after.GetTunnelAccess() && !requester ||
				before.GetDisplayName() != after.GetDisplayName() && !requester ||
				before.GetPeerTunnelAccess() != after.GetPeerTunnelAccess() && !accepter ||
				before.GetDnsResolution() != after.GetDnsResolution() && !requester ||
				before.GetPeerDnsResolution() != after.GetPeerDnsResolution() && !accepter {
				return apierr.PermissionDenied()
			}
			return nil
		},
	})
}

func (s *peerings) DeletePeering(ctx context.Context, req *pb.DeletePeeringRequest) (*emptypb.Empty, error) {
	return remove(ctx, s.kernel, resource.Peerings, req.GetName(), req.GetEtag())
}

// AcceptPeering says yes to a request. Saying so again changes nothing.
func (s *peerings) AcceptPeering(ctx context.Context, req *pb.AcceptPeeringRequest) (*pb.Peering, error) {
	return s.reply(ctx, req.GetName(), pb.Peering_ACTIVE)
}

// RejectPeering says no to a request. The VPCs are then free for another one.
func (s *peerings) RejectPeering(ctx context.Context, req *pb.RejectPeeringRequest) (*pb.Peering, error) {
	return s.reply(ctx, req.GetName(), pb.Peering_REJECTED)
}

// reply brings a waiting request into a state, on behalf of the owner of the peer VPC alone.
func (s *peerings) reply(ctx context.Context, text string, state pb.Peering_State) (*pb.Peering, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	var replied *pb.Peering
	err = s.attempt(change{caller: who, word: resource.Peerings.Word}, func(c *change) error {
		v, err := find(ctx, s.kernel, who, resource.Peerings, "name", text)
		if err != nil {
			return err
		}
		c.name = v.Name
		if !who.owns(resource.Account(v.Value.GetPeerVpc())) {
			return apierr.PermissionDenied()
		}
		if v.Value.GetState() != state {
			if v.Revision, err = c.writeReply(ctx, v, text, state); err != nil {
				return err
			}
		}
		replied, err = present(ctx, s.kernel, v)
		return err
	})
	return replied, err
}

// writeReply stores an answer to a request that still waits for it and gives the new revision.
func (c *change) writeReply(ctx context.Context, v store.Versioned[*pb.Peering], text string, state pb.Peering_State) (int64, error) {
	p := v.Value
	if p.GetState() != pb.Peering_PENDING_ACCEPTANCE || expired(p, c.now) {
		shown := p.GetState()
		if expired(p, c.now) {
			shown = pb.Peering_EXPIRED
		}
		return 0, apierr.Precondition(reasonNotPending, resource.Peerings.Word, text, "is %s, not PENDING_ACCEPTANCE", shown)
	}
	if state == pb.Peering_ACTIVE {
		if err := c.joinVpcs(ctx, p); err != nil {
			return 0, err
		}
		leave, err := c.enter(ctx, quotaByID(quotaPeerings), p.GetPeerVpc())
		if err != nil {
			return 0, err
		}
		defer leave()
	}
	p.State = state
	p.UpdateTime = timestamppb.New(c.now)
	if state == pb.Peering_REJECTED {
		pair := resource.PairClaim(p.GetVpc(), p.GetPeerVpc())
		c.tx.Release(pair.Kind, pair.Key, v.Name)
	}
	resource.Peerings.Update(c.tx, v.Name, p, v.Revision)
	return c.tx.Commit(ctx)
}
