package store

import (
	"log/slog"
	"sync"
	"sync/atomic"
)

// maxQuarantineKeys bounds what is remembered in order to log each bad key once. Beyond it, further
// keys are counted and not logged: a damaged store must not fill the log as well.
const maxQuarantineKeys = 1024

// quarantine counts stored values that do not decode. The zero value is ready.
type quarantine struct {
	count atomic.Uint64

	mu   sync.Mutex
	seen map[string]int64 // key to the revision that was logged
}

// note counts the value at key and logs it unless that was done for this revision of it.
func (q *quarantine) note(log *slog.Logger, key string, revision int64, err error) {
	q.count.Add(1)
	q.mu.Lock()
	if q.seen == nil {
		q.seen = make(map[string]int64)
	}
	logged, known := q.seen[key]
	fresh := logged != revision && (known || len(q.seen) < maxQuarantineKeys)
	if fresh {
		q.seen[key] = revision
	}
	q.mu.Unlock()
	if fresh {
		log.Error("stored value left out", "key", key, "revision", revision, "error", err)
	}
}
