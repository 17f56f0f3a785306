package api

import (
	"context"
	"errors"

	"causeway/controlplane/apierr"
	"causeway/controlplane/resource"
	"causeway/controlplane/store"
)

// gateQuota is the kind of the gates that what a quota counts passes, by its id and the name of what
// it holds for.
const gateQuota = "quota"

// limit gives what an account may have of something.
func (k *kernel) limit(ctx context.Context, q *quota, account string) (int32, error) {
	set, err := resource.Quotas.Get(ctx, k.store, quotaName(account, q.id))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return q.standard, nil
	case err != nil:
		return 0, err
	}
	return set.Value.GetValue(), nil
}

// within refuses more of something in a resource than its account may have there. What it had already
// it may keep, whatever the operator has set since.
func (k *kernel) within(ctx context.Context, id, name string, had, has int) error {
	q := quotaByID(id)
	if has <= had {
		return nil
	}
	limit, err := k.limit(ctx, q, resource.Account(name))
	if err != nil {
		return err
	}
	if has > int(limit) {
		return apierr.QuotaExceeded(q.id, name, limit, q.unit)
	}
	return nil
}

// admit refuses a new resource of which there are as many as there may be. Until the returned function
// is called, which is after the commit, others that count for the same wait; those in other processes
// make the commit fail.
func (c *change) admit(ctx context.Context, kind *resource.Info, m resource.Message) (leave func(), err error) {
	var left []func()
	leave = func() {
		for _, f := range left {
			f()
		}
	}
	for _, q := range quotas {
		if q.of != kind {
			continue
		}
		done, err := c.enter(ctx, q, q.counter().scope(q, m))
		if err != nil {
			leave()
			return nil, err
		}
		left = append(left, done)
	}
	return leave, nil
}

// enter is admit for one quota and what it holds for.
func (c *change) enter(ctx context.Context, q *quota, scope string) (leave func(), err error) {
	leave, err = c.turns.take(ctx, q.id+"/"+scope)
	if err != nil {
		return nil, err
	}
	if err := c.room(ctx, q, scope); err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}

// room refuses one more if there is no room for it. Only near the limit it reads what is there.
func (c *change) room(ctx context.Context, q *quota, scope string) error {
	limit, err := c.limit(ctx, q, resource.Account(scope))
	if err != nil {
		return err
	}
	n, revision, err := q.counter().most(ctx, c.kernel, q, scope)
	if err == nil && n >= int(limit) {
		n, revision, err = c.used(ctx, q, scope)
	}
	switch {
	case err != nil:
		return err
	case n >= int(limit):
		return apierr.QuotaExceeded(q.id, scope, limit, q.unit)
	}
	c.tx.Pass(gateQuota, q.id+"/"+scope, revision)
	return nil
}
