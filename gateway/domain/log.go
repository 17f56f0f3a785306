package domain

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	gvisorlog "gvisor.dev/gvisor/pkg/log"
)

// LogTo sends what gVisor logs to logger at debug level; it writes to standard error otherwise. Its warnings, such as
// "port is in use" for a SYN that arrives twice, concern nobody who runs a gateway. It holds for the whole process and
// must be called before the first domain is made.
func LogTo(logger *slog.Logger) {
	gvisorlog.SetTarget(emitter{logger.With("part", "netstack")})
}

// emitter implements gVisor's log.Emitter.
type emitter struct{ log *slog.Logger }

// Emit implements log.Emitter.
func (e emitter) Emit(_ int, _ gvisorlog.Level, _ time.Time, format string, args ...any) {
	if e.log.Enabled(context.Background(), slog.LevelDebug) {
		e.log.Debug("gvisor", "event", fmt.Sprintf(format, args...))
	}
}
