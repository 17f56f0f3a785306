package flowlog

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"causeway/gateway/spec"
)

func newFile(t *testing.T, cfg FileConfig) *File {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	f, err := NewFile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// start runs f and returns what ends it.
func start(t *testing.T, f *File) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func lines(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func TestFileHasEveryRecord(t *testing.T) {
	format, err := ParseFormat("${flow-id}")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "logs", "flows.log")
	f := newFile(t, FileConfig{Path: path, Format: format})
	f.Add(&spec.FlowRecord{ID: 0}) // before Run
	stop := start(t, f)
	const n = 5000
	for id := range uint64(n - 1) {
		f.Add(&spec.FlowRecord{ID: id + 1})
	}
	stop()
	got := lines(t, path)
	if len(got) != n {
		t.Fatalf("%d lines, want %d", len(got), n)
	}
	for i, line := range got {
		if line != fmt.Sprint(i) {
			t.Fatalf("line %d is %q", i, line)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if got := f.written.Load(); got != n {
		t.Errorf("%d records are counted as written", got)
	}
}

func TestFileRotates(t *testing.T) {
	dir := t.TempDir()
	f := newFile(t, FileConfig{Path: filepath.Join(dir, "flows.log"), MaxSizeMB: 1, MaxFiles: 2})
	stop := start(t, f)
	r := record()
	const n = 60_000 // of about 100 bytes
	for i := range n {
		if i%1000 == 0 {
			awaitEmpty(t, f)
		}
		f.Add(r)
	}
	stop()
	found, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(found) != 3 {
		t.Errorf("files %q, %v; want the newest and two full ones", found, err)
	}
	for _, name := range found {
		if info, err := os.Stat(name); err != nil || info.Size() > 1<<20 {
			t.Errorf("%s: %v bytes, %v", name, info.Size(), err)
		}
	}
}

// awaitEmpty waits until nothing is queued.
func awaitEmpty(t *testing.T, f *File) {
	t.Helper()
	deadline, tick := time.After(10*time.Second), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for len(f.queue) > 0 {
		select {
		case <-deadline:
			t.Fatal("the queue does not get empty")
		case <-tick.C:
		}
	}
}

// TestFileTellsOfLostRecords adds more than may wait while nobody writes.
func TestFileTellsOfLostRecords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flows.log")
	f := newFile(t, FileConfig{Path: path})
	for range queued + 10 {
		f.Add(record())
	}
	start(t, f)()
	got := lines(t, path)
	skipped := 0
	for _, line := range got {
		if strings.HasSuffix(line, " - SKIPDATA") {
			skipped++
		}
	}
	if skipped != 1 || len(got) != queued+1 {
		t.Errorf("%d lines, %d of them tell of lost records", len(got), skipped)
	}
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(f); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, label := range m.GetLabel() {
				name += " " + label.GetValue()
			}
			counted[name] = m.GetCounter().GetValue()
		}
	}
	want := map[string]float64{
		"causeway_flow_log_records_written_total": queued, "causeway_flow_log_records_lost_total overflow": 10, "causeway_flow_log_records_lost_total error": 0,
	}
	if !maps.Equal(counted, want) {
		t.Errorf("counted %v, want %v", counted, want)
	}
}

// TestFileSurvivesADiskThatTakesNothing puts a file in the folder's place.
func TestFileSurvivesADiskThatTakesNothing(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "logs")
	if err := os.WriteFile(folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "flows.log")
	f := newFile(t, FileConfig{Path: path})
	stop := start(t, f)
	f.Add(record())
	deadline, tick := time.After(10*time.Second), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for f.failed.Load() == 0 {
		select {
		case <-deadline:
			t.Fatal("the loss is not counted")
		case <-tick.C:
		}
	}
	if err := os.Remove(folder); err != nil {
		t.Fatal(err)
	}
	f.Add(record())
	stop()
	got := lines(t, path)
	if len(got) != 2 || !strings.HasSuffix(got[0], "ACCEPT OK") || !strings.HasSuffix(got[1], "SKIPDATA") {
		t.Errorf("lines %q", got)
	}
}

func TestBadFileConfigs(t *testing.T) {
	for name, change := range map[string]func(*FileConfig){
		"bad relative path": func(c *FileConfig) { c.Path = "flows.log" },
		"bad no path":       func(c *FileConfig) { c.Path = "" },
		"bad size":          func(c *FileConfig) { c.MaxSizeMB = MaxSizeMB + 1 },
		"bad files":         func(c *FileConfig) { c.MaxFiles = -1 },
		"bad logger":        func(c *FileConfig) { c.Logger = nil },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := FileConfig{Path: "/flows.log", Logger: slog.New(slog.DiscardHandler)}
			change(&cfg)
			if _, err := NewFile(cfg); err == nil {
				t.Error("accepted")
			}
		})
	}
}
