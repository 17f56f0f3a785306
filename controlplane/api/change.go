package api

import (
	"context"
	"errors"
	"time"

	"causeway/controlplane/apierr"
	"causeway/controlplane/resource"
	"causeway/controlplane/store"
)

// change is one try of a write. When somebody else was faster it is made anew, so what a check has
// read is never older than its transaction allows.
type change struct {
	*kernel
	caller Caller
	// tx takes what must still hold at the commit. The kernel writes the resource and makes and
	// releases its claims (see [resource.Info.Claims]); a check adds only guards.
	tx *store.Txn
	// try is how many tries came before.
	try int
	now time.Time
	// name is the full name of the resource, field what the request calls it: "vpc".
	name, field string
	// word says in messages what is changed.
	word string
	// uid is that of a new resource once it is drawn, see uidAhead.
	uid string
	// events is how many events the change has noted, see notify.
	events int32
	// wrong takes what is wrong with the request. A check that has noted all it finds returns nil;
	// one that cannot go on returns errViolations.
	wrong apierr.Violations
}

// path gives the path of a field of the resource in the request: "vpc.cidr_block".
func (c *change) path(field string) string { return c.field + "." + field }

// changeTries bounds how often a write starts over after losing to others. Each lost try means that
// another write has won.
const changeTries = 64

// attempt makes a change until it is committed, fails for good or has lost too often.
func (k *kernel) attempt(c change, try func(*change) error) error {
	for n := 0; ; n++ {
		one := c
		one.kernel, one.try, one.now, one.tx = k, n, k.now(), k.store.Begin()
		err := try(&one)
		if errors.Is(err, errViolations) {
			return one.wrong.Err()
		}
		if !raced(err) {
			return err
		}
		if n == changeTries {
			return apierr.Conflict(one.word, one.name)
		}
	}
}

// raced says whether a commit failed because of another writer and may succeed if made anew: what
// was read has changed, or what was chosen as free has been taken.
func raced(err error) bool {
	failed, ok := errors.AsType[*store.ConditionError](err)
	if !ok {
		return false
	}
	return errors.Is(failed.Err, store.ErrConflict) || errors.Is(failed.Err, store.ErrNotFound) ||
		lostClaim(err, resource.ClaimUID, resource.ClaimAddress, resource.ClaimInside)
}

// reference resolves a field of the resource that names another one of the same account, and has
// the transaction fail unless that stays as it is. It gives the resource and puts its full name into
// the field. What does not exist or is being deleted is an error.
func reference[T resource.Message](ctx context.Context, c *change, kind *resource.Kind[T], field string, text *string) (store.Versioned[T], error) {
	var none store.Versioned[T]
	path := c.path(field)
	name, err := c.resolve(ctx, c.caller, kind.Info, path, *text, false)
	if err != nil {
		return none, err
	}
	if resource.Account(name) != resource.Account(c.name) {
		c.wrong.Add(path, "%s belongs to another account", quote(*text))
		return none, errViolations
	}
	return referenceByName(ctx, c, kind, *text, name, text)
}

func referenceByName[T resource.Message](ctx context.Context, c *change, kind *resource.Kind[T], spelled, name string, text *string) (store.Versioned[T], error) {
	v, err := kind.Get(ctx, c.store, name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return v, notFound(kind.Info, spelled)
	case err != nil:
		return v, err
	case resource.Deleting(v.Value):
		return v, beingDeleted(kind.Info, spelled)
	}
	kind.Require(c.tx, name, v.Revision)
	*text = name
	return v, nil
}
