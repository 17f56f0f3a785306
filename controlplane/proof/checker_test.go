package proof

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// records is a DNS: what it does not have is not found, or nobody knows while it fails.
type records struct {
	mu     sync.Mutex
	values map[string]string
	fail   error
	asked  int
}

// LookupTXT implements Resolver.
func (r *records) LookupTXT(_ context.Context, name string) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	switch value, ok := r.values[name]; {
	case r.fail != nil:
		return nil, r.fail
	case ok:
		return []string{value}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (r *records) change(edit func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	edit()
	r.asked = 0
}

func (r *records) rounds(questions int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked >= questions
}

func TestLapsedProofFails(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	s, err := store.OpenEmbedded(t.Context(), filepath.Join(t.TempDir(), "store"), log)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	kind := resource.EndpointServices
	put := func(id string, state pb.PrivateDnsNameVerification_State) string {
		name := "accounts/a/endpointServices/" + id
		tx := s.Begin()
		kind.Create(tx, name, &pb.EndpointService{Name: name, PrivateDnsName: id + ".example.com", PrivateDnsNameVerification: &pb.PrivateDnsNameVerification{
			State: state, Domain: id + ".example.com", RecordName: "_x." + id + ".example.com", RecordValue: "vpce:" + id}})
		if _, err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		return name
	}
	stays, lapses := put("stays", pb.PrivateDnsNameVerification_VERIFIED), put("lapses", pb.PrivateDnsNameVerification_VERIFIED)
	waits := put("waits", pb.PrivateDnsNameVerification_PENDING_VERIFICATION)
	dns := &records{values: map[string]string{"_x.stays.example.com.": "vpce:stays", "_x.lapses.example.com.": "vpce:lapses"}}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := NewChecker(Config{Store: s, Resolver: dns, Every: 5 * time.Millisecond, Logger: log}).Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer cancel()

	get := func(name string) store.Versioned[*pb.EndpointService] {
		t.Helper()
		v, err := kind.Get(t.Context(), s, name)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	eventually := func(what string, done func() bool) {
		t.Helper()
		deadline := time.After(20 * time.Second)
		for !done() {
			select {
			case <-deadline:
				t.Fatalf("%s: not in time", what)
			case <-time.After(2 * time.Millisecond):
			}
		}
	}
	before := get(stays).Revision
	eventually("rounds", func() bool { return dns.rounds(30) })
	dns.change(func() { dns.fail = errors.New("server misbehaving") })
	eventually("rounds without servers", func() bool { return dns.rounds(30) })
	if got := get(lapses).Value.GetPrivateDnsNameVerification(); got.GetState() != pb.PrivateDnsNameVerification_VERIFIED {
		t.Errorf("while servers fail: %v", got)
	}
	dns.change(func() {
		dns.fail = nil
		delete(dns.values, "_x.lapses.example.com.")
	})
	eventually("lapse", func() bool {
		got := get(lapses).Value.GetPrivateDnsNameVerification()
		return got.GetState() == pb.PrivateDnsNameVerification_FAILED && got.GetStateMessage() != "" && got.GetLastAttemptTime() != nil
	})
	if v := get(stays); v.Revision != before {
		t.Errorf("what is still proven was written: %v", v.Value)
	}
	if got := get(waits).Value.GetPrivateDnsNameVerification(); got.GetState() != pb.PrivateDnsNameVerification_PENDING_VERIFICATION {
		t.Errorf("what nobody asked to verify: %v", got)
	}
}
