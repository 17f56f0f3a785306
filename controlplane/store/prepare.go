package store

import (
	"context"
	"crypto/rand"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// formatMark is the value of the marker: what the keys and values below the root follow.
	formatMark = "causeway 1"
	// tokenKeyBytes is the size of the key that signs page tokens.
	tokenKeyBytes = 32
)

// prepare recognises the key space or, if it is empty, marks it. from is the first key of what must
// be empty then: all keys of an embedded server, those below the root of a cluster.
func (s *Store) prepare(ctx context.Context, from string) error {
	mark, key := s.metaKey(metaFormat), s.metaKey(metaTokenKey)
	for {
		resp, err := s.get(ctx, "get", s.metaKey(""), clientv3.WithPrefix())
		if err != nil {
			return fmt.Errorf("read format marker: %w", err)
		}
		meta := make(map[string][]byte, len(resp.Kvs))
		for _, kv := range resp.Kvs {
			meta[string(kv.Key)] = kv.Value
		}
		switch found := string(meta[mark]); {
		case found == formatMark && len(meta[key]) == tokenKeyBytes:
			s.tokenKey = meta[key]
			return nil
		case found != "":
			return fmt.Errorf("%w: its format is %q, this version reads %q", ErrForeign, found, formatMark)
		}
		if err := s.mark(ctx, from); err != nil {
			return err
		}
	}
}

// mark writes the marker into an empty key space. Losing to another process that does the same is
// no error.
func (s *Store) mark(ctx context.Context, from string) error {
	all := clientv3.WithFromKey()
	if from != "\x00" {
		all = clientv3.WithPrefix()
	}
	resp, err := s.get(ctx, "get", from, all, clientv3.WithLimit(1), clientv3.WithKeysOnly())
	if err != nil {
		return fmt.Errorf("look for other keys: %w", err)
	}
	mark := s.metaKey(metaFormat)
	if len(resp.Kvs) > 0 && string(resp.Kvs[0].Key) != mark {
		return fmt.Errorf("%w: it holds key %q", ErrForeign, resp.Kvs[0].Key)
	}
	key := make([]byte, tokenKeyBytes)
	rand.Read(key)
	err = s.observed(ctx, "txn", func(ctx context.Context) error {
		_, err := s.client.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(mark), "=", 0)).
			Then(clientv3.OpPut(mark, formatMark), clientv3.OpPut(s.metaKey(metaTokenKey), string(key))).
			Commit()
		return err
	})
	if err != nil {
		return fmt.Errorf("write format marker: %w", err)
	}
	return nil
}
