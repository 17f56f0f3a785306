package store

import (
	"context"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// embeddedTimeout bounds a read or write of the embedded server, which has no other member to ask.
	// It is that of etcd itself for a proposal: five seconds and two elections.
	embeddedTimeout = 7 * time.Second
	// clusterWriteTimeout bounds a write to a cluster. A proposal on its way to a leader that dies is
	// lost and would be waited for by etcd itself for seven seconds; by three there is a new leader.
	clusterWriteTimeout = 3 * time.Second
	// clusterReadTimeout bounds one try of a read of a cluster; the next goes to another member.
	clusterReadTimeout = 2 * time.Second
	clusterReadTries   = 5
)

// get is a linearizable range read. Reads are safe to repeat: within the tries and the caller's
// context, one that found its member dead goes to the next.
func (s *Store) get(ctx context.Context, op, key string, opts ...clientv3.OpOption) (resp *clientv3.GetResponse, err error) {
	err = s.observed(ctx, op, func(ctx context.Context) error {
		for try := 1; ; try++ {
			one, cancel := context.WithTimeout(ctx, s.readTimeout)
			resp, err = s.client.Get(one, key, opts...)
			cancel()
			if err == nil || ctx.Err() != nil || try >= s.readTries {
				return err
			}
			if !errors.Is(classify(err), ErrUnavailable) {
				return err
			}
		}
	})
	return resp, err
}

// observed runs one operation: it refuses it if the embedded server has failed, translates its
// error and reports it.
func (s *Store) observed(ctx context.Context, op string, run func(context.Context) error) error {
	start := s.opts.now()
	err := s.failure.err()
	if err == nil {
		inner := ctx
		if s.requireLeader {
			inner = clientv3.WithRequireLeader(ctx)
		}
		err = translate(ctx, run(inner))
	}
	s.opts.observe(op, s.opts.now().Sub(start), err)
	return err
}
