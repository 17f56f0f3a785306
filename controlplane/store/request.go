package store

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// RequestLife is how long at least a request id is remembered: a day, which outlasts any client's
	// retries.
	RequestLife = 24 * time.Hour
	// leaseWindow is how long one lease is given to new records. One lease for an hour's records
	// instead of one each spares a write per request.
	leaseWindow = time.Hour
)

// Request is an idempotency record (AIP-155): which resource a request id made, and a hash of the
// request so that the same id with other contents is noticed.
type Request struct {
	// Scope separates callers, one key segment: the account.
	Scope string
	// ID is the request id as the client sent it, one key segment.
	ID string
	// Hash is of the request's contents; at most 64 bytes.
	Hash []byte
	// Name is the resource that the request made or changed.
	Name string
}

// recordLease is the lease that new records get until it is renewed.
type recordLease struct {
	id    clientv3.LeaseID
	until time.Time
}

// LookupRequest gives what was recorded for a request id with [Txn.Remember], or ErrNotFound.
// A handler looks before it writes; if the transaction then gives ErrRequestSeen, a concurrent
// duplicate has won and a second look finds its record.
func (s *Store) LookupRequest(ctx context.Context, scope, id string) (Request, error) {
	if err := checkRequest(Request{Scope: scope, ID: id}); err != nil {
		return Request{}, err
	}
	key := s.requestKey(scope, id)
	resp, err := s.get(ctx, "get", key)
	if err != nil {
		return Request{}, fmt.Errorf("read request %q: %w", id, err)
	}
	if len(resp.Kvs) == 0 {
		return Request{}, fmt.Errorf("request %q: %w", id, ErrNotFound)
	}
	hash, name, err := decodeRequest(string(resp.Kvs[0].Value))
	if err != nil {
		s.bad.note(s.log, key, resp.Kvs[0].ModRevision, err)
		return Request{}, fmt.Errorf("request %q: %w", id, err)
	}
	return Request{Scope: scope, ID: id, Hash: hash, Name: name}, nil
}

func encodeRequest(r Request) string { return hex.EncodeToString(r.Hash) + " " + r.Name }

func decodeRequest(stored string) (hash []byte, name string, err error) {
	sum, name, ok := strings.Cut(stored, " ")
	if !ok {
		return nil, "", fmt.Errorf("%w: request record without a space", ErrCorrupt)
	}
	if hash, err = hex.DecodeString(sum); err != nil {
		return nil, "", fmt.Errorf("%w: request record: %w", ErrCorrupt, err)
	}
	return hash, name, nil
}

func checkRequest(r Request) error {
	if err := checkSegment(r.Scope); err != nil {
		return fmt.Errorf("request scope: %w", err)
	}
	if err := checkSegment(r.ID); err != nil {
		return fmt.Errorf("request id: %w", err)
	}
	if len(r.Hash) > 64 {
		return fmt.Errorf("%w: request hash of %d bytes, at most 64", ErrInvalid, len(r.Hash))
	}
	return nil
}

// requestLease gives the lease for records written now. Two callers that find it used up may each
// grant one; both are good.
func (s *Store) requestLease(ctx context.Context) (clientv3.LeaseID, error) {
	now := s.opts.now()
	if held := s.lease.Load(); held != nil && now.Before(held.until) {
		return held.id, nil
	}
	var id clientv3.LeaseID
	err := s.observed(ctx, "lease", func(ctx context.Context) error {
		resp, err := s.client.Grant(ctx, int64((RequestLife+leaseWindow)/time.Second))
		if err == nil {
			id = resp.ID
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("grant lease for request records: %w", err)
	}
	s.lease.Store(&recordLease{id: id, until: now.Add(leaseWindow)})
	return id, nil
}
