package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// longestWait is after how long the clock is looked at again at the latest: it may be set meanwhile.
const longestWait = time.Hour

// request is a resource that asks somebody for an answer, in time.
type request interface {
	resource.Message
	GetExpireTime() *timestamppb.Timestamp
}

// requests are a kind of which some resources wait for their answer.
type requests[T request] struct {
	kind  *resource.Kind[T]
	waits func(T) bool
	// expire sets the state of one that has waited too long, and lets go of what it need not claim then.
	expire func(*store.Txn, T)
}

var (
	// An expired endpoint does not keep its service from being changed.
	endpointRequests = requests[*pb.Endpoint]{
		kind:  resource.Endpoints,
		waits: func(e *pb.Endpoint) bool { return e.GetState() == pb.Endpoint_PENDING_ACCEPTANCE },
		expire: func(tx *store.Txn, e *pb.Endpoint) {
			before := resource.Endpoints.Claims(e)
			e.State = pb.Endpoint_EXPIRED
			resource.Move(tx, e.GetName(), before, resource.Endpoints.Claims(e))
		},
	}
	// An expired peering keeps neither VPC from being deleted, nor the two from being peered.
	peeringRequests = requests[*pb.Peering]{
		kind:  resource.Peerings,
		waits: func(p *pb.Peering) bool { return p.GetState() == pb.Peering_PENDING_ACCEPTANCE },
		expire: func(tx *store.Txn, p *pb.Peering) {
			p.State = pb.Peering_EXPIRED
			pair := resource.PairClaim(p.GetVpc(), p.GetPeerVpc())
			tx.Release(pair.Kind, pair.Key, p.GetName())
		},
	}
)

// expire stores what has expired, and says after how long the next will. Readers are told before.
func (r *Reconciler) expire(ctx context.Context, snapshot *store.Snapshot) (next time.Duration, err error) {
	endpoints, errEndpoints := endpointRequests.settle(ctx, r, snapshot)
	peerings, errPeerings := peeringRequests.settle(ctx, r, snapshot)
	return min(endpoints, peerings), errors.Join(errEndpoints, errPeerings)
}

func (q *requests[T]) settle(ctx context.Context, r *Reconciler, snapshot *store.Snapshot) (next time.Duration, err error) {
	names, next := q.overdue(all(snapshot, q.kind.Collection), r.cfg.Now())
	for _, name := range names {
		err := q.settleOne(ctx, r, name)
		if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrConflict) {
			return next, fmt.Errorf("store that %q has expired: %w", name, err)
		}
	}
	return next, nil
}

// overdue gives those that have waited too long by now, and how long it takes until the next one has;
// longestWait if none waits.
func (q *requests[T]) overdue(l list[T], now time.Time) (names []string, next time.Duration) {
	next = longestWait
	for _, v := range l {
		if !q.waits(v.Value) {
			continue
		}
		left := v.Value.GetExpireTime().AsTime().Sub(now)
		if left <= 0 {
			names = append(names, v.Name)
			continue
		}
		next = min(next, left)
	}
	return names, next
}

// settleOne looks at the resource again: the cache may lag behind its answer.
func (q *requests[T]) settleOne(ctx context.Context, r *Reconciler, name string) error {
	v, err := q.kind.Get(ctx, r.cfg.Store, name)
	if err != nil {
		return err
	}
	if late, _ := q.overdue(list[T]{v}, r.cfg.Now()); late == nil {
		return nil
	}
	tx := r.cfg.Store.Begin()
	q.expire(tx, v.Value)
	q.kind.Update(tx, name, v.Value, v.Revision)
	_, err = tx.Commit(ctx)
	return err
}
