package api

import (
	"context"
	"errors"

	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// tally counts what a quota limits.
type tally interface {
	// scope gives the name of the resource that m, which is new, counts for.
	scope(q *quota, m resource.Message) string
	// most gives a number that as many count for scope at most, and the revision at which that was so.
	// It costs one read whatever the number.
	most(ctx context.Context, k *kernel, q *quota, scope string) (int, int64, error)
	// read gives all that may count for scope, and a revision at which they were so.
	read(ctx context.Context, k *kernel, q *quota, scope string) ([]resource.Entry, int64, error)
	// counts says which of them do, apart from what is being deleted.
	counts(k *kernel, q *quota, scope string, m resource.Message) bool
}

// counter gives how the quota counts.
func (q *quota) counter() tally {
	if q.tally != nil {
		return q.tally
	}
	return below{}
}

// below counts the resources that lie below one of another kind.
type below struct{}

func (below) scope(q *quota, m resource.Message) string {
	name := m.GetName()
	for name != "" && !q.per.Match(name) {
		name = resource.Parent(name)
	}
	return name
}

func (below) most(ctx context.Context, k *kernel, q *quota, scope string) (int, int64, error) {
	return q.of.Tally(ctx, k.store, scope)
}

func (below) read(ctx context.Context, k *kernel, q *quota, scope string) ([]resource.Entry, int64, error) {
	return q.of.ReadAll(ctx, k.store, scope)
}

func (below) counts(k *kernel, q *quota, _ string, m resource.Message) bool {
	return q.counts == nil || q.counts(m, k.now())
}

// peeringsOfVpc counts the peerings of a VPC, whichever account has asked for them. A request counts
// for the VPC whose owner made it, so that others cannot use up its quota, and once accepted for both.
type peeringsOfVpc struct{}

func (peeringsOfVpc) scope(_ *quota, m resource.Message) string { return m.(*pb.Peering).GetVpc() }

func (peeringsOfVpc) most(ctx context.Context, k *kernel, _ *quota, vpc string) (int, int64, error) {
	return k.store.CountClaims(ctx, resource.ClaimPeering, resource.Account(vpc)+"/")
}

func (peeringsOfVpc) read(ctx context.Context, k *kernel, _ *quota, vpc string) ([]resource.Entry, int64, error) {
	claims, revision, err := k.store.Claims(ctx, resource.ClaimPeering, resource.Account(vpc)+"/")
	if err != nil {
		return nil, 0, err
	}
	var entries []resource.Entry
	for _, claim := range claims {
		entry, err := resource.Peerings.Read(ctx, k.store, claim.Owner)
		switch {
		case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrCorrupt):
			continue
		case err != nil:
			return nil, 0, err
		}
		entries = append(entries, entry)
	}
	return entries, revision, nil
}

func (peeringsOfVpc) counts(k *kernel, _ *quota, vpc string, m resource.Message) bool {
	p := m.(*pb.Peering)
	if p.GetState() == pb.Peering_ACTIVE {
		return p.GetVpc() == vpc || p.GetPeerVpc() == vpc
	}
	return p.GetVpc() == vpc && outstanding(p, k.now())
}

// used gives how many count for scope, and a revision at which that was so.
func (k *kernel) used(ctx context.Context, q *quota, scope string) (int, int64, error) {
	entries, revision, err := q.counter().read(ctx, k, q, scope)
	if err != nil {
		return 0, 0, err
	}
	n := 0
	for _, e := range entries {
		if !resource.Deleting(e.Message) && q.counter().counts(k, q, scope, e.Message) {
			n++
		}
	}
	return n, revision, nil
}
