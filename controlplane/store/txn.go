package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
)

// Txn collects conditions and writes that [Txn.Commit] makes as one: all of them if every condition
// holds, none otherwise. Typed operations are methods of [Collection] that take the Txn. A mistake
// in building it is kept and returned by Commit. A Txn is used by one goroutine and committed once.
type Txn struct {
	store    *Store
	conds    []condition
	writes   []clientv3.Op
	written  map[string]bool
	requests []Request
	gates    []string // keys
	adds     bool     // creates something
	err      error
}

// Begin starts a transaction. Nothing is reserved until Commit.
func (s *Store) Begin() *Txn {
	return &Txn{store: s, written: make(map[string]bool)}
}

// Create writes a resource that must not exist: ErrExists.
func (c *Collection[T]) Create(tx *Txn, name string, value T) {
	if !tx.name(name) {
		return
	}
	tx.adds = true
	tx.require(tx.store.absent(c.id, name))
	tx.put(tx.store.resourceKey(c.id, name), value)
}

// Update writes a resource that must still be at revision: ErrConflict if it has changed,
// ErrNotFound if it is gone.
func (c *Collection[T]) Update(tx *Txn, name string, value T, revision int64) {
	if !tx.name(name) || !tx.revision(name, revision) {
		return
	}
	tx.require(tx.store.atRevision(c.id, name, revision))
	tx.put(tx.store.resourceKey(c.id, name), value)
}

// Put writes a resource whatever was there. It is for state with one writer by design; everything
// else takes Create or Update.
func (c *Collection[T]) Put(tx *Txn, name string, value T) {
	if tx.name(name) {
		tx.put(tx.store.resourceKey(c.id, name), value)
	}
}

// Delete removes a resource that must still be at revision: ErrConflict if it has changed,
// ErrNotFound if it is gone.
func (c *Collection[T]) Delete(tx *Txn, name string, revision int64) {
	if !tx.name(name) || !tx.revision(name, revision) {
		return
	}
	tx.require(tx.store.atRevision(c.id, name, revision))
	key := tx.store.resourceKey(c.id, name)
	tx.write(key, clientv3.OpDelete(key))
}

// Drop removes a resource whatever was there, if anything. It is the counterpart of Put.
func (c *Collection[T]) Drop(tx *Txn, name string) {
	if tx.name(name) {
		key := tx.store.resourceKey(c.id, name)
		tx.write(key, clientv3.OpDelete(key))
	}
}

// DropBelow removes all resources of the collection below parent, however many there are. It counts
// as one write.
func (c *Collection[T]) DropBelow(tx *Txn, parent string) {
	if tx.name(parent) {
		prefix := tx.store.parentPrefix(c.id, parent)
		tx.write(prefix, clientv3.OpDelete(prefix, clientv3.WithPrefix()))
	}
}

// Require has the transaction fail unless a resource exists (revision 0: ErrNotFound), or is still
// at revision (ErrConflict). A child is created together with Require of its parent.
func (c *Collection[T]) Require(tx *Txn, name string, revision int64) {
	if !tx.name(name) {
		return
	}
	if revision == 0 {
		tx.require(tx.store.present(c.id, name))
		return
	}
	if tx.revision(name, revision) {
		tx.require(tx.store.atRevision(c.id, name, revision))
	}
}

// RequireNone has the transaction fail with ErrNotEmpty if any resource of the collection lies
// below parent. A parent is deleted together with RequireNone of each kind of child.
func (c *Collection[T]) RequireNone(tx *Txn, parent string) {
	if tx.name(parent) {
		tx.require(tx.store.none(c.id, parent))
	}
}

// RequireUnchanged has the transaction fail with ErrConflict if any resource of the collection below
// parent was created or written after revision, which is that of the list or snapshot a decision
// rests on. Deletions go unnoticed. It makes rules over siblings, such as "no overlap", hold against
// concurrent writers.
func (c *Collection[T]) RequireUnchanged(tx *Txn, parent string, revision int64) {
	if parent != "" && !tx.name(parent) {
		return
	}
	if tx.revision(parent, revision) {
		tx.require(tx.store.unchanged(c.id, parent, revision))
	}
}

// Claim takes ownership of a key for the resource named owner: ErrClaimed, with the present owner in
// the [ConditionError], if it is held, even by owner itself.
func (tx *Txn) Claim(kind, key, owner string) {
	if err := checkClaim(kind, key); err != nil {
		tx.fail(err)
		return
	}
	if !tx.name(owner) {
		return
	}
	tx.require(tx.store.unclaimed(kind, key))
	k := tx.store.claimKey(kind, key)
	tx.write(k, clientv3.OpPut(k, owner))
}

// Release gives up a claim if owner holds it, and does nothing otherwise: a resource must remain
// deletable when its claim has been lost. Releasing and claiming one key in one transaction is
// ErrInvalid.
func (tx *Txn) Release(kind, key, owner string) {
	if err := checkClaim(kind, key); err != nil {
		tx.fail(err)
		return
	}
	k := tx.store.claimKey(kind, key)
	held := clientv3.Compare(clientv3.Value(k), "=", owner)
	tx.write(k, clientv3.OpTxn([]clientv3.Cmp{held}, []clientv3.Op{clientv3.OpDelete(k)}, nil))
}

// RequireClaims has the transaction fail with ErrConflict if any claim of a kind whose key begins with
// prefix was made after revision, which is that of the [Store.Claims] a decision rests on. Releases go
// unnoticed.
func (tx *Txn) RequireClaims(kind, prefix string, revision int64) {
	if err := checkClaim(kind, prefix); err != nil {
		tx.fail(err)
		return
	}
	if tx.revision(prefix, revision) {
		tx.require(tx.store.claimsUnchanged(kind, prefix, revision))
	}
}

