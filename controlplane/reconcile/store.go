package reconcile

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// allocationBatch is how many tunnel endpoints one transaction stores. Each takes two comparisons and
// two writes, of which a cluster allows 128.
const allocationBatch = 60

// allocate stores tunnel endpoints with their ports and gives the revision that has them all.
func (r *Reconciler) allocate(ctx context.Context, missing []allocation) (revision int64, err error) {
	for batch := range slices.Chunk(missing, allocationBatch) {
		tx := r.cfg.Store.Begin()
		for _, a := range batch {
			if !a.stored {
				uid, err := r.newUID()
				if err != nil {
					return 0, err
				}
				tunnelEndpoints.Create(tx, a.name(), &pb.TunnelEndpoint{Uid: uid, Vpc: a.vpc, AvailabilityZone: a.zone})
			}
			tx.Claim(claimUDP, portClaimKey(a.port), a.name())
		}
		if revision, err = tx.Commit(ctx); err != nil {
			return 0, fmt.Errorf("store tunnel endpoints: %w", err)
		}
	}
	return revision, nil
}

// newUID makes the identifier of a tunnel endpoint: tep- and 17 random hexadecimal digits.
func (r *Reconciler) newUID() (string, error) {
	var b [9]byte
	if _, err := io.ReadFull(r.cfg.Random, b[:]); err != nil {
		return "", fmt.Errorf("read randomness for a uid: %w", err)
	}
	return "tep-" + hex.EncodeToString(b[:])[:17], nil
}

// remove takes out of the store what the spec in force does without. It says whether anything is
// left for a later try.
func (r *Reconciler) remove(ctx context.Context, compiled *result) (left bool, err error) {
	for _, d := range compiled.deleting {
		switch err := r.purge(ctx, d); {
		case errors.Is(err, store.ErrNotEmpty) || errors.Is(err, store.ErrConflict):
			left = true // something came in between, or a dependent goes first
		case err != nil:
			return true, err
		}
	}
	for _, name := range compiled.unused {
		if err := r.discard(ctx, name); err != nil {
			return true, err
		}
	}
	return left, nil
}

// purge removes one resource, if it still is the one that was deleted: the cache may lag behind a
// removal after which the name was given to another. Nobody else removes resources that live on a
// gateway, so what is being deleted here stays so until it is removed.
func (r *Reconciler) purge(ctx context.Context, d doomed) error {
	entry, err := d.kind.Read(ctx, r.cfg.Store, d.name)
	if errors.Is(err, store.ErrNotFound) || err == nil && !resource.Deleting(entry.Message) {
		return nil
	}
	if err != nil {
		return err
	}
	return d.kind.Purge(ctx, r.cfg.Store, d.name)
}

// discard removes a tunnel endpoint and gives its port back.
func (r *Reconciler) discard(ctx context.Context, name string) error {
	stored, err := tunnelEndpoints.Get(ctx, r.cfg.Store, name)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	claims, _, err := r.cfg.Store.Claims(ctx, claimUDP, portClaimPrefix)
	if err != nil {
		return err
	}
	tx := r.cfg.Store.Begin()
	tunnelEndpoints.Delete(tx, name, stored.Revision)
	for _, claim := range claims {
		if claim.Owner == name {
			tx.Release(claimUDP, claim.Key, name)
		}
	}
	if _, err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("remove tunnel endpoint %q: %w", name, err)
	}
	return nil
}
