package api

import (
	"context"
	"errors"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"causeway/controlplane/apierr"
	"causeway/controlplane/resource"
	"causeway/controlplane/store"
)

// alteration is a request to change a resource.
type alteration[T resource.Message] struct {
	// field is what the request calls the resource: "vpc".
	field string
	value T
	mask  *fieldmaskpb.FieldMask
	// prepare checks the resource as it shall become against what is stored, adds guards to the
	// transaction and fills in what the server decides. It may be nil.
	prepare func(ctx context.Context, c *change, before, after T) error
}

// update changes fields of a resource (AIP-134). Without an etag it starts over when somebody else
// was faster; with one it says ABORTED.
func update[T resource.Message](ctx context.Context, k *kernel, kind *resource.Kind[T], r alteration[T]) (T, error) {
	var made, none T
	who, err := caller(ctx)
	if err != nil {
		return none, err
	}
	err = k.attempt(change{caller: who, word: kind.Word, field: r.field}, func(c *change) error {
		made, err = r.try(ctx, c, kind)
		return err
	})
	if err != nil {
		return none, err
	}
	return made, nil
}

func (r alteration[T]) try(ctx context.Context, c *change, kind *resource.Kind[T]) (T, error) {
	var none T
	v, err := find(ctx, c.kernel, c.caller, kind, c.path("name"), r.value.GetName())
	if err != nil {
		return none, err
	}
	c.name = v.Name
	switch {
	case resource.Deleting(v.Value):
		return none, beingDeleted(kind.Info, r.value.GetName())
	case stale(r.value.GetEtag(), v.Revision):
		return none, apierr.EtagMismatch(kind.Word, r.value.GetName())
	}
	after := proto.Clone(v.Value).(T)
	if err := r.apply(ctx, c, kind, v.Value, after); err != nil {
		return none, err
	}
	if proto.Equal(v.Value, after) {
		return present(ctx, c.kernel, v)
	}
	set(after, "update_time", timestamppb.New(c.now))
	resource.Move(c.tx, v.Name, kind.Claims(v.Value), kind.Claims(after))
	kind.Update(c.tx, v.Name, after, v.Revision)
	revision, err := c.tx.Commit(ctx)
	if errors.Is(err, store.ErrClaimed) && !raced(err) {
		return none, taken(err, kind.Info, c.name)
	}
	if err != nil {
		return none, err
	}
	return present(ctx, c.kernel, store.Versioned[T]{Name: v.Name, Value: after, Revision: revision})
}

// apply makes after what the request wants it to be and checks it.
func (r alteration[T]) apply(ctx context.Context, c *change, kind *resource.Kind[T], before, after T) error {
	in := proto.Clone(r.value).(T)
	if err := c.canonical(ctx, kind.Info, before, in); err != nil {
		return err
	}
	merge(after, in, r.mask, &c.wrong)
	for _, field := range changedImmutable(before, after) {
		c.wrong.Add(c.path(string(field.Name())), "cannot be changed after creation")
	}
	if err := c.wrong.AddRules(c.field, c.validator.Validate(after)); err != nil {
		return err
	}
	if err := c.wrong.Err(); err != nil {
		return err
	}
	if r.prepare != nil {
		if err := r.prepare(ctx, c, before, after); err != nil {
			return err
		}
	}
	return c.wrong.Err()
}

// canonical spells the references of a resource in full, as they are stored, so that the same
// reference in another spelling is no change. What does not resolve stays and will be found wrong.
func (c *change) canonical(ctx context.Context, kind *resource.Info, before, m proto.Message) error {
	r := m.ProtoReflect()
	for name, to := range kind.References {
		field := r.Descriptor().Fields().ByName(name)
		if fixed(field) || !r.Has(field) {
			continue
		}
		if !field.IsList() {
			full, err := c.fullName(ctx, to, r.Get(field).String(), before.ProtoReflect().Get(field).String())
			if err != nil {
				return err
			}
			r.Set(field, protoreflect.ValueOfString(full))
			continue
		}
		list := r.Mutable(field).List()
		for n := range list.Len() {
			full, err := c.fullName(ctx, to, list.Get(n).String(), "")
			if err != nil {
				return err
			}
			list.Set(n, protoreflect.ValueOfString(full))
		}
	}
	return nil
}

// fullName resolves a uid only to what the caller may see: a resource of its own of the kind, or what
// the field holds already. The name of another account's resource would tell who has the uid.
func (c *change) fullName(ctx context.Context, kind *resource.Info, text, held string) (string, error) {
	full := qualify(c.caller, text)
	if !resource.IsUID(text) {
		if kind.Match(full) {
			return full, nil
		}
		return text, nil
	}
	claim, err := c.store.ClaimOwner(ctx, resource.ClaimUID, text)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return text, nil
	case err != nil:
		return "", err
	case claim.Owner != held && !(kind.Match(claim.Owner) && c.caller.owns(resource.Account(claim.Owner))):
		return text, nil
	}
	return claim.Owner, nil
}

// stale says whether an etag was given and is not that of the revision.
func stale(etag string, revision int64) bool {
	return etag != "" && etag != store.FormatEtag(revision)
}
