package api

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"causeway/controlplane/apierr"
	"causeway/controlplane/resource"
	"causeway/controlplane/store"
)

// removalRule decides about the resources that lie below one to be deleted or refer to it and are
// not being deleted themselves: it refuses, or adds to the transaction what becomes of them.
type removalRule[T resource.Message] func(ctx context.Context, c *change, v store.Versioned[T], dependents []resource.Entry) error

// removeWith marks a resource with a life as being deleted, like [remove], by a rule of its kind.
// The commit fails, and the rule is asked again, if dependents come meanwhile.
func removeWith[T resource.Message](ctx context.Context, k *kernel, kind *resource.Kind[T], text, etag string, rule removalRule[T]) (*emptypb.Empty, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	err = k.attempt(change{caller: who, word: kind.Word}, func(c *change) error {
		v, err := find(ctx, k, who, kind, "name", text)
		if err != nil {
			return err
		}
		c.name = v.Name
		switch {
		case resource.Deleting(v.Value):
			return nil
		case stale(etag, v.Revision):
			return apierr.EtagMismatch(kind.Word, text)
		}
		dependents, err := c.alive(kind.Dependents(ctx, c.store, c.tx, v.Value))
		if err != nil {
			return err
		}
		if err := rule(ctx, c, v, dependents); err != nil {
			return err
		}
		writeDeleting(c, kind, v)
		_, err = c.tx.Commit(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// alive leaves out what is being deleted.
func (c *change) alive(entries []resource.Entry, err error) ([]resource.Entry, error) {
	var rest []resource.Entry
	for _, e := range entries {
		if !resource.Deleting(e.Message) {
			rest = append(rest, e)
		}
	}
	return rest, err
}

// writeDeleting adds to the transaction that a resource is being deleted, and gives up what it does
// not hold any more then.
func writeDeleting[T resource.Message](c *change, kind *resource.Kind[T], v store.Versioned[T]) {
	before := kind.Claims(v.Value)
	c.markDeleting(v.Value)
	resource.Move(c.tx, v.Name, before, kind.Claims(v.Value))
	kind.Update(c.tx, v.Name, v.Value, v.Revision)
}

func (c *change) markDeleting(m resource.Message) {
	resource.MarkDeleting(m)
	set(m, "update_time", timestamppb.New(c.now))
}
