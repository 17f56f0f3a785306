package api

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"

	"causeway/controlplane/apierr"
	"causeway/controlplane/resource"
	"causeway/controlplane/store"
)

// remove deletes a resource (AIP-135), or marks it as being deleted if it lives on a gateway; doing
// so again changes nothing. While others lie below it or refer to it, it refuses and names them;
// such as are being deleted themselves do not count if the resource only gets marked.
func remove[T resource.Message](ctx context.Context, k *kernel, kind *resource.Kind[T], text, etag string) (*emptypb.Empty, error) {
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
		return removeStored(ctx, c, kind, v, text)
	})
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

func removeStored[T resource.Message](ctx context.Context, c *change, kind *resource.Kind[T], v store.Versioned[T], text string) error {
	dependents, err := kind.Dependents(ctx, c.store, c.tx, v.Value)
	if err != nil {
		return err
	}
	blocked := false
	var blockers []string
	for _, d := range dependents {
		if kind.Life && resource.Deleting(d.Message) {
			continue
		}
		blocked = true
		if c.caller.sees(d.Message) {
			blockers = append(blockers, d.Name)
		}
	}
	if blocked {
		return hasChildren(kind.Info, text, blockers)
	}
	if kind.Info == resource.Accounts.Info {
		if err := c.dropQuotas(ctx); err != nil {
			return err
		}
	}
	if kind.Life {
		writeDeleting(c, kind, v)
	} else {
		kind.Remove(c.tx, v)
	}
	_, err = c.tx.Commit(ctx)
	return err
}
