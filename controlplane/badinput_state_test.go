package controlplane_test

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// state looks at what is stored from outside, over etcd's own socket, and can bring it back.
type state struct {
	t      *testing.T
	client *clientv3.Client
	kept   map[string]string
	// now is what was last read, revision when all was as kept.
	now      map[string]string
	revision int64
	restored int
}

// Reads are serializable: of a single member they show whatever it has answered for, and do not wait
// for its log.

// root is the prefix of all keys, see package store.
const root = "/causeway/v1/"

func openState(t *testing.T, socket string) *state {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + socket}, DialTimeout: 10 * time.Second, Logger: zap.NewNop()})
	must(t, err)
	t.Cleanup(func() { must(t, client.Close()) })
	return &state{t: t, client: client}
}

// keep remembers the state as it is.
func (s *state) keep() { s.kept, s.revision = s.read() }

func (s *state) read() (all map[string]string, revision int64) {
	s.t.Helper()
	resp, err := s.client.Get(context.Background(), root, clientv3.WithPrefix(), clientv3.WithSerializable())
	must(s.t, err)
	all = make(map[string]string, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		all[string(kv.Key)] = string(kv.Value)
	}
	return all, resp.Header.Revision
}

// revisionNow gives the revision of the last write.
func (s *state) revisionNow() int64 {
	s.t.Helper()
	resp, err := s.client.Get(context.Background(), root+"meta/format", clientv3.WithCountOnly(), clientv3.WithSerializable())
	must(s.t, err)
	return resp.Header.Revision
}

// changed gives the keys whose values are not as kept. That the revision is the same proves that
// nothing was written at all.
func (s *state) changed() []string {
	s.t.Helper()
	if s.revisionNow() == s.revision {
		return nil
	}
	var revision int64
	s.now, revision = s.read()
	var keys []string
	for key := range differing(s.kept, s.now) {
		keys = append(keys, key)
	}
	if keys == nil {
		s.revision = revision
	}
	return keys
}

// restore brings back what was kept, after changed has found a difference.
func (s *state) restore() {
	s.t.Helper()
	var ops []clientv3.Op
	for key := range differing(s.kept, s.now) {
		if value, ok := s.kept[key]; ok {
			ops = append(ops, clientv3.OpPut(key, value))
		} else {
			ops = append(ops, clientv3.OpDelete(key))
		}
	}
	resp, err := s.client.Txn(context.Background()).Then(ops...).Commit()
	must(s.t, err)
	s.revision = resp.Header.Revision
	if s.restored++; s.restored%compactEvery == 0 {
		_, err := s.client.Compact(context.Background(), s.revision)
		must(s.t, err)
	}
}

// compactEvery is how many times the state is restored before etcd forgets what was: its index gets
// slow of keys that are gone.
const compactEvery = 100

// undo restores until nothing is changed. The write of a call that its caller gave up may come late,
// even after the first restoration; once there it cannot come again.
func (s *state) undo() {
	s.t.Helper()
	for range 10 {
		if s.changed() == nil {
			return
		}
		s.restore()
	}
	s.check()
}

// check fails the test unless all is as kept.
func (s *state) check() {
	s.t.Helper()
	if keys := s.changed(); keys != nil {
		s.t.Fatalf("not as it was: %q", keys)
	}
}

func differing(a, b map[string]string) map[string]bool {
	keys := map[string]bool{}
	for _, pair := range [][2]map[string]string{{a, b}, {b, a}} {
		for key, value := range pair[0] {
			if other, ok := pair[1][key]; !ok || other != value {
				keys[key] = true
			}
		}
	}
	return keys
}
