package store

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
)

func TestServerLogBelowWarnIsDropped(t *testing.T) {
	var logged bytes.Buffer
	logger := newZapLogger(slog.New(slog.NewTextHandler(&logged, nil)), newFailure()).zap
	logger.Info("chatter")
	if logged.Len() != 0 {
		t.Errorf("logged %s", &logged)
	}
	logger.Warn("slow disk", zap.Int("ms", 900))
	if got := logged.String(); !strings.Contains(got, "level=WARN") || !strings.Contains(got, "ms=900") {
		t.Errorf("logged %s", got)
	}
}

// TestOrdinaryLifeIsSilent opens and closes a store, writes and fails in between: an administrator
// who finds a warning in the log must have something to do.
func TestOrdinaryLifeIsSilent(t *testing.T) {
	var logged bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&logged, nil))
	dir := filepath.Join(t.TempDir(), "store")
	for range 2 {
		s, err := OpenEmbedded(testContext(t), dir, logger)
		if err != nil {
			t.Fatal(err)
		}
		tx := s.Begin()
		things.Put(tx, "a", text("b"))
		commit(t, tx)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for line := range strings.Lines(logged.String()) {
		if !strings.Contains(line, "took too long") && !strings.Contains(line, "slow fdatasync") {
			t.Errorf("logged %s", line) // a busy test machine is slow indeed
		}
	}
}

// TestServerLogHidesNoFailure has etcd end listeners, for good reason and for none.
func TestServerLogHidesNoFailure(t *testing.T) {
	const serving = "setting up serving from embedded etcd failed."
	closed := fmt.Errorf("accept unix: %w", net.ErrClosed)
	tests := []struct {
		name    string
		closing bool
		message string
		err     error
		logged  bool
	}{
		{"listener ends in a close", true, serving, closed, false},
		{"server ends in a close", true, serving, http.ErrServerClosed, false},
		{"gRPC ends in a close", true, "stopped insecure grpc server due to error", closed, false},
		{"listener ends by itself", false, serving, closed, true},
		{"listener fails in a close", true, serving, errors.New("too many open files"), true},
		{"disk fails in a close", true, "failed to save Raft state", closed, true},
		{"slow disk in a close", true, "slow fdatasync", nil, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var logged bytes.Buffer
			logger := newZapLogger(slog.New(slog.NewTextHandler(&logged, nil)), newFailure())
			logger.closing.Store(tt.closing)
			logger.zap.With(zap.Int("member", 1)).Error(tt.message, zap.Error(tt.err))
			if got := logged.Len() > 0; got != tt.logged {
				t.Errorf("logged %q, want an entry: %t", &logged, tt.logged)
			}
		})
	}
}
