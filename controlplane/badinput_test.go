package controlplane_test

import (
	"context"
	"slices"
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
	fewestShortCalls = 2_000
	// shortStep is how many mutations a short test makes one of.
	shortStep = 7
)

// TestBadInput changes each field of each request of each method into what the catalogue has, and
// looks at what comes of it: a code that is to be expected, an error that tells enough and not too
// much, and nothing changed unless it was fine.
func TestBadInput(t *testing.T) {
	w := newWorld(t)
	tenant := w.as("alpha admin")
	step, fewest := 1, fewestCalls
	if testing.Short() {
		step, fewest = shortStep, fewestShortCalls
	}
	calls, slowest := 0, attempt{}
	for _, m := range methods(t) {
		base := w.base(m)
		conn := w.caller(m, tenant)
		if err := conn.Invoke(t.Context(), m.path, base, m.output.New().Interface()); err != nil {
			t.Errorf("%s has no good request to start from: add what it needs to the world or to given: %v", m.path, err)
			continue
		}
		w.state.undo()
		n := 0
		for one := range w.mutations(m, base) {
			if n++; n%step != 0 {
				continue
			}
			calls++
			if done := w.try(m, conn, one); done.took > slowest.took {
				slowest = done
			}
		}
		w.state.check()
	}
	t.Logf("%d calls; the slowest took %v: %s %s = %s", calls, slowest.took, slowest.method, slowest.field, slowest.what)
	if calls < fewest {
		t.Errorf("%d calls, want at least %d", calls, fewest)
	}
}

// attempt is a call that was made.
type attempt struct {
	method, field, what string
	took                time.Duration
}

// try makes one bad call and looks at what comes of it.
func (w *world) try(m *method, conn *grpc.ClientConn, one mutation) attempt {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), callTimeout)
	defer cancel()
	start := time.Now()
	answer, err := send(ctx, conn, m.path, one.wire)
	done := attempt{m.path, one.field, one.what, time.Since(start)}
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
		for _, f := range domainFaults(m, one.wire, st) {
			fault("%s", f)
		}
	}
	for _, line := range w.log.take() {
		fault("logged as an error: %s", line)
	}
	return done
}
