package flowlog

import (
	"sync"
	"sync/atomic"

	"causeway/gateway/spec"
)

// Feed hands each record to all who watch at the time. The zero value is ready; methods are safe for concurrent
// use.
type Feed struct {
	watched atomic.Int32

	mu       sync.Mutex
	watchers map[*watcher]struct{}
}

type watcher struct {
	match   func(*spec.FlowRecord) bool
	records chan *spec.FlowRecord
}

// Watched reports whether anybody watches, so that a record need not be made for nobody.
func (f *Feed) Watched() bool { return f.watched.Load() > 0 }

// Publish hands a record to the watchers that it matches. It does not block. The record must not be changed
// afterwards.
func (f *Feed) Publish(r *spec.FlowRecord) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := range f.watchers {
		if !w.match(r) {
			continue
		}
		select {
		case w.records <- r:
		default: // rather than a gap that the watcher does not know of
			f.remove(w)
		}
	}
}

// Watch delivers the records that match from now on, up to buffer of them ahead of their reader; they are shared
// and must not be changed. A reader that falls further behind finds the channel closed after those. stop, which is
// idempotent, ends the watch and closes the channel too. match is called by those who publish and must not block.
func (f *Feed) Watch(match func(*spec.FlowRecord) bool, buffer int) (records <-chan *spec.FlowRecord, stop func()) {
	w := &watcher{match: match, records: make(chan *spec.FlowRecord, buffer)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watchers == nil {
		f.watchers = map[*watcher]struct{}{}
	}
	f.watchers[w] = struct{}{}
	f.watched.Add(1)
	return w.records, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.remove(w)
	}
}

// remove is called with mu held.
func (f *Feed) remove(w *watcher) {
	if _, ok := f.watchers[w]; ok {
		delete(f.watchers, w)
		f.watched.Add(-1)
		close(w.records)
	}
}
