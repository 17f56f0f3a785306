// Package lab builds networks of Linux network namespaces and runs real programs in them: stock
// wireguard-go clients, nginx, HAProxy, iperf3, grpcurl, Kinesalite and causewayd itself. End-to-end
// tests and the benchmark describe their topology with it and leave nothing behind.
//
// It needs root, the programs of Debian's iproute2 and, for a tunnel, /dev/net/tun. Namespaces are
// named after the process that made them; those of a process that no longer runs are removed by
// the next one. Nothing outside the namespaces and their folders in /etc/netns is configured, so
// several labs, also of several processes, may exist at the same time.
//
// A step of set-up that cannot be done ends the test through its [Reporter]. What a test may want
// to see failing returns an error instead: [Host.Output], [Host.Dial], [Host.Iperf].
package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Reporter is what a lab needs of whoever runs it. Every testing.TB is one. Fatalf must not
// return; functions given to Cleanup run in reverse order at the end. A Reporter that also has
// Failed() bool gets the output of the lab's programs when that answers true.
type Reporter interface {
	Helper()
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(f func())
}

// Lab owns the hosts, programs and files of one test. Its methods are for the goroutine of the
// test, since they may call Fatalf; those of a [Host] that return an error may be used by any.
type Lab struct {
	report Reporter
	ctx    context.Context
	prefix string // of the namespaces of this lab
	dir    string

	mu        sync.Mutex
	hosts     []*Host
	processes []*Process
}

// labs numbers the labs of this process.
var labs atomic.Int64

// New opens a lab that lasts as long as the test t. Where the machine cannot run one the test is
// skipped with the reason, unless the environment says CI=true: there it fails, so that a pipeline
// never passes by not looking.
func New(t testing.TB) *Lab {
	t.Helper()
	if err := Supported(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("open lab: %v", err)
		}
		t.Skipf("needs network namespaces: %v", err)
	}
	return Open(t)
}

// Open opens a lab that lasts until the functions given to report.Cleanup run.
func Open(report Reporter) *Lab {
	report.Helper()
	originOnce.Do(openOrigin)
	if originErr != nil {
		report.Fatalf("open lab: %v", originErr)
	}
	sweep.Do(func() { removeLeftovers(report) })
	id := fmt.Sprintf("%s%d-", runPrefix(), labs.Add(1))
	dir, err := os.MkdirTemp("", id)
	if err != nil {
		report.Fatalf("open lab: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &Lab{report: report, ctx: ctx, prefix: id, dir: dir}
	report.Cleanup(func() {
		cancel()
		l.close()
	})
	return l
}

// Supported tells why this machine and user cannot run a lab, or nil.
func Supported() error {
	if uid := os.Geteuid(); uid != 0 {
		return fmt.Errorf("running as uid %d, not as root", uid)
	}
	if _, err := lookPath("ip"); err != nil {
		return err
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return fmt.Errorf("make a TUN interface: %w", err)
	}
	result := make(chan error, 1)
	go func() {
		// The thread is never unlocked: it ends with the goroutine, and with it the namespace.
		runtime.LockOSThread()
		result <- unix.Unshare(unix.CLONE_NEWNET)
	}()
	if err := <-result; err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	return nil
}

// Dir returns a directory, mode 0700, that is removed with the lab.
func (l *Lab) Dir() string { return l.dir }

// Context returns a context that ends with the lab.
func (l *Lab) Context() context.Context { return l.ctx }

// Eventually polls check every 10 ms until it returns nil, and ends the test with its last error
// when within has passed. what completes "wait for ...".
func (l *Lab) Eventually(within time.Duration, what string, check func() error) {
	l.report.Helper()
	if err := poll(l.ctx, within, check); err != nil {
		l.report.Fatalf("wait for %s: %v", what, err)
	}
}

// poll calls check until it returns nil, ctx ends, or within has passed; then it returns what
// check said last.
func poll(ctx context.Context, within time.Duration, check func() error) error {
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return fmt.Errorf("not within %v: %w", within, err)
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// close ends every program, removes every namespace and the directory. Errors are reported, never
// fatal: the rest must still be removed.
func (l *Lab) close() {
	l.mu.Lock()
	processes, hosts := l.processes, l.hosts
	l.processes, l.hosts = nil, nil
	l.mu.Unlock()
	for _, p := range processes {
		p.Kill()
	}
	if f, ok := l.report.(interface{ Failed() bool }); ok && f.Failed() {
		for _, p := range processes {
			l.report.Logf("output of %s (pid %d):\n%s", p.name, p.PID(), p.Log())
		}
	}
	for _, h := range hosts {
		if err := h.remove(); err != nil {
			l.report.Logf("remove %s: %v", h.namespace, err)
		}
	}
	if err := os.RemoveAll(l.dir); err != nil {
		l.report.Logf("remove lab directory: %v", err)
	}
}

// debianPackages names the package that brings each program the lab may need.
var debianPackages = map[string]string{
	"curl":    "curl",
	"dig":     "bind9-dnsutils",
	"go":      "golang-go",
	"haproxy": "haproxy",
	"ip":      "iproute2",
	"iperf3":  "iperf3",
	"jq":      "jq",
	"nft":     "nftables",
	"nginx":   "nginx-light",
	"node":    "nodejs",
	"npm":     "npm",
	"ping":    "iputils-ping",
	"ss":      "iproute2",
	"wg":      "wireguard-tools",
	"wrk":     "wrk",
}

// lookPath finds a program also where an unprivileged PATH does not look, and names the Debian
// package to install when it is missing.
func lookPath(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	if pkg, ok := debianPackages[filepath.Base(name)]; ok {
		return "", fmt.Errorf("program %q is missing: apt-get install %s", name, pkg)
	}
	return "", fmt.Errorf("program %q is missing", name)
}

// command runs one of the lab's own tools outside any namespace.
func command(name string, args ...string) error {
	path, err := lookPath(name)
	if err != nil {
		return err
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// base36 is the shortest way to put a number into an interface name.
func base36(n int64) string { return strconv.FormatInt(n, 36) }
