package store

import (
	"strings"

	"github.com/google/btree"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// state is what the cache's one writer brings forward; snapshots are cut from it.
type state struct {
	cache    *Cache
	revision int64
	trees    map[string]*tree
	claims   *btree.BTreeG[Claim]
	bad      *btree.BTreeG[string] // keys of values that do not decode
}

func newState(c *Cache) *state {
	st := &state{
		cache:  c,
		trees:  make(map[string]*tree, len(c.collections)),
		claims: newClaims(),
		bad:    btree.NewOrderedG[string](treeDegree),
	}
	for id := range c.collections {
		st.trees[id] = newTree()
	}
	return st
}

// snapshot cuts an immutable copy. Nodes of the trees are shared until st writes them.
func (st *state) snapshot() *Snapshot {
	trees := make(map[string]*tree, len(st.trees))
	for id, t := range st.trees {
		trees[id] = &tree{items: t.items.Clone(), revision: t.revision}
	}
	return &Snapshot{
		revision:    st.revision,
		collections: trees,
		claims:      st.claims.Clone(),
		bad:         st.bad.Clone(),
		superseded:  make(chan struct{}),
	}
}

func (st *state) event(ev *clientv3.Event) {
	if ev.Type == clientv3.EventTypeDelete {
		st.remove(ev.Kv)
		return
	}
	st.put(ev.Kv)
}

func (st *state) put(kv *mvccpb.KeyValue) {
	segment, rest, ok := st.cache.store.splitKey(string(kv.Key))
	if !ok {
		return
	}
	if segment == segmentClaims {
		if kind, key, ok := strings.Cut(rest, "/"); ok {
			st.claims.ReplaceOrInsert(Claim{Kind: kind, Key: key, Owner: string(kv.Value), Revision: kv.ModRevision})
		}
		return
	}
	collection, known := st.cache.collections[segment]
	if !known {
		return
	}
	m, err := collection.decode(kv.Value)
	if err != nil {
		// The last sound value stays: what works is not taken away because of what is broken.
		st.cache.store.bad.note(st.cache.log, string(kv.Key), kv.ModRevision, err)
		st.bad.ReplaceOrInsert(string(kv.Key))
		return
	}
	st.bad.Delete(string(kv.Key))
	t := st.trees[segment]
	t.items.ReplaceOrInsert(item{name: rest, value: m, revision: kv.ModRevision, create: kv.CreateRevision})
	t.revision = max(t.revision, kv.ModRevision)
}

func (st *state) remove(kv *mvccpb.KeyValue) {
	segment, rest, ok := st.cache.store.splitKey(string(kv.Key))
	if !ok {
		return
	}
	if segment == segmentClaims {
		kind, key, _ := strings.Cut(rest, "/")
		st.claims.Delete(Claim{Kind: kind, Key: key})
		return
	}
	if t := st.trees[segment]; t != nil {
		st.bad.Delete(string(kv.Key))
		t.items.Delete(item{name: rest})
		t.revision = kv.ModRevision
	}
}

// inherit takes over from the snapshot before a new list what the list cannot give: the last sound
// values of keys that do not decode, and the revisions of collections whose last change was a
// deletion.
func (st *state) inherit(old *Snapshot) {
	st.bad.Ascend(func(key string) bool {
		segment, rest, _ := st.cache.store.splitKey(key)
		if last, ok := old.collections[segment].items.Get(item{name: rest}); ok {
			st.trees[segment].items.ReplaceOrInsert(last)
		}
		return true
	})
	if old.revision == 0 {
		return
	}
	for id, t := range st.trees {
		if before := old.collections[id]; !sameItems(t, before) {
			// What was deleted while the watch was broken left no revision; the list's bounds it.
			t.revision = st.revision
		} else {
			t.revision = before.revision
		}
	}
}

func sameItems(a, b *tree) bool {
	if a.items.Len() != b.items.Len() {
		return false
	}
	same := true
	a.items.Ascend(func(i item) bool {
		other, ok := b.items.Get(i)
		same = ok && other.revision == i.revision
		return same
	})
	return same
}
