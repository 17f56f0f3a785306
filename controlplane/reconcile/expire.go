package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// longestWait is after how long the clock is looked at again at the latest: it may be set meanwhile.
const longestWait = time.Hour

// overdue gives the endpoints that have waited too long for acceptance by now, and how long it takes
// until the next one has; longestWait if none waits.
func overdue(endpoints list[*pb.Endpoint], now time.Time) (names []string, next time.Duration) {
	next = longestWait
	for _, v := range endpoints {
		if v.Value.GetState() != pb.Endpoint_PENDING_ACCEPTANCE {
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

// expire stores that endpoints have expired, so that they do not keep their service from being
// changed. Readers are told before.
func (r *Reconciler) expire(ctx context.Context, names []string) error {
	for _, name := range names {
		err := r.expireOne(ctx, name)
		if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrConflict) {
			return fmt.Errorf("store that %q has expired: %w", name, err)
		}
	}
	return nil
}

// expireOne looks at the endpoint again: the cache may lag behind its acceptance.
func (r *Reconciler) expireOne(ctx context.Context, name string) error {
	v, err := resource.Endpoints.Get(ctx, r.cfg.Store, name)
	if err != nil {
		return err
	}
	if late, _ := overdue(list[*pb.Endpoint]{v}, r.cfg.Now()); late == nil {
		return nil
	}
	tx := r.cfg.Store.Begin()
	before := resource.Endpoints.Claims(v.Value)
	v.Value.State = pb.Endpoint_EXPIRED
	resource.Move(tx, name, before, resource.Endpoints.Claims(v.Value))
	resource.Endpoints.Update(tx, name, v.Value, v.Revision)
	_, err = tx.Commit(ctx)
	return err
}
