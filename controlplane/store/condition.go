package store

import (
	"errors"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// condition is one comparison of a transaction, with the read that etcd makes in its stead if any
// comparison fails, and the judgement of what that read found: nil if this one held.
type condition struct {
	cmp   clientv3.Cmp
	read  clientv3.Op
	judge func(found *mvccpb.KeyValue) *ConditionError
}

// failed gives the first condition, in the order they were added, that did not hold.
func (tx *Txn) failed(resp *clientv3.TxnResponse) error {
	for i, c := range tx.conds {
		var found *mvccpb.KeyValue
		if kvs := resp.Responses[i].GetResponseRange().GetKvs(); len(kvs) > 0 {
			found = kvs[0]
		}
		if failure := c.judge(found); failure != nil {
			return failure
		}
	}
	// The comparisons and the reads are of one revision, so a failed comparison shows in its read.
	return errors.New("commit transaction: etcd reports a failed condition and shows none")
}

func (s *Store) absent(collection, name string) condition {
	key := s.resourceKey(collection, name)
	return condition{
		cmp:  clientv3.Compare(clientv3.CreateRevision(key), "=", 0),
		read: clientv3.OpGet(key, clientv3.WithKeysOnly()),
		judge: func(found *mvccpb.KeyValue) *ConditionError {
			if found == nil {
				return nil
			}
			return &ConditionError{Err: ErrExists, Collection: collection, Name: name, Have: found.ModRevision}
		},
	}
}

func (s *Store) present(collection, name string) condition {
	key := s.resourceKey(collection, name)
	return condition{
		cmp:  clientv3.Compare(clientv3.CreateRevision(key), ">", 0),
		read: clientv3.OpGet(key, clientv3.WithKeysOnly()),
		judge: func(found *mvccpb.KeyValue) *ConditionError {
			if found != nil {
				return nil
			}
			return &ConditionError{Err: ErrNotFound, Collection: collection, Name: name}
		},
	}
}

func (s *Store) atRevision(collection, name string, want int64) condition {
	key := s.resourceKey(collection, name)
	return condition{
		cmp:  clientv3.Compare(clientv3.ModRevision(key), "=", want),
		read: clientv3.OpGet(key, clientv3.WithKeysOnly()),
		judge: func(found *mvccpb.KeyValue) *ConditionError {
			e := &ConditionError{Err: ErrNotFound, Collection: collection, Name: name, Want: want}
			switch {
			case found == nil:
				return e
			case found.ModRevision == want:
				return nil
			}
			e.Err, e.Have = ErrConflict, found.ModRevision
			return e
		},
	}
}

// none compares over the whole prefix: etcd holds a comparison over a range true if it is true of
// every key in it, and of a key with revision 0 if there is none.
func (s *Store) none(collection, parent string) condition {
	prefix := s.parentPrefix(collection, parent)
	return condition{
		cmp:  clientv3.Compare(clientv3.CreateRevision(prefix), "=", 0).WithPrefix(),
		read: clientv3.OpGet(prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(1)),
		judge: func(found *mvccpb.KeyValue) *ConditionError {
			if found == nil {
				return nil
			}
			return &ConditionError{
				Err: ErrNotEmpty, Collection: collection,
				Name: s.foundName(collection, found), Have: found.ModRevision,
			}
		},
	}
}

func (s *Store) unchanged(collection, parent string, since int64) condition {
	prefix := s.parentPrefix(collection, parent)
	return condition{
		cmp: clientv3.Compare(clientv3.ModRevision(prefix), "<", since+1).WithPrefix(),
		read: clientv3.OpGet(prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly(),
			clientv3.WithMinModRev(since+1), clientv3.WithLimit(1)),
		judge: func(found *mvccpb.KeyValue) *ConditionError {
			if found == nil {
				return nil
			}
			return &ConditionError{
				Err: ErrConflict, Collection: collection,
				Name: s.foundName(collection, found), Want: since, Have: found.ModRevision,
			}
		},
	}
}

func (s *Store) notPassed(kind, key string, since int64) condition {
	k := s.gateKey(kind, key)
	return condition{
		cmp:  clientv3.Compare(clientv3.ModRevision(k), "<", since+1),
		read: clientv3.OpGet(k, clientv3.WithKeysOnly()),
		judge: func(found *mvccpb.KeyValue) *ConditionError {
			if found == nil || found.ModRevision <= since {
				return nil
			}
			return &ConditionError{Err: ErrConflict, Name: kind + "/" + key, Want: since, Have: found.ModRevision}
		},
	}
}

func (s *Store) unclaimed(kind, key string) condition {
	k := s.claimKey(kind, key)
	return condition{
		cmp:  clientv3.Compare(clientv3.CreateRevision(k), "=", 0),
		read: clientv3.OpGet(k),
		judge: func(found *mvccpb.KeyValue) *ConditionError {
			if found == nil {
				return nil
			}
			return &ConditionError{
				Err:   ErrClaimed,
				Claim: Claim{Kind: kind, Key: key, Owner: string(found.Value), Revision: found.ModRevision},
				Have:  found.ModRevision,
			}
		},
	}
}

func (s *Store) claimsUnchanged(kind, prefix string, since int64) condition {
	key := s.claimKey(kind, prefix)
	return condition{
		cmp:  clientv3.Compare(clientv3.ModRevision(key), "<", since+1).WithPrefix(),
		read: clientv3.OpGet(key, clientv3.WithPrefix(), clientv3.WithMinModRev(since+1), clientv3.WithLimit(1)),
		judge: func(found *mvccpb.KeyValue) *ConditionError {
			if found == nil {
				return nil
			}
			claim := Claim{
				Kind: kind, Key: strings.TrimPrefix(string(found.Key), s.claimKey(kind, "")),
				Owner: string(found.Value), Revision: found.ModRevision,
			}
			return &ConditionError{Err: ErrConflict, Claim: claim, Want: since, Have: found.ModRevision}
		},
	}
}

func (s *Store) unseen(r Request) condition {
	key := s.requestKey(r.Scope, r.ID)
	return condition{
		cmp:  clientv3.Compare(clientv3.CreateRevision(key), "=", 0),
		read: clientv3.OpGet(key, clientv3.WithKeysOnly()),
		judge: func(found *mvccpb.KeyValue) *ConditionError {
			if found == nil {
				return nil
			}
			return &ConditionError{Err: ErrRequestSeen, RequestID: r.ID, Have: found.ModRevision}
		},
	}
}

func (s *Store) foundName(collection string, kv *mvccpb.KeyValue) string {
	return strings.TrimPrefix(string(kv.Key), s.resourceKey(collection, ""))
}
