// Package resource knows every kind of resource of the control plane: the collection it is stored
// in, how its names and uids look, what it refers to and what it has claimed. The API writes by these
// rules and reconcile removes by them, so neither repeats them.
package resource

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"causeway/controlplane/store"
)

// Message is a resource as the API shows it and the store keeps it.
type Message interface {
	proto.Message
	GetName() string
	GetUid() string
	GetEtag() string
}

// Kind is one kind of resource with its message type. It has no state.
type Kind[T Message] struct {
	*store.Collection[T]
	*Info
}

// Info is what is known of a kind apart from its message type.
type Info struct {
	// Collection is the key segment the resources are stored under and the last literal of their
	// names: "vpcs".
	Collection string
	// Word is what messages call one: "VPC", "endpoint service". Reasons are made of it.
	Word string
	// Prefix begins the uid, without the hyphen: "vpc".
	Prefix string
	// References gives, for each field that holds names of other resources, their kind.
	References map[protoreflect.Name]*Info
	// Shared says that resources of one account are seen by others, too: peerings.
	Shared bool
	// Life says that the resource lives on a gateway: deleting it marks it, and it goes when the
	// gateway has let go of it. Others go at once.
	Life bool

	pattern []string
	users   string
	claims  func(proto.Message) []Claim
	keeps   func(m proto.Message, field protoreflect.Name) bool
	get     func(ctx context.Context, s *store.Store, name string) (Entry, error)
	require func(tx *store.Txn, name string, revision int64)
	list    func(ctx context.Context, s *store.Store, parent string) ([]Entry, int64, error)
	count   func(ctx context.Context, s *store.Store, parent string) (int, int64, error)
	guard   func(tx *store.Txn, parent string, revision int64)
	purge   func(ctx context.Context, s *store.Store, name string) error
}

// Entry is a stored resource of whatever kind.
type Entry struct {
	*Info
	Name     string
	Message  Message
	Revision int64
}

// Claims gives what the resource holds and nothing else may.
func (i *Info) Claims(m Message) []Claim {
	claims := []Claim{{ClaimUID, m.GetUid()}}
	if i.claims != nil {
		claims = append(claims, i.claims(m)...)
	}
	return claims
}

// Read reads one resource of the kind: [store.ErrNotFound], [store.ErrCorrupt].
func (i *Info) Read(ctx context.Context, s *store.Store, name string) (Entry, error) {
	return i.get(ctx, s, name)
}

// Require has a transaction fail unless the resource is as it was read, see
// [store.Collection.Require].
func (e Entry) Require(tx *store.Txn) { e.require(tx, e.Name, e.Revision) }

// Parent gives the kind that resources of this one lie below; nil for accounts.
func (i *Info) Parent() *Info {
	for _, other := range all {
		if len(other.pattern) == len(i.pattern)-2 && i.below(other) {
			return other
		}
	}
	return nil
}

// ReadAll reads all resources of the kind below parent, "" for all, at one revision, which it gives
// as well.
func (i *Info) ReadAll(ctx context.Context, s *store.Store, parent string) ([]Entry, int64, error) {
	return i.list(ctx, s, parent)
}

// Tally gives how many resources of the kind lie below parent, see [store.Collection.CountAt].
func (i *Info) Tally(ctx context.Context, s *store.Store, parent string) (int, int64, error) {
	return i.count(ctx, s, parent)
}

// Purge removes a resource and releases its claims in one transaction. While anything lies below
// it or refers to it, it gives [store.ErrNotEmpty]; if somebody writes it meanwhile,
// [store.ErrConflict]. A resource that is gone already is no error.
func (i *Info) Purge(ctx context.Context, s *store.Store, name string) error {
	return i.purge(ctx, s, name)
}

// definition is what differs from kind to kind.
type definition[T Message] struct {
	word, prefix string
	name         string // "accounts/*/vpcs/*"
	references   map[protoreflect.Name]*Info
	claims       func(T) []Claim
	// users is the kind of claim whose keys begin with the uid of a resource that the owners use, of
	// whatever account they are; "" if only what References tells depends on the kind.
	users string
	// keeps says whether what a field names cannot be removed as long as the resource refers to it; nil
	// means always.
	keeps           func(m T, field protoreflect.Name) bool
	shared, passive bool
}

func define[T Message](d definition[T]) *Kind[T] {
	pattern := splitName(d.name)
	k := &Kind[T]{
		Collection: store.NewCollection[T](pattern[len(pattern)-2]),
		Info: &Info{
			Collection: pattern[len(pattern)-2],
			Word:       d.word,
			Prefix:     d.prefix,
			References: d.references,
			Shared:     d.shared,
			Life:       !d.passive,
			pattern:    pattern,
			users:      d.users,
		},
	}
	if d.claims != nil {
		k.Info.claims = func(m proto.Message) []Claim { return d.claims(m.(T)) }
	}
	k.Info.keeps = func(m proto.Message, field protoreflect.Name) bool { return d.keeps == nil || d.keeps(m.(T), field) }
	k.Info.get = func(ctx context.Context, s *store.Store, name string) (Entry, error) {
		v, err := k.Collection.Get(ctx, s, name)
		if err != nil {
			return Entry{}, err
		}
		return Entry{k.Info, name, v.Value, v.Revision}, nil
	}
	k.Info.require = k.Collection.Require
	k.Info.list = k.listAll
	k.Info.count = k.Collection.CountAt
	k.Info.guard = func(tx *store.Txn, parent string, revision int64) {
		k.RequireUnchanged(tx, parent, revision)
	}
	k.Info.purge = k.purgeOne
	all = append(all, k.Info)
	return k
}

func (k *Kind[T]) listAll(ctx context.Context, s *store.Store, parent string) ([]Entry, int64, error) {
	var entries []Entry
	opt := store.ListOptions{Parent: parent, PageSize: store.MaxPageSize}
	for {
		page, err := k.Collection.List(ctx, s, opt)
		if err != nil {
			return nil, 0, err
		}
		for _, v := range page.Items {
			entries = append(entries, Entry{k.Info, v.Name, v.Value, v.Revision})
		}
		if opt.PageToken = page.NextPageToken; opt.PageToken == "" {
			return entries, page.Revision, nil
		}
	}
}

func (k *Kind[T]) purgeOne(ctx context.Context, s *store.Store, name string) error {
	v, err := k.Get(ctx, s, name)
	switch {
	case isAbsent(err):
		return nil
	case err != nil:
		return err
	}
	tx := s.Begin()
	dependents, err := k.Dependents(ctx, s, tx, v.Value)
	switch {
	case err != nil:
		return err
	case len(dependents) > 0:
		return fmt.Errorf("remove %s %q: %w: %q", k.Word, name, store.ErrNotEmpty, dependents[0].Name)
	}
	k.Remove(tx, v)
	_, err = tx.Commit(ctx)
	return err
}

// Remove adds to a transaction that the resource goes with all its claims. [Info.Dependents] says
// whether it may.
func (k *Kind[T]) Remove(tx *store.Txn, v store.Versioned[T]) {
	k.Delete(tx, v.Name, v.Revision)
	for _, c := range k.Claims(v.Value) {
		tx.Release(c.Kind, c.Key, v.Name)
	}
}
