package store

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Page sizes of List (AIP-158).
const (
	DefaultPageSize = 50
	MaxPageSize     = 1000
)

// modifyTries bounds how often Modify reads again after losing to another writer.
const modifyTries = 16

var collectionID = regexp.MustCompile(`^[a-z][a-zA-Z0-9]{0,62}$`)

// Collection is the typed view of one collection of resources: the message they are stored as and
// the key segment they are stored under. It has no state; make one per collection at package level.
type Collection[T proto.Message] struct {
	id  string
	typ protoreflect.MessageType
}

// AnyCollection is a collection of whatever type, as [NewCache] takes it.
type AnyCollection interface {
	// ID is the collection's key segment.
	ID() string
	decode(stored []byte) (proto.Message, error)
}

// Versioned is a resource with its place in the store's history.
type Versioned[T any] struct {
	// Name is the resource name, as given to Create.
	Name string
	// Value is the resource. Values from a cache are shared and must not be modified.
	Value T
	// Revision is that of the last write, CreateRevision that of the first since the name was free.
	Revision, CreateRevision int64
}

// Etag is the revision as the API shows it. [ParseEtag] reads it back.
func (v Versioned[T]) Etag() string { return FormatEtag(v.Revision) }

// FormatEtag gives the etag of a resource at a revision.
func FormatEtag(revision int64) string { return strconv.FormatInt(revision, 10) }

// ParseEtag gives the revision that an etag stands for, or ErrInvalid if no resource can have it.
func ParseEtag(etag string) (int64, error) {
	revision, err := strconv.ParseInt(etag, 10, 64)
	if err != nil || revision <= 0 || FormatEtag(revision) != etag {
		return 0, fmt.Errorf("%w: etag %q", ErrInvalid, etag)
	}
	return revision, nil
}

// ListOptions says which page of which resources a List gives.
type ListOptions struct {
	// Parent limits the list to resources whose names lie below it; "" is all. Any depth: below
	// "accounts/a" are the subnets of all its VPCs.
	Parent string
	// PageSize is the most resources to give: 0 means 50, more than 1000 means 1000, below 0 is
	// ErrInvalid.
	PageSize int
	// PageToken is the NextPageToken of the page before, from the same Parent and Bind.
	PageToken string
	// Bind is anything else that the token shall be worth nothing without: the caller, a filter.
	Bind string
}

// Page is one page of a list.
type Page[T any] struct {
	// Items are in order of their names. There may be fewer than asked for before the end, since
	// values that do not decode are left out.
	Items []Versioned[T]
	// NextPageToken is empty on the last page. It is URL-safe text.
	NextPageToken string
	// Revision is that of the store at the first page; all pages show the state at it.
	Revision int64
}

// NewCollection makes the view of a collection, whose id is a lowerCamel key segment such as
// "securityGroups". It panics on an id that cannot be one, or if T is not a generated message: both
// are errors of the program.
func NewCollection[T proto.Message](id string) *Collection[T] {
	switch {
	case !collectionID.MatchString(id):
		panic(fmt.Sprintf("store: collection id %q", id))
	case slices.Contains([]string{segmentClaims, segmentRequests, segmentLeaders, segmentGates, segmentMeta}, id):
		panic(fmt.Sprintf("store: collection id %q is reserved", id))
	}
	var zero T
	return &Collection[T]{id: id, typ: zero.ProtoReflect().Type()}
}

// ID is the collection's key segment.
func (c *Collection[T]) ID() string { return c.id }

func (c *Collection[T]) decode(stored []byte) (proto.Message, error) {
	m := c.typ.New().Interface()
	if err := decode(stored, m); err != nil {
		return nil, err
	}
	return m, nil
}

func (c *Collection[T]) versioned(name string, kv *mvccpb.KeyValue) (Versioned[T], error) {
	m, err := c.decode(kv.Value)
	if err != nil {
		return Versioned[T]{}, err
	}
	return Versioned[T]{
		Name:           name,
		Value:          m.(T),
		Revision:       kv.ModRevision,
		CreateRevision: kv.CreateRevision,
	}, nil
}

// Get reads one resource: ErrNotFound if it is absent, ErrCorrupt if it does not decode.
func (c *Collection[T]) Get(ctx context.Context, s *Store, name string) (Versioned[T], error) {
	if err := checkName(name); err != nil {
		return Versioned[T]{}, err
	}
	key := s.resourceKey(c.id, name)
	resp, err := s.get(ctx, "get", key)
	if err != nil {
		return Versioned[T]{}, fmt.Errorf("read %s %q: %w", c.id, name, err)
	}
	if len(resp.Kvs) == 0 {
		return Versioned[T]{}, fmt.Errorf("%s %q: %w", c.id, name, ErrNotFound)
	}
	v, err := c.versioned(name, resp.Kvs[0])
	if err != nil {
		s.bad.note(s.log, key, resp.Kvs[0].ModRevision, err)
		return Versioned[T]{}, fmt.Errorf("%s %q: %w", c.id, name, err)
	}
	return v, nil
}

