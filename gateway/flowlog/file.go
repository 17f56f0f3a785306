package flowlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/DeRuina/timberjack"

	"causeway/gateway/spec"
)

// The defaults of a [FileConfig], and the most that it may have.
const (
	DefaultMaxSizeMB = 100
	DefaultMaxFiles  = 10
	MaxSizeMB        = 10_000
	MaxFiles         = 10_000
)

const (
	// queued is how many records may wait for the file. At 500 bytes each they take 8 MB at most.
	queued = 16384
	// batch is how many bytes are gathered before they are written.
	batch = 64 << 10
)

// FileConfig describes a [File].
type FileConfig struct {
	// Path is absolute; its folder is made. Files that were full lie beside it under names with their time.
	Path string
	// Format of the lines; the zero value is [DefaultFormat].
	Format Format
	// MaxSizeMB is how many MiB a file has at most; 0 is 100. MaxFiles is how many full ones are kept; 0 is 10.
	MaxSizeMB, MaxFiles int
	Logger              *slog.Logger
}

func (c *FileConfig) check() error {
	c.MaxSizeMB, c.MaxFiles = cmp.Or(c.MaxSizeMB, DefaultMaxSizeMB), cmp.Or(c.MaxFiles, DefaultMaxFiles)
	switch {
	case !filepath.IsAbs(c.Path):
		return fmt.Errorf("%q is not an absolute path", c.Path)
	case c.MaxSizeMB < 1 || c.MaxSizeMB > MaxSizeMB:
		return fmt.Errorf("size of %d MiB is outside 1 to %d", c.MaxSizeMB, MaxSizeMB)
	case c.MaxFiles < 1 || c.MaxFiles > MaxFiles:
		return fmt.Errorf("%d files are outside 1 to %d", c.MaxFiles, MaxFiles)
	case c.Logger == nil:
		return errors.New("no logger")
	}
	if c.Format.fields != nil {
		return nil
	}
	var err error
	c.Format, err = ParseFormat(DefaultFormat)
	return err
}

// File writes records to a file that is rotated when it is full. Methods are safe for concurrent use.
type File struct {
	cfg   FileConfig
	queue chan *spec.FlowRecord

	written, overflowed, failed atomic.Uint64
	// lostSince is when the first record was lost that no line tells of yet, in nanoseconds since 1970; 0 for none.
	lostSince atomic.Int64
}

// NewFile returns a File that keeps records and writes none before [File.Run].
func NewFile(cfg FileConfig) (*File, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("configure flow log: %w", err)
	}
	return &File{cfg: cfg, queue: make(chan *spec.FlowRecord, queued)}, nil
}

// Add has a record written. It does not block: when the disk does not keep up the record is lost and counted, and a line
// of log status SKIPDATA tells of it. The record must not be changed afterwards.
func (f *File) Add(r *spec.FlowRecord) {
	select {
	case f.queue <- r:
	default:
		f.overflowed.Add(1)
		f.lostSince.CompareAndSwap(0, time.Now().UnixNano())
	}
}

// Run writes until ctx ends, and what is queued then, and returns nil. What cannot be written is lost, counted and
// logged. It is to be called once.
func (f *File) Run(ctx context.Context) error {
	out := &timberjack.Logger{Filename: f.cfg.Path, MaxSize: f.cfg.MaxSizeMB, MaxBackups: f.cfg.MaxFiles, FileMode: 0o600}
	w := writer{File: f, out: out}
	for {
		select {
		case r := <-f.queue:
			w.add(r)
			w.flush()
		case <-ctx.Done():
			w.flush()
			return out.Close()
		}
	}
}

// writer is the state of Run.
type writer struct {
	*File
	out     *timberjack.Logger
	buffer  []byte
	records uint64 // in the buffer
	trouble string // of the last write
}

// flush writes what is gathered and all that waits.
func (w *writer) flush() {
	for {
		select {
		case r := <-w.queue:
			w.add(r)
			continue
		default:
		}
		break
	}
	w.write()
}

func (w *writer) add(r *spec.FlowRecord) {
	w.buffer = w.cfg.Format.AppendRecord(w.buffer, r)
	if w.records++; len(w.buffer) >= batch {
		w.write()
	}
}

// write puts the buffer into the file, with a line about what was lost before.
func (w *writer) write() {
	lost := w.lostSince.Swap(0)
	if lost != 0 {
		w.buffer = w.cfg.Format.appendSkipped(w.buffer, &spec.FlowRecord{Start: time.Unix(0, lost), End: time.Now()})
	}
	if len(w.buffer) == 0 {
		return
	}
	n, err := w.out.Write(w.buffer)
	w.buffer = w.buffer[:0]
	trouble := ""
	if err != nil {
		trouble = err.Error()
		w.failed.Add(w.records)
		w.lostSince.CompareAndSwap(0, cmp.Or(lost, time.Now().UnixNano()))
		if n > 0 {
			w.buffer = append(w.buffer, '\n') // ends the line that was cut off
		}
	} else {
		w.written.Add(w.records)
	}
	if trouble != w.trouble { // it is tried with every record
		if err != nil {
			w.cfg.Logger.Error("flow log is not written", "file", w.cfg.Path, "error", err)
		} else {
			w.cfg.Logger.Info("flow log is written again", "file", w.cfg.Path)
		}
	}
	w.trouble, w.records = trouble, 0
}
