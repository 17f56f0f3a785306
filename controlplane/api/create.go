package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"causeway/controlplane/apierr"
	"causeway/controlplane/resource"
	"causeway/controlplane/store"
)

// creation is a request to create a resource.
type creation[T resource.Message] struct {
	// request is all of it; a repeated request id must come with an equal one.
	request proto.Message
	// parent is as the caller spelled it, id the last part of the name, requestID empty if not given.
	parent, id, requestID string
	// field is what the request calls the resource: "vpc".
	field string
	value T
	// prepare checks the resource against what is stored, adds guards to the transaction and fills
	// in what the server decides. The value is a copy without anything that users do not set. It may
	// be nil.
	prepare func(ctx context.Context, c *change, value T) error
	// made adds to the answer what later readers are not shown. It may be nil.
	made func(value T)
}

// create makes a resource (AIP-133). A repeated request id gives what it made the first time.
func create[T resource.Message](ctx context.Context, k *kernel, kind *resource.Kind[T], r creation[T]) (T, error) {
	var made, none T
	who, err := caller(ctx)
	if err != nil {
		return none, err
	}
	record, err := requestRecord(who, r.requestID, r.request)
	if err != nil {
		return none, err
	}
	err = k.attempt(change{caller: who, word: kind.Word, field: r.field}, func(c *change) error {
		made, err = r.try(ctx, c, kind, record)
		return err
	})
	if err != nil {
		return none, err
	}
	return made, nil
}

// try answers a repeated request, and makes what has not been made. A duplicate may win after the
// first look, and then what it made is in the way of this one: only a second look tells.
func (r creation[T]) try(ctx context.Context, c *change, kind *resource.Kind[T], record store.Request) (T, error) {
	value, found, err := recall(ctx, c, kind, record)
	if found || err != nil {
		return value, err
	}
	value, failure := r.make(ctx, c, kind, record)
	if failure == nil || ctx.Err() != nil {
		return value, failure
	}
	if value, found, err = recall(ctx, c, kind, record); found {
		return value, err
	}
	var none T
	return none, failure
}

// make makes the resource.
func (r creation[T]) make(ctx context.Context, c *change, kind *resource.Kind[T], record store.Request) (T, error) {
	var none T
	value := proto.Clone(r.value).(T)
	clearFixed(value)
	if err := r.place(ctx, c, kind, value); err != nil {
		return none, err
	}
	if r.prepare != nil {
		if err := r.prepare(ctx, c, value); err != nil {
			return none, err
		}
	}
	if err := c.wrong.Err(); err != nil {
		return none, err
	}
	revision, err := r.commit(ctx, c, kind, value, record)
	if err != nil {
		return none, err
	}
	value, err = present(ctx, c.kernel, store.Versioned[T]{Name: c.name, Value: value, Revision: revision})
	if err == nil && r.made != nil {
		r.made(value)
	}
	return value, err
}

// commit writes a resource as far as its account's quotas allow. A name that is taken is taken also
// where there is no room.
func (r creation[T]) commit(ctx context.Context, c *change, kind *resource.Kind[T], value T, record store.Request) (int64, error) {
	leave, err := c.admit(ctx, kind.Info, value)
	if err != nil {
		if _, taken := kind.Read(ctx, c.store, c.name); taken == nil {
			return 0, apierr.Exists(kind.Word, c.name)
		}
		return 0, err
	}
	defer leave()
	return commitNew(ctx, c, kind, value, record)
}

// place gives the resource its name below a parent that exists and stays.
func (r creation[T]) place(ctx context.Context, c *change, kind *resource.Kind[T], value T) error {
	if !resource.IsID(r.id) {
		c.wrong.Add(r.field+"_id", "%s must be a lower-case letter, then letters, digits and hyphens, at most 63", quote(r.id))
		return errViolations
	}
	above := ""
	if kind.Parent() != nil {
		parent, err := c.parent(ctx, c.caller, kind.Info, r.parent)
		switch {
		case err != nil:
			return err
		case resource.Deleting(parent.Message):
			return beingDeleted(parent.Info, r.parent)
		}
		parent.Require(c.tx)
		above = parent.Name
	}
	c.name = kind.Name(above, r.id)
	set(value, "name", c.name)
	return nil
}

// commitNew writes a resource with its uid and claims.
func commitNew[T resource.Message](ctx context.Context, c *change, kind *resource.Kind[T], value T, record store.Request) (int64, error) {
	uid, err := c.uidAhead(kind.Prefix)
	if err != nil {
		return 0, err
	}
	set(value, "uid", uid)
	set(value, "create_time", timestamppb.New(c.now))
	set(value, "update_time", timestamppb.New(c.now))
	if record.ID != "" {
		record.Name = c.name
		c.tx.Remember(record)
	}
	kind.Create(c.tx, c.name, value)
	for _, claim := range kind.Claims(value) {
		c.tx.Claim(claim.Kind, claim.Key, c.name)
	}
	revision, err := c.tx.Commit(ctx)
	switch {
	case errors.Is(err, store.ErrExists):
		return 0, apierr.Exists(kind.Word, c.name)
	case errors.Is(err, store.ErrClaimed) && !raced(err):
		return 0, taken(err, kind.Info, c.name)
	case errors.Is(err, store.ErrRequestSeen):
		// A concurrent duplicate has won; the next try finds its record.
		return 0, &store.ConditionError{Err: store.ErrConflict, Collection: kind.Collection.ID(), Name: c.name}
	}
	return revision, err
}

// uidAhead gives the uid that the new resource has in this try.
func (c *change) uidAhead(prefix string) (uid string, err error) {
	if c.uid == "" {
		c.uid, err = c.newUID(prefix)
	}
	return c.uid, err
}

// newUID makes an identifier in the AWS form: 17 random hexadecimal digits.
func (k *kernel) newUID(prefix string) (string, error) {
	var b [9]byte
	if _, err := io.ReadFull(k.random, b[:]); err != nil {
		return "", fmt.Errorf("read randomness for a uid: %w", err)
	}
	return prefix + "-" + hex.EncodeToString(b[:])[:17], nil
}

// requestRecord gives what to remember of a request (AIP-155). Its scope is the caller's account.
func requestRecord(c Caller, id string, request proto.Message) (store.Request, error) {
	if id == "" {
		return store.Request{}, nil
	}
	wire, err := proto.MarshalOptions{Deterministic: true}.Marshal(request)
	if err != nil {
		return store.Request{}, fmt.Errorf("encode request: %w", err)
	}
	h := sha256.New()
	h.Write([]byte(request.ProtoReflect().Descriptor().FullName()))
	h.Write(wire)
	return store.Request{Scope: c.Account, ID: id, Hash: h.Sum(nil)}, nil
}

// recall answers a repeated request with the resource it made, and says whether it is one. What a
// resource's first answer alone shows, a token's secret, is not repeated.
func recall[T resource.Message](ctx context.Context, c *change, kind *resource.Kind[T], now store.Request) (value T, found bool, err error) {
	if now.ID == "" {
		return value, false, nil
	}
	seen, err := c.store.LookupRequest(ctx, now.Scope, now.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return value, false, nil
	case err != nil:
		return value, false, err
	case !bytes.Equal(now.Hash, seen.Hash):
		return value, true, apierr.RequestIDReused(now.ID)
	}
	v, err := kind.Get(ctx, c.store, seen.Name)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && !c.caller.sees(v.Value):
		return value, true, notFound(kind.Info, seen.Name)
	case err != nil:
		return value, true, err
	}
	value, err = present(ctx, c.kernel, v)
	return value, true, err
}
