package lab

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// logLimit bounds the output kept of one process, in bytes; older output goes first.
const logLimit = 1 << 20

// Process is a program that runs in a host until it is stopped, killed, or the lab ends. Its
// output is kept, and reported when the test fails. Safe for concurrent use.
type Process struct {
	name string
	host *Host
	cmd  *exec.Cmd
	log  *tail
	done chan struct{}
	err  error // of Wait; valid after done
}

// Start starts a program inside the namespace.
func (h *Host) Start(name string, args ...string) *Process {
	h.lab.report.Helper()
	p := &Process{
		name: filepath.Base(name) + " on " + h.Name,
		host: h,
		// It is Kill that ends it, with its children, not a context.
		cmd:  h.Command(context.Background(), name, args...),
		log:  &tail{},
		done: make(chan struct{}),
	}
	cmd := p.cmd
	cmd.Stdout, cmd.Stderr = p.log, p.log
	// Children of the program that outlive it would keep its output open for ever.
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		h.lab.report.Fatalf("start %s: %v", p.name, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	h.lab.mu.Lock()
	h.lab.processes = append(h.lab.processes, p)
	h.lab.mu.Unlock()
	return p
}

// PID returns the process number, which stays the same over the program's life.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Log returns what the program has written to both outputs, its last MiB.
func (p *Process) Log() string { return p.log.String() }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exited returns an error that tells how the program ended, or nil while it runs.
func (p *Process) Exited() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended: %v\n%s", p.name, p.cmd.ProcessState, p.Log())
	default:
		return nil
	}
}

// Eventually is [Lab.Eventually] that also ends the test, with the program's output, when the program
// ends.
func (p *Process) Eventually(within time.Duration, what string, check func() error) {
	l := p.host.lab
	l.report.Helper()
	err := poll(l.ctx, within, func() error {
		if err := p.Exited(); err != nil {
			l.report.Fatalf("wait for %s: %v", what, err)
		}
		return check()
	})
	if err != nil {
		l.report.Fatalf("wait for %s: %v", what, err)
	}
}

// WaitListening waits until something listens on a TCP address of the program's host, without
// connecting to it.
func (p *Process) WaitListening(addr netip.AddrPort, within time.Duration) {
	h := p.host
	h.lab.report.Helper()
	p.Eventually(within, "listener "+addr.String(), func() error {
		out, err := h.Output(h.lab.ctx, "ss", "-Hltn", "src", addr.String())
		if err == nil && out == "" {
			err = fmt.Errorf("nothing listens on %s of %q", addr, h.Name)
		}
		return err
	})
}

// Signal sends a signal to the program alone, not to its children.
func (p *Process) Signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("send %v to %s: %w", s, p.name, err)
	}
	return nil
}

// Kill ends the program and its children by SIGKILL and waits until the program is gone. Killing
// what has ended does nothing.
func (p *Process) Kill() {
	select {
	case <-p.done:
		return
	default:
	}
	// The group has the number of its leader, which is not reused before Wait returns. ESRCH is
	// the program having ended by itself since.
	_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
	<-p.done
}

// Stop asks the program to end by SIGTERM and returns how it ended: nil for exit status 0. A
// program that still runs after within is killed, and that is the error.
func (p *Process) Stop(within time.Duration) error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		p.Kill()
		return fmt.Errorf("stop %s: still running %v after SIGTERM", p.name, within)
	}
	if p.err != nil {
		return fmt.Errorf("stop %s: %w", p.name, p.err)
	}
	return nil
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer; it never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(p)
	if n := t.buf.Len(); n > 2*logLimit {
		t.buf.Next(n - logLimit)
	}
	return len(p), nil
}

// String returns a copy of what is kept.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}