// List reads one page. Following pages show the same revision, whatever is written meanwhile; if
// it has been compacted away (an embedded store keeps an hour) the error is ErrCompacted and the
// caller begins anew. A token from another list is ErrPageToken.
func (c *Collection[T]) List(ctx context.Context, s *Store, opt ListOptions) (Page[T], error) {
	if opt.Parent != "" {
		if err := checkName(opt.Parent); err != nil {
			return Page[T]{}, err
		}
	}
	size, err := pageSize(opt.PageSize)
	if err != nil {
		return Page[T]{}, err
	}
	args := tokenArgs{collection: c.id, parent: opt.Parent, bind: opt.Bind}
	prefix := s.parentPrefix(c.id, opt.Parent)
	start := prefix
	ops := []clientv3.OpOption{
		clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix)),
		clientv3.WithLimit(int64(size)),
	}
	if opt.PageToken != "" {
		cur, err := decodeToken(s.tokenKey, args, opt.PageToken)
		if err != nil {
			return Page[T]{}, err
		}
		start = s.resourceKey(c.id, cur.last) + "\x00"
		ops = append(ops, clientv3.WithRev(cur.revision))
	}
	resp, err := s.get(ctx, "list", start, ops...)
	if err != nil {
		return Page[T]{}, fmt.Errorf("list %s below %q: %w", c.id, opt.Parent, err)
	}
	return c.page(s, args, opt.PageToken, resp), nil
}

// Count gives how many resources lie below parent, whether they decode or not.
func (c *Collection[T]) Count(ctx context.Context, s *Store, parent string) (int64, error) {
	if err := checkName(parent); err != nil {
		return 0, err
	}
	n, _, err := c.CountAt(ctx, s, parent)
	return int64(n), err
}

func (c *Collection[T]) page(s *Store, args tokenArgs, token string, resp *clientv3.GetResponse) Page[T] {
	page := Page[T]{Items: make([]Versioned[T], 0, len(resp.Kvs)), Revision: resp.Header.Revision}
	if token != "" {
		// Verified by List already; the header shows the present revision, not the list's.
		cur, _ := decodeToken(s.tokenKey, args, token)
		page.Revision = cur.revision
	}
	base := s.resourceKey(c.id, "")
	last := ""
	for _, kv := range resp.Kvs {
		last = strings.TrimPrefix(string(kv.Key), base)
		v, err := c.versioned(last, kv)
		if err != nil {
			s.bad.note(s.log, string(kv.Key), kv.ModRevision, err)
			continue
		}
		page.Items = append(page.Items, v)
	}
	if resp.More {
		page.NextPageToken = encodeToken(s.tokenKey, args, cursor{revision: page.Revision, last: last})
	}
	return page
}

// CountAt gives how many resources lie below parent, "" meaning all, whether they decode or not, and
// the revision at which that was so. It reads none of them.
func (c *Collection[T]) CountAt(ctx context.Context, s *Store, parent string) (n int, revision int64, err error) {
	n, revision, err = s.count(ctx, s.parentPrefix(c.id, parent))
	if err != nil {
		return 0, 0, fmt.Errorf("count %s below %q: %w", c.id, parent, err)
	}
	return n, revision, nil
}

func (s *Store) count(ctx context.Context, prefix string) (n int, revision int64, err error) {
	resp, err := s.get(ctx, "list", prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return 0, 0, err
	}
	return int(resp.Count), resp.Header.Revision, nil
}

func pageSize(asked int) (int, error) {
	switch {
	case asked < 0:
		return 0, fmt.Errorf("%w: page size %d", ErrInvalid, asked)
	case asked == 0:
		return DefaultPageSize, nil
	}
	return min(asked, MaxPageSize), nil
}

// Modify reads a resource, has change alter it and writes it back if nobody else wrote meanwhile;
// if somebody did, it starts over, up to sixteen times before it gives ErrConflict. A change that
// returns false leaves the store alone. An error of change ends it and comes back as it is.
func (c *Collection[T]) Modify(ctx context.Context, s *Store, name string, change func(T) (bool, error)) (Versioned[T], error) {
	for try := 1; ; try++ {
		v, err := c.Get(ctx, s, name)
		if err != nil {
			return v, err
		}
		write, err := change(v.Value)
		if err != nil || !write {
			return v, err
		}
		tx := s.Begin()
		c.Update(tx, name, v.Value, v.Revision)
		revision, err := tx.Commit(ctx)
		if err == nil {
			v.Revision = revision
			return v, nil
		}
		if !errors.Is(err, ErrConflict) || try == modifyTries {
			return v, err
		}
	}
}
