package controlplane_test

import (
	"context"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const (
	// callTimeout bounds every call: whatever comes in, an answer comes soon.
	callTimeout = 10 * time.Second
	// fewestCalls is what the test makes at least, also when it is short: below that it has stopped
	// looking.
	fewestCalls      = 15_000
	fewestShortCalls = 500
)

// TestBadInput changes each field of each request of each method into what the catalogue has, and
// looks at what comes of it: a code that is to be expected, an error that tells enough and not too
// much, and nothing changed unless it was fine. Several worlds share the methods; a short test has one,
// whose sample is the same in every run.
func TestBadInput(t *testing.T) {
	t.Parallel()
	worlds, fewest := runtime.GOMAXPROCS(0), int64(fewestCalls)
	if testing.Short() {
		worlds, fewest = 1, fewestShortCalls
	}
	var calls atomic.Int64
	t.Cleanup(func() {
		if got := calls.Load(); got < fewest {
			t.Errorf("%d calls, want at least %d", got, fewest)
		}
	})
	rest := make(chan *method, len(methods(t)))
	for _, m := range methods(t) {
		rest <- m
	}
	close(rest)
	for n := range worlds {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			w, s := newWorld(t), sampler{mutators: map[string]bool{}}
			for m := range rest {
				calls.Add(int64(w.spoilMethod(m, &s)))
			}
		})
	}
}

// spoilMethod makes the bad calls of a method and says how many.
func (w *world) spoilMethod(m *method, s *sampler) int {
	base := w.base(m)
	conn := w.caller(m)
	if err := conn.Invoke(w.t.Context(), m.path, base, m.output.New().Interface()); err != nil {
		w.t.Errorf("%s has no good request to start from: add what it needs to the world or to given: %v", m.path, err)
		return 0
	}
	w.state.undo()
	chosen, slowest := s.choose(m, slices.Collect(w.mutations(m, base))), attempt{}
	start := time.Now()
	for _, one := range chosen {
		if done := w.try(m, conn, one); done.took > slowest.took {
			slowest = done
		}
	}
	w.state.check()
	w.t.Logf("%s: %d calls in %v; the slowest took %v: %s = %s", m.path, len(chosen), time.Since(start), slowest.took, slowest.field, slowest.what)
	return len(chosen)
}

// attempt is a call that was made.
type attempt struct {
	field, what string
	took        time.Duration
}

// try makes one bad call and looks at what comes of it.
func (w *world) try(m *method, conn *grpc.ClientConn, one mutation) attempt {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), callTimeout)
	defer cancel()
	wire := one.wire()
	start := time.Now()
	answer, err := send(ctx, conn, m.path, wire)
	done := attempt{one.field, one.what, time.Since(start)}
	st := status.Convert(err)
	fault := func(format string, args ...any) {
		w.t.Helper()
		w.t.Errorf("%s with %s = %s gives %v %.300q: "+format, append([]any{m.path, one.field, one.what, st.Code(), st.Message()}, args...)...)
	}
	if want := expected(one); !slices.Contains(want, st.Code()) {
		fault("want one of %v", want)
	}
	changed := w.state.changed()
	switch {
	case err == nil:
		if err := proto.Unmarshal(answer, m.output.New().Interface()); err != nil {
			fault("answer: %v", err)
		}
		if !m.writes() && changed != nil {
			fault("a read changed %q", changed)
		}
	case changed != nil:
		fault("changed %q", changed)
	}
	if changed != nil {
		w.state.restore()
	}
	if st.Code() != codes.OK {
		for _, f := range domainFaults(m, wire, st) {
			fault("%s", f)
		}
	}
	for _, line := range w.log.take() {
		fault("logged as an error: %s", line)
	}
	return done
}
