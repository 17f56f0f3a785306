package store

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"
)

// noise is what etcd warns of at every start and what cannot concern an embedded server: it has no
// TCP port, and no users whose tokens could be forged.
var noise = map[string]bool{
	"Running http and grpc server on single port. This is not recommended for production.": true,
	"simple token is not cryptographically signed":                                         true,
}

// farewell is what etcd says when a listener ends, with the error of the listener. In an orderly
// close that is one of closedListener's.
var farewell = map[string]bool{
	"setting up serving from embedded etcd failed.": true,
	"stopping insecure grpc server due to error":    true,
	"stopped insecure grpc server due to error":     true,
}

// closedListener says whether err is what a listener gives that has been closed.
func closedListener(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, http.ErrServerClosed) ||
		errors.Is(err, grpc.ErrServerStopped) ||
		err.Error() == "mux: server closed" // cmux.ErrServerClosed
}

// zapLogger is etcd's logger.
type zapLogger struct {
	zap  *zap.Logger
	fail *failure
	// closing is set before the server is stopped: from then on listeners may end.
	closing *atomic.Bool
}

// newZapLogger gives etcd a logger that writes to out. Where etcd would end the process after
// logging (a full or broken disk, a damaged log), the logger ends the goroutine only and sets fail:
// the daemon may be carrying traffic that needs no store. Nothing is acknowledged after that, since
// the goroutine that would is the one that ended.
func newZapLogger(out *slog.Logger, fail *failure) *zapLogger {
	closing := new(atomic.Bool)
	core := &slogCore{out: out, closing: closing}
	stop := stopGoroutine{fail: fail}
	return &zapLogger{
		zap:     zap.New(core, zap.WithFatalHook(stop), zap.WithPanicHook(stop)),
		fail:    fail,
		closing: closing,
	}
}

// stopGoroutine is what zap calls after an entry of level panic or fatal.
type stopGoroutine struct{ fail *failure }

// OnWrite records the failure and does not return.
func (h stopGoroutine) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	reason := []string{entry.Message}
	for _, field := range fields {
		if err, ok := field.Interface.(error); ok {
			reason = append(reason, err.Error())
		}
	}
	h.fail.set(strings.Join(reason, ": "))
	runtime.Goexit()
}

// slogCore is a zapcore.Core over slog, from level warn and without what concerns nobody.
type slogCore struct {
	out     *slog.Logger
	with    []zapcore.Field
	closing *atomic.Bool
}

var _ zapcore.Core = (*slogCore)(nil)

// Enabled tells zap to drop entries below warn before they are built.
func (c *slogCore) Enabled(level zapcore.Level) bool { return level >= zapcore.WarnLevel }

// With gives a core that adds fields to every entry.
func (c *slogCore) With(fields []zapcore.Field) zapcore.Core {
	return &slogCore{out: c.out, with: append(slices.Clip(c.with), fields...), closing: c.closing}
}

// Check adds the core to an entry it takes.
func (c *slogCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

// Write hands an entry to slog, under the one message "etcd" with etcd's own text as a field.
func (c *slogCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	if c.irrelevant(entry, fields) {
		return nil
	}
	level := slog.LevelWarn
	if entry.Level >= zapcore.ErrorLevel {
		level = slog.LevelError
	}
	enc := zapcore.NewMapObjectEncoder()
	for _, field := range c.with {
		field.AddTo(enc)
	}
	for _, field := range fields {
		field.AddTo(enc)
	}
	attrs := make([]slog.Attr, 0, len(enc.Fields)+1)
	attrs = append(attrs, slog.String("event", entry.Message))
	for name, value := range enc.Fields {
		attrs = append(attrs, slog.Any(name, value))
	}
	c.out.LogAttrs(context.Background(), level, "etcd", attrs...)
	return nil
}

// irrelevant says whether an entry tells of nothing but an embedded server's ordinary life.
func (c *slogCore) irrelevant(entry zapcore.Entry, fields []zapcore.Field) bool {
	if noise[entry.Message] {
		return true
	}
	if !farewell[entry.Message] || !c.closing.Load() {
		return false
	}
	for _, field := range fields {
		if err, ok := field.Interface.(error); ok && !closedListener(err) {
			return false
		}
	}
	return true
}

// Sync has nothing to do.
func (c *slogCore) Sync() error { return nil }
