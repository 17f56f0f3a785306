package store

import (
	"iter"
	"strings"

	"github.com/google/btree"
	"google.golang.org/protobuf/proto"
)

// Snapshot is the state of every registered collection and of all claims at one revision. It never
// changes and is safe for concurrent use; the messages in it are shared and must not be modified.
type Snapshot struct {
	revision    int64
	collections map[string]*tree
	claims      *btree.BTreeG[Claim]
	bad         *btree.BTreeG[string]
	superseded  chan struct{}
}

// tree holds one collection. It is copied on write: taking a snapshot copies nothing.
type tree struct {
	items    *btree.BTreeG[item]
	revision int64 // of its last change
}

type item struct {
	name             string
	value            proto.Message
	revision, create int64
}

const treeDegree = 32

func newTree() *tree {
	return &tree{items: btree.NewG(treeDegree, func(a, b item) bool { return a.name < b.name })}
}

func newClaims() *btree.BTreeG[Claim] {
	return btree.NewG(treeDegree, func(a, b Claim) bool {
		if a.Kind != b.Kind {
			return a.Kind < b.Kind
		}
		return a.Key < b.Key
	})
}

// Revision is the revision of the store that the snapshot shows; 0 before the first list.
func (s *Snapshot) Revision() int64 { return s.revision }

// Superseded is closed when the cache has a later snapshot. Changes in between coalesce: whoever
// waits for it and takes the cache's snapshot then has the latest.
func (s *Snapshot) Superseded() <-chan struct{} { return s.superseded }

// Quarantined gives the keys whose stored value does not decode, sorted. A key that was sound before
// is still shown with its last sound value; one that was not since the cache started is missing.
func (s *Snapshot) Quarantined() []string {
	keys := make([]string, 0, s.bad.Len())
	s.bad.Ascend(func(key string) bool {
		keys = append(keys, key)
		return true
	})
	return keys
}

// ClaimOf gives the claim on a key.
func (s *Snapshot) ClaimOf(kind, key string) (Claim, bool) {
	return s.claims.Get(Claim{Kind: kind, Key: key})
}

// Claims gives the claims of a kind whose key begins with prefix, in key order.
func (s *Snapshot) Claims(kind, prefix string) iter.Seq[Claim] {
	return func(yield func(Claim) bool) {
		s.claims.AscendGreaterOrEqual(Claim{Kind: kind, Key: prefix}, func(c Claim) bool {
			return c.Kind == kind && strings.HasPrefix(c.Key, prefix) && yield(c)
		})
	}
}

// Lookup gives one resource from a snapshot.
func (c *Collection[T]) Lookup(s *Snapshot, name string) (Versioned[T], bool) {
	t := s.collections[c.id]
	if t == nil {
		return Versioned[T]{}, false
	}
	found, ok := t.items.Get(item{name: name})
	if !ok {
		return Versioned[T]{}, false
	}
	return c.fromItem(found), true
}

// Below gives the resources whose names lie below parent at any depth, in order of their names;
// "" is all of them.
func (c *Collection[T]) Below(s *Snapshot, parent string) iter.Seq[Versioned[T]] {
	prefix := ""
	if parent != "" {
		prefix = parent + "/"
	}
	return func(yield func(Versioned[T]) bool) {
		t := s.collections[c.id]
		if t == nil {
			return
		}
		t.items.AscendGreaterOrEqual(item{name: prefix}, func(i item) bool {
			return strings.HasPrefix(i.name, prefix) && yield(c.fromItem(i))
		})
	}
}

// Len gives the number of resources of the collection in a snapshot.
func (c *Collection[T]) Len(s *Snapshot) int {
	if t := s.collections[c.id]; t != nil {
		return t.items.Len()
	}
	return 0
}

// ChangedAt gives the revision of the collection's last change that the cache saw. Two snapshots
// with the same value hold the same resources.
func (c *Collection[T]) ChangedAt(s *Snapshot) int64 {
	if t := s.collections[c.id]; t != nil {
		return t.revision
	}
	return 0
}

func (c *Collection[T]) fromItem(i item) Versioned[T] {
	return Versioned[T]{Name: i.name, Value: i.value.(T), Revision: i.revision, CreateRevision: i.create}
}
