package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/storage/backend"
)

const (
	// reclaimEvery is the least time between two attempts to reclaim space: each stops the server for
	// as long as it takes to copy the database.
	reclaimEvery = 5 * time.Second
	// reclaimTimeout bounds each step of an attempt.
	reclaimTimeout = 30 * time.Second
)

// space keeps an embedded server within its quota. Nearly always it is history that fills it, which
// can go. Where it is resources, the last ninth of the room that etcd gets is kept for changes and
// deletions of what exists: nobody could make room otherwise.
//
// When that is used up, too, etcd raises an alarm and refuses all but bare deletions:
// https://etcd.io/docs/v3.6/op-guide/maintenance/#space-quota
// The alarm is ended as soon as there is room again. A cluster has no space of this kind: its
// history belongs to others, too, so its administrator has to act.
type space struct {
	client *clientv3.Client
	// backend has the size of the database in bytes, and rewrites it without free pages. The
	// in-process client cannot: etcd's handler wants to tell a health service of it that only exists
	// on a socket.
	backend backend.Backend
	quota   int64
	now     func() time.Time
	log     *slog.Logger

	turn chan struct{} // holds one token while somebody uses what follows
	last time.Time     // when the last attempt began
	err  error         // what it came to
}

// reserve is the room beyond a quota for what adds nothing.
func reserve(quota int64) int64 { return quota / 8 }

func newSpace(client *clientv3.Client, db backend.Backend, log *slog.Logger, opt options) *space {
	return &space{
		client:  client,
		backend: db,
		quota:   opt.quota,
		now:     opt.now,
		log:     log,
		turn:    make(chan struct{}, 1),
	}
}

// admit says whether there is room for something new, and makes it if it can. A nil space leaves
// that to etcd.
func (sp *space) admit(ctx context.Context) error {
	if sp == nil || sp.backend.Size() < sp.quota {
		return nil
	}
	if err := sp.reclaim(ctx); err != nil {
		return fmt.Errorf("%w; %w", ErrExhausted, err)
	}
	return nil
}

// reclaim drops the history, gives its pages back and ends etcd's alarm if half the reserve is free
// then. nil says that there is room for something new. Within reclaimEvery all who ask share one
// attempt.
func (sp *space) reclaim(ctx context.Context) error {
	select {
	case sp.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-sp.turn }()
	if now := sp.now(); sp.last.IsZero() || now.Sub(sp.last) >= reclaimEvery {
		sp.last = now
		// Others wait for the result, so this caller's patience does not matter.
		sp.err = sp.compact(context.WithoutCancel(ctx))
	}
	switch size := sp.backend.Size(); {
	case sp.err != nil:
		return fmt.Errorf("reclaim space: %w", sp.err)
	case size >= sp.quota:
		return fmt.Errorf("reclaim space: %d bytes are in use again, the quota is %d", size, sp.quota)
	}
	return nil
}

func (sp *space) compact(ctx context.Context) error {
	before := sp.backend.Size()
	status, err := sp.status(ctx)
	if err != nil {
		return err
	}
	err = sp.step(ctx, "drop history", func(ctx context.Context) error {
		_, err := sp.client.Compact(ctx, status.Header.Revision, clientv3.WithCompactPhysical())
		if errors.Is(err, rpctypes.ErrCompacted) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := sp.backend.Defrag(); err != nil {
		return fmt.Errorf("defragment database: %w", err)
	}
	after := sp.backend.Size()
	sp.log.Warn("store was full, dropped its history",
		"bytes_before", before, "bytes_after", after, "quota_bytes", sp.quota)
	if after < sp.quota+reserve(sp.quota)/2 {
		alarm := clientv3.AlarmMember{MemberID: status.Header.MemberId, Alarm: etcdserverpb.AlarmType_NOSPACE}
		err := sp.step(ctx, "end alarm", func(ctx context.Context) error {
			_, err := sp.client.AlarmDisarm(ctx, &alarm)
			return err
		})
		if err != nil {
			return err
		}
	}
	if after >= sp.quota {
		return fmt.Errorf("%d bytes are in use, the quota is %d", after, sp.quota)
	}
	return nil
}

func (sp *space) status(ctx context.Context) (status *clientv3.StatusResponse, err error) {
	err = sp.step(ctx, "read size of database", func(ctx context.Context) error {
		status, err = sp.client.Status(ctx, "")
		return err
	})
	return status, err
}

func (sp *space) step(ctx context.Context, doing string, run func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, reclaimTimeout)
	defer cancel()
	if err := run(ctx); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}
