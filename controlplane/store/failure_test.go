package store

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/zap"
)

// TestFailureOfServer says, as etcd does when its disk fails it, that the process must end. Only the
// goroutine that says so may.
func TestFailureOfServer(t *testing.T) {
	s := openTest(t)
	c := NewCache(s, testLog(t), things)
	ran := make(chan error, 1)
	ctx := testContext(t)
	go func() { ran <- c.Run(ctx) }()
	<-c.Ready()

	var logged bytes.Buffer
	logger := newZapLogger(slog.New(slog.NewTextHandler(&logged, nil)), s.failure).zap
	ended := make(chan bool)
	go func() {
		defer close(ended)
		logger.With(zap.String("member", "x")).Fatal("failed to save", zap.Error(errors.New("no space left on device")))
		t.Error("the goroutine went on")
	}()
	<-ended
	<-s.Failed()

	_, err := things.Get(ctx, s, "a")
	wantErr(t, err, ErrUnavailable)
	if !strings.Contains(err.Error(), "failed to save: no space left on device") {
		t.Errorf("%q does not say why", err)
	}
	tx := s.Begin()
	things.Create(tx, "a", text(""))
	_, err = tx.Commit(ctx)
	wantErr(t, err, ErrUnavailable)
	wantErr(t, <-ran, ErrUnavailable)
	for _, want := range []string{"level=ERROR", `event="failed to save"`, "member=x", "no space left"} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("log lacks %q: %s", want, &logged)
		}
	}
}
