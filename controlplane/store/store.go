// Package store keeps Causeway's resources in etcd: typed collections over protobuf messages,
// transactions that compare revisions and claim what must be unique, consistent paged lists, and a
// cache fed by a watch.
//
// There is one implementation, over the etcd v3 API. [OpenEmbedded] runs an etcd server inside the
// process on a private directory, with no TCP listener; [OpenCluster] uses an existing cluster over
// mutual TLS. Everything above the opening is the same code.
//
// # Keys
//
//	<prefix>/causeway/v1/<collection>/<resource name>   a resource, see the value format below
//	<prefix>/causeway/v1/claims/<kind>/<key>            the name of the resource that owns the key
//	<prefix>/causeway/v1/requests/<scope>/<request id>  an idempotency record, expiring
//	<prefix>/causeway/v1/leaders/<name>                 who leads, see [Store.Lead]
//	<prefix>/causeway/v1/gates/<kind>/<key>             an empty value, written by what passes it, expiring
//	<prefix>/causeway/v1/meta/<name>                    the format marker and the page token key
//
// # Values
//
// A resource is stored as one byte 0xC5, one byte format version (1), four bytes CRC-32C
// (little-endian) over the message's full name and its wire form, and then the wire form. What does
// not decode is never served and never a panic: lists and watches leave it out, count it and log its
// key once; reading it by name gives [ErrCorrupt].
//
// # Consistency
//
// Every write is one etcd transaction: all of it happens or none. Reads are linearizable. The
// revision of a resource is the etcd modification revision; it only ever grows and is its etag.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Limits that hold for every store, embedded or not.
const (
	// MaxValueBytes is the largest encoded resource, in bytes.
	MaxValueBytes = 512 << 10
	// MaxTxnOps is the largest number of comparisons, and of writes, in one transaction. It equals
	// etcd's default limit (128), so that an external cluster works as it comes; an external cluster
	// started with a higher --max-txn-ops gains nothing unless [WithMaxTxnOps] says so.
	MaxTxnOps = 128
	// EmbeddedMaxTxnOps is the limit of the embedded server.
	EmbeddedMaxTxnOps = 1024
	// embeddedMaxRequest bounds one request to the embedded server, in bytes; etcd's own default is
	// 1.5 MiB.
	embeddedMaxRequest = 4 << 20
)

// Observer is told of every operation once it has ended: its name (get, list, txn, watch, lease),
// how long it took and the error it gave, nil if none. It is called from many goroutines and must
// not block.
type Observer func(op string, took time.Duration, err error)

// Option changes how a store is opened.
type Option func(*options)

type options struct {
	observe   Observer
	now       func() time.Time
	maxTxnOps int
	quota     int64
}

// WithObserver has every operation reported to observe.
func WithObserver(observe Observer) Option {
	return func(o *options) { o.observe = observe }
}

// WithClock replaces time.Now, which stamps durations and decides when the lease of idempotency
// records is renewed.
func WithClock(now func() time.Time) Option {
	return func(o *options) { o.now = now }
}

// WithMaxTxnOps sets the largest transaction, for an external cluster whose servers run with a
// matching --max-txn-ops. Values below 1 are ignored. The embedded server takes the same value.
func WithMaxTxnOps(n int) Option {
	return func(o *options) {
		if n > 0 {
			o.maxTxnOps = n
		}
	}
}

// WithQuota sets the size in bytes that an embedded server's database may have. What would make it
// larger has the history dropped; if the resources alone take as much, creating one gives
// [ErrExhausted]. Changes may still take an eighth more, deletions always succeed. The default is
// 2 GiB. It has no effect on an external cluster.
func WithQuota(bytes int64) Option {
	return func(o *options) { o.quota = bytes }
}

func newOptions(maxTxnOps int, opts []Option) options {
	o := options{
		observe:   func(string, time.Duration, error) {},
		now:       time.Now,
		maxTxnOps: maxTxnOps,
		quota:     2 << 30,
	}
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// Store is an open store. Its methods are safe for concurrent use. The zero value is not usable.
type Store struct {
	client *clientv3.Client
	root   string // key prefix of everything, ends in "/"
	log    *slog.Logger
	opts   options
	// readTimeout bounds one try of a read, readTries how many there are.
	readTimeout time.Duration
	readTries   int
	// writeTimeout bounds a transaction whose caller sets no earlier deadline.
	writeTimeout time.Duration
	// requireLeader makes a cluster member without a leader answer at once instead of waiting.
	requireLeader bool

	tokenKey []byte // signs page tokens; the same for every store on these keys
	lease    atomic.Pointer[recordLease]
	bad      quarantine
	space    *space // nil for a cluster

	failure   *failure
	closeOnce sync.Once
	closeErr  error
	shutdown  func() error // stops what is behind client
}

// Failed is closed when an embedded server has stopped for good because its disk failed it. Every
// operation then gives [ErrUnavailable]; only opening the store anew helps. It never closes for an
// external cluster.
func (s *Store) Failed() <-chan struct{} { return s.failure.done() }

// Quarantined gives how many times a stored value was left out because it did not decode.
func (s *Store) Quarantined() uint64 { return s.bad.count.Load() }

// Revision gives the current revision of the whole store, from a linearizable read.
func (s *Store) Revision(ctx context.Context) (int64, error) {
	resp, err := s.get(ctx, "get", s.metaKey(metaFormat), clientv3.WithCountOnly())
	if err != nil {
		return 0, fmt.Errorf("read store revision: %w", err)
	}
	return resp.Header.Revision, nil
}

// Close ends the store's watches and requests and, if it is embedded, stops the server and waits
// for it. It is idempotent and gives the same result each time.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		err := s.client.Close()
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		s.closeErr = errors.Join(err, s.shutdown())
	})
	return s.closeErr
}
