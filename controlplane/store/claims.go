package store

import (
	"context"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Claim is the ownership of something that must be unique: an address in a VPC, a name, a public
// key, a UDP port. Claims are made and released in the transaction that writes the owner, see
// [Txn.Claim].
type Claim struct {
	// Kind is what is claimed, one segment: "address", "public-key".
	Kind string
	// Key is the thing itself within its kind, at most 1024 bytes; slashes are allowed and let
	// [Store.Claims] list by prefix: "accounts/a/vpcs/prod/10.0.0.7".
	Key string
	// Owner is the name of the resource that holds it.
	Owner string
	// Revision is the one at which the claim was made.
	Revision int64
}

// ClaimOwner gives the claim on key, or ErrNotFound if nobody holds it.
func (s *Store) ClaimOwner(ctx context.Context, kind, key string) (Claim, error) {
	if err := checkClaim(kind, key); err != nil {
		return Claim{}, err
	}
	resp, err := s.get(ctx, "get", s.claimKey(kind, key))
	if err != nil {
		return Claim{}, fmt.Errorf("read claim of %s %q: %w", kind, key, err)
	}
	if len(resp.Kvs) == 0 {
		return Claim{}, fmt.Errorf("claim of %s %q: %w", kind, key, ErrNotFound)
	}
	kv := resp.Kvs[0]
	return Claim{Kind: kind, Key: key, Owner: string(kv.Value), Revision: kv.ModRevision}, nil
}

// Claims gives all claims of a kind whose key begins with prefix, in key order, and the revision at
// which they were read. An allocator chooses what is not among them and claims it; the transaction
// decides if two choose the same.
func (s *Store) Claims(ctx context.Context, kind, prefix string) ([]Claim, int64, error) {
	if err := checkSegment(kind); err != nil {
		return nil, 0, err
	}
	base := s.claimKey(kind, "")
	resp, err := s.get(ctx, "list", base+prefix, clientv3.WithPrefix())
	if err != nil {
		return nil, 0, fmt.Errorf("list claims of %s: %w", kind, err)
	}
	claims := make([]Claim, 0, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		claims = append(claims, Claim{
			Kind:     kind,
			Key:      strings.TrimPrefix(string(kv.Key), base),
			Owner:    string(kv.Value),
			Revision: kv.ModRevision,
		})
	}
	return claims, resp.Header.Revision, nil
}

// CountClaims gives how many claims of a kind have keys that begin with prefix, and the revision at
// which that was so.
func (s *Store) CountClaims(ctx context.Context, kind, prefix string) (n int, revision int64, err error) {
	if err := checkSegment(kind); err != nil {
		return 0, 0, err
	}
	n, revision, err = s.count(ctx, s.claimKey(kind, "")+prefix)
	if err != nil {
		return 0, 0, fmt.Errorf("count claims of %s: %w", kind, err)
	}
	return n, revision, nil
}

func checkClaim(kind, key string) error {
	if err := checkSegment(kind); err != nil {
		return fmt.Errorf("claim kind: %w", err)
	}
	if err := checkText(key); err != nil {
		return fmt.Errorf("claim of %s: %w", kind, err)
	}
	return nil
}
