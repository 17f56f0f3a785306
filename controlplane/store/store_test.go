package store

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// things and parts are the collections of these tests. Any generated message will do.
var (
	things = NewCollection[*wrapperspb.StringValue]("things")
	parts  = NewCollection[*wrapperspb.StringValue]("parts")
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		os.Exit(runChild(dir))
	}
	if config := os.Getenv(childMember); config != "" {
		os.Exit(runMember(config))
	}
	// On a damaged database one goroutine of etcd waits forever for another that has given up.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("go.etcd.io/etcd/server/v3/storage.OpenBackend"))
}

type stringValue = wrapperspb.StringValue

func text(s string) *wrapperspb.StringValue { return wrapperspb.String(s) }

// testLog sends etcd's warnings to the test's output.
func testLog(t testing.TB) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

func openTest(t testing.TB, opts ...Option) *Store {
	t.Helper()
	return openDir(t, filepath.Join(t.TempDir(), "store"), opts...)
}

func openDir(t testing.TB, dir string, opts ...Option) *Store {
	t.Helper()
	s, err := OpenEmbedded(testContext(t), dir, testLog(t), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// testContext bounds everything a test waits for.
func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func create(t testing.TB, s *Store, c *Collection[*wrapperspb.StringValue], name, value string) int64 {
	t.Helper()
	tx := s.Begin()
	c.Create(tx, name, text(value))
	return commit(t, tx)
}

func commit(t testing.TB, tx *Txn) int64 {
	t.Helper()
	revision, err := tx.Commit(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

func TestOpenIsFastAndPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	start := time.Now()
	s := openDir(t, dir)
	took := time.Since(start)
	t.Logf("ready in %v", took)
	if took > 5*time.Second {
		t.Errorf("ready in %v", took)
	}
	for _, folder := range []string{dir, filepath.Join(dir, runFolder)} {
		info, err := os.Stat(folder)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %v, want 0700", folder, info.Mode().Perm())
		}
	}
	if s.Failed() == nil {
		t.Error("an embedded store cannot say that it failed")
	}
}

func TestReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := openDir(t, dir)
	create(t, s, things, "a/one", "first")
	page, err := things.List(testContext(t), s, ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("second close: %v", err)
	}
	_, err = things.Get(testContext(t), s, "a/one")
	wantErr(t, err, ErrUnavailable)

	moved := dir + "-moved"
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	again := openDir(t, moved)
	v, err := things.Get(testContext(t), again, "a/one")
	if err != nil {
		t.Fatal(err)
	}
	if v.Value.GetValue() != "first" || v.Revision != page.Items[0].Revision {
		t.Errorf("got %+v, want it as before", v)
	}
}

func TestOpenRefuses(t *testing.T) {
	ctx := testContext(t)
	t.Run("a directory in use", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "store")
		openDir(t, dir)
		_, err := OpenEmbedded(ctx, dir, testLog(t))
		wantErr(t, err, ErrLocked)
	})
	t.Run("a directory of something else", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "thesis.tex"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := OpenEmbedded(ctx, dir, testLog(t))
		wantErr(t, err, ErrForeign)
	})
	t.Run("another etcd's data", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "store")
		s := openDir(t, dir)
		for _, name := range []string{metaFormat, metaTokenKey} {
			if _, err := s.client.Delete(ctx, s.metaKey(name)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.client.Put(ctx, "/registry/pods/x", "y"); err != nil {
			t.Fatal(err)
		}
		s.Close()
		_, err := OpenEmbedded(ctx, dir, testLog(t))
		wantErr(t, err, ErrForeign)
	})
	t.Run("a later format", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "store")
		s := openDir(t, dir)
		if _, err := s.client.Put(ctx, s.metaKey(metaFormat), "causeway 2"); err != nil {
			t.Fatal(err)
		}
		s.Close()
		_, err := OpenEmbedded(ctx, dir, testLog(t))
		wantErr(t, err, ErrForeign)
	})
	t.Run("a damaged log", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "store")
		s := openDir(t, dir)
		create(t, s, things, "a", strings.Repeat("x", 1000))
		s.Close()
		overwriteWAL(t, dir)
		_, err := OpenEmbedded(ctx, dir, testLog(t))
		wantErr(t, err, ErrDamaged)
	})
	t.Run("a damaged database", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "store")
		s := openDir(t, dir)
		s.Close()
		db := filepath.Join(dir, dataFolder, "member", "snap", "db")
		if err := os.WriteFile(db, []byte(strings.Repeat("not a database ", 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := OpenEmbedded(ctx, dir, testLog(t))
		wantErr(t, err, ErrDamaged)
	})
}

func overwriteWAL(t *testing.T, dir string) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, dataFolder, "member", "wal", "*.wal"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no log: %v", err)
	}
	f, err := os.OpenFile(logs[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("garbage"), 300); err != nil {
		t.Fatal(err)
	}
}

func TestOpenWithLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	s := openDir(t, dir)
	create(t, s, things, "a", "b")
	if _, err := os.Stat(filepath.Join(dir, runFolder)); err == nil {
		t.Error("sockets in the directory although their paths are too long")
	}
	before, _ := filepath.Glob(filepath.Join(os.TempDir(), "causeway-*"))
	s.Close()
	after, _ := filepath.Glob(filepath.Join(os.TempDir(), "causeway-*"))
	if len(after) >= len(before) {
		t.Errorf("the folder for sockets was not removed: %v", after)
	}
}

func TestObserver(t *testing.T) {
	seen := make(chan string, 100)
	s := openTest(t, WithObserver(func(op string, _ time.Duration, err error) {
		if err != nil {
			op += " failed"
		}
		seen <- op
	}))
	for len(seen) > 0 {
		<-seen
	}
	create(t, s, things, "a", "b")
	if _, err := things.Get(testContext(t), s, "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := things.List(testContext(t), s, ListOptions{}); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := things.Get(ended, s, "a")
	wantErr(t, err, context.Canceled)
	for _, want := range []string{"txn", "get", "list", "get failed"} {
		if got := <-seen; got != want {
			t.Errorf("observed %q, want %q", got, want)
		}
	}
}
