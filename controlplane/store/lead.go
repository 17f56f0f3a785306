package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// leadTerm is how long a leader that is gone without a word keeps the lead, in seconds.
	leadTerm = 10
	// resignTimeout bounds giving the lead back; without that it ends with the term.
	resignTimeout = time.Second
)

// errNoLead says that the lead has ended, or that somebody else has it.
var errNoLead = errors.New("the lead is another's")

// Lead calls run while this process has the lead among those that share the store and ask for it by
// the same name, one after another. The context of run ends when the lead is lost; run is called
// again when it comes back. Lead returns nil when ctx ends, or the first error that run gives while
// it leads. A predecessor that has just lost the lead may still be about to write: conditions on
// revisions are to see to that. An embedded store has one process, which leads.
func (s *Store) Lead(ctx context.Context, name string, run func(context.Context) error) error {
	if err := checkSegment(name); err != nil {
		return err
	}
	if s.space != nil {
		return run(ctx)
	}
	wait := retryFirst
	for {
		led, err := s.leadOnce(ctx, name, run)
		switch {
		case ctx.Err() != nil:
			return nil
		case led && err != nil:
			return err
		case led || errors.Is(err, errNoLead):
			wait = retryFirst
			continue
		}
		s.log.Warn("lead not asked for", "name", name, "error", err, "wait", wait)
		select {
		case <-time.After(wait):
			wait = min(2*wait, retryMost)
		case <-ctx.Done():
			return nil
		}
	}
}

// leadOnce takes the lead and runs until it is lost, or waits until whoever has it lets go of it and
// gives errNoLead. It says whether it led; an error is that of run then.
func (s *Store) leadOnce(ctx context.Context, name string, run func(context.Context) error) (led bool, err error) {
	ctx = s.watchContext(ctx)
	lease, err := s.client.Grant(ctx, leadTerm)
	if err != nil {
		return false, fmt.Errorf("lead %q: %w", name, translate(ctx, err))
	}
	defer s.resign(ctx, lease.ID)
	leading, stop := context.WithCancel(ctx)
	defer stop()
	alive, err := s.client.KeepAlive(leading, lease.ID)
	if err != nil {
		return false, fmt.Errorf("lead %q: %w", name, translate(ctx, err))
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer stop()
		for range alive { // it closes when the lease has run out, or leading has ended
		}
	}()
	defer func() {
		stop()
		<-ended
	}()
	key := s.root + segmentLeaders + "/" + name
	resp, err := s.client.Txn(leading).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, "", clientv3.WithLease(lease.ID))).Commit()
	switch {
	case err != nil:
		return false, fmt.Errorf("lead %q: %w", name, translate(ctx, err))
	case !resp.Succeeded:
		return false, s.awaitVacancy(leading, key, resp.Header.Revision)
	}
	s.log.Info("leading", "name", name)
	if err = run(leading); leading.Err() != nil {
		err = nil // whatever run says of its end, it was the lead's
	}
	return true, err
}

// awaitVacancy waits until a leader's key is removed after a revision.
func (s *Store) awaitVacancy(ctx context.Context, key string, since int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for resp := range s.client.Watch(ctx, key, clientv3.WithRev(since+1), clientv3.WithFilterPut()) {
		if err := resp.Err(); err != nil {
			return fmt.Errorf("wait for the lead: %w", translate(ctx, err))
		}
		if len(resp.Events) > 0 {
			return errNoLead
		}
	}
	return fmt.Errorf("wait for the lead: %w", ErrUnavailable)
}

// resign gives a lease back, so that another can lead at once.
func (s *Store) resign(ctx context.Context, lease clientv3.LeaseID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resignTimeout)
	defer cancel()
	if _, err := s.client.Revoke(ctx, lease); err != nil {
		s.log.Debug("lead not given back", "error", err)
	}
}
