package store

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	childDir     = "CAUSEWAY_STORE_TEST_CHILD"
	childWriters = 8
)

var crashCycles = flag.Int("crash-cycles", 4, "how many times TestCrash kills the writing process")

// runChild is the writing process of TestCrash: it creates resources as fast as it can and prints
// the name and the revision of each once its commit is acknowledged.
func runChild(dir string) int {
	ctx := context.Background()
	s, err := OpenEmbedded(ctx, dir, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	run := strconv.FormatInt(time.Now().UnixNano(), 36)
	var out sync.Mutex
	for w := range childWriters {
		go func() {
			for n := 0; ; n++ {
				name := fmt.Sprintf("%s/%d/%d", run, w, n)
				tx := s.Begin()
				things.Create(tx, name, text(name))
				tx.Claim("name", name, name)
				revision, err := tx.Commit(ctx)
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				out.Lock()
				fmt.Printf("%s %d\n", name, revision)
				out.Unlock()
			}
		}()
	}
	select {}
}

// TestCrash kills a writing process with SIGKILL again and again. Every write it acknowledged must
// be there at its revision, whole: the resource and its claim.
func TestCrash(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes")
	}
	dir := filepath.Join(t.TempDir(), "store")
	acked := make(map[string]int64)
	for range *crashCycles {
		writeAndKill(t, dir, acked)
	}
	s := openDir(t, dir)
	ctx := testContext(t)
	highest := int64(0)
	for name, revision := range acked {
		highest = max(highest, revision)
		v, err := things.Get(ctx, s, name)
		if err != nil {
			t.Fatalf("acknowledged at revision %d: %v", revision, err)
		}
		if v.Revision != revision || v.Value.GetValue() != name {
			t.Fatalf("%q is at revision %d with %q, want %d", name, v.Revision, v.Value.GetValue(), revision)
		}
		if c, err := s.ClaimOwner(ctx, "name", name); err != nil || c.Owner != name || c.Revision != revision {
			t.Fatalf("claim of %q is %+v, %v", name, c, err)
		}
	}
	if now, err := s.Revision(ctx); err != nil || now < highest {
		t.Errorf("revision %d (%v) after %d was acknowledged", now, err, highest)
	}
	t.Logf("%d kills, %d acknowledged writes", *crashCycles, len(acked))
}

func writeAndKill(t *testing.T, dir string, acked map[string]int64) {
	t.Helper()
	cmd := exec.CommandContext(testContext(t), os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	before := len(acked)
	left := 1 + rand.IntN(300)
	for lines.Scan() {
		name, rev, ok := strings.Cut(lines.Text(), " ")
		revision, err := strconv.ParseInt(rev, 10, 64)
		if !ok || err != nil {
			break // cut off by the kill
		}
		acked[name] = revision
		if left--; left == 0 {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait()
	if len(acked) == before {
		t.Fatal("the child acknowledged nothing")
	}
}
