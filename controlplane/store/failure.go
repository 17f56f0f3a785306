package store

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// failure says whether the embedded server has failed for good, and why. A nil failure never has.
type failure struct {
	once   sync.Once
	failed chan struct{}
	reason string // written before failed is closed
}

func newFailure() *failure { return &failure{failed: make(chan struct{})} }

func (f *failure) set(reason string) {
	f.once.Do(func() {
		f.reason = reason
		close(f.failed)
	})
}

func (f *failure) done() <-chan struct{} {
	if f == nil {
		return nil
	}
	return f.failed
}

func (f *failure) err() error {
	select {
	case <-f.done():
		return fmt.Errorf("%w: etcd stopped: %s", ErrUnavailable, f.reason)
	default:
		return nil
	}
}

// zapLogger is etcd's logger.
type zapLogger struct{ zap *zap.Logger }

// newZapLogger gives etcd a logger that writes to out. Where etcd would end the process after
// logging (a full or broken disk, a damaged log), the logger ends the goroutine only and sets fail:
// the daemon may be carrying traffic that needs no store. Nothing is acknowledged after that, since
// the goroutine that would is the one that ended.
func newZapLogger(out *slog.Logger, fail *failure) *zapLogger {
	core := &slogCore{out: out}
	stop := stopGoroutine{fail: fail}
	return &zapLogger{zap: zap.New(core, zap.WithFatalHook(stop), zap.WithPanicHook(stop))}
}

// stopGoroutine is what zap calls after an entry of level panic or fatal.
type stopGoroutine struct{ fail *failure }

// OnWrite records the failure and does not return.
func (h stopGoroutine) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	reason := entry.Message
	for _, field := range fields {
		if err, ok := field.Interface.(error); ok {
			reason += ": " + err.Error()
		}
	}
	h.fail.set(reason)
	runtime.Goexit()
}

// slogCore is a zapcore.Core over slog, from level warn.
type slogCore struct {
	out  *slog.Logger
	with []zapcore.Field
}

var _ zapcore.Core = (*slogCore)(nil)

// Enabled tells zap to drop entries below warn before they are built.
func (c *slogCore) Enabled(level zapcore.Level) bool { return level >= zapcore.WarnLevel }

// With gives a core that adds fields to every entry.
func (c *slogCore) With(fields []zapcore.Field) zapcore.Core {
	return &slogCore{out: c.out, with: append(c.with[:len(c.with):len(c.with)], fields...)}
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

// Sync has nothing to do.
func (c *slogCore) Sync() error { return nil }