// Remember records a request id with the resource it made: ErrRequestSeen if the id is recorded
// already. The record is kept for at least [RequestLife].
func (tx *Txn) Remember(r Request) {
	if err := checkRequest(r); err != nil {
		tx.fail(err)
		return
	}
	if tx.name(r.Name) {
		tx.require(tx.store.unseen(r))
		tx.requests = append(tx.requests, r)
	}
}

// Pass has the transaction fail with ErrConflict if another one that passes the same gate was
// committed after revision. What rests on a count is made to hold so: whoever adds to what is counted
// passes one gate, with the revision of the count. A gate is one segment, its kind, and a key as a
// claim has one; it leaves nothing behind.
func (tx *Txn) Pass(kind, key string, revision int64) {
	if err := checkClaim(kind, key); err != nil {
		tx.fail(fmt.Errorf("gate: %w", err))
		return
	}
	if tx.revision(key, revision) {
		tx.require(tx.store.notPassed(kind, key, revision))
		tx.gates = append(tx.gates, tx.store.gateKey(kind, key))
	}
}

// Commit makes the transaction and gives its revision, which is then that of every resource it
// wrote. A condition that does not hold gives a [*ConditionError]. After ErrUnavailable or an error
// of ctx the outcome is unknown: read, or repeat with a request id.
func (tx *Txn) Commit(ctx context.Context) (int64, error) {
	if err := tx.check(); err != nil {
		return 0, err
	}
	if tx.adds {
		if err := tx.store.space.admit(ctx); err != nil {
			return 0, fmt.Errorf("commit transaction: %w", err)
		}
	}
	resp, err := tx.try(ctx)
	if errors.Is(err, errLeaseGone) {
		// The shared lease was revoked or its store replaced. Nothing was written; take a new one.
		tx.store.lease.Store(nil)
		resp, err = tx.try(ctx)
	}
	if space := tx.store.space; space != nil && errors.Is(err, ErrExhausted) {
		// etcd refuses for want of space before it does anything. Whether there is room now for
		// what adds nothing, it says best itself.
		_ = space.reclaim(ctx)
		resp, err = tx.try(ctx)
	}
	if err != nil {
		return 0, fmt.Errorf("commit transaction: %w", err)
	}
	if !resp.Succeeded {
		return 0, tx.failed(resp)
	}
	return resp.Header.Revision, nil
}

func (tx *Txn) try(ctx context.Context) (resp *clientv3.TxnResponse, err error) {
	writes := tx.writes
	if len(tx.requests)+len(tx.gates) > 0 {
		lease, err := tx.store.requestLease(ctx)
		if err != nil {
			return nil, err
		}
		writes = append(slices.Clip(writes), tx.expiringOps(lease)...)
	}
	cmps := make([]clientv3.Cmp, len(tx.conds))
	reads := make([]clientv3.Op, len(tx.conds))
	for i, c := range tx.conds {
		cmps[i], reads[i] = c.cmp, c.read
	}
	err = tx.store.observed(ctx, "txn", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, tx.store.writeTimeout)
		defer cancel()
		resp, err = tx.store.client.Txn(ctx).If(cmps...).Then(writes...).Else(reads...).Commit()
		return err
	})
	return resp, err
}

// expiringOps are the writes that matter only for a while: request records, and gates, which need to
// outlast no more than the transactions that are under way.
func (tx *Txn) expiringOps(lease clientv3.LeaseID) []clientv3.Op {
	ops := make([]clientv3.Op, 0, len(tx.requests)+len(tx.gates))
	for _, r := range tx.requests {
		ops = append(ops, clientv3.OpPut(tx.store.requestKey(r.Scope, r.ID), encodeRequest(r), clientv3.WithLease(lease)))
	}
	for _, key := range tx.gates {
		ops = append(ops, clientv3.OpPut(key, "", clientv3.WithLease(lease)))
	}
	return ops
}

// check gives the first mistake made in building the transaction, or the limit it exceeds.
func (tx *Txn) check() error {
	limit := tx.store.opts.maxTxnOps
	switch {
	case tx.err != nil:
		return fmt.Errorf("build transaction: %w", tx.err)
	case len(tx.conds) > limit:
		return fmt.Errorf("%w: transaction of %d conditions, at most %d", ErrTooLarge, len(tx.conds), limit)
	case tx.size() > limit:
		return fmt.Errorf("%w: transaction of %d writes, at most %d", ErrTooLarge, tx.size(), limit)
	}
	return nil
}

// size is the number of writes.
func (tx *Txn) size() int { return len(tx.writes) + len(tx.requests) + len(tx.gates) }

func (tx *Txn) name(name string) bool {
	err := checkName(name)
	if err != nil {
		tx.fail(err)
	}
	return err == nil
}

func (tx *Txn) revision(name string, revision int64) bool {
	if revision <= 0 {
		tx.fail(fmt.Errorf("%w: revision %d of %q", ErrInvalid, revision, name))
	}
	return revision > 0
}

func (tx *Txn) put(key string, value proto.Message) {
	stored, err := encode(value)
	if err != nil {
		tx.fail(err)
		return
	}
	tx.write(key, clientv3.OpPut(key, string(stored)))
}

func (tx *Txn) write(key string, op clientv3.Op) {
	if tx.written[key] {
		tx.fail(fmt.Errorf("%w: %q written twice", ErrInvalid, key))
		return
	}
	tx.written[key] = true
	tx.writes = append(tx.writes, op)
}

func (tx *Txn) require(c condition) { tx.conds = append(tx.conds, c) }

func (tx *Txn) fail(err error) {
	if tx.err == nil {
		tx.err = err
	}
}
