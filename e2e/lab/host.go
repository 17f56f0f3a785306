package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// runTimeout bounds [Host.Run].
const runTimeout = 60 * time.Second

// Host is one network namespace with its loopback up. Methods that return an error, and Do, may be
// called by any goroutine.
type Host struct {
	// Name is the name given to [Lab.Host].
	Name string

	lab       *Lab
	namespace string
	handle    *os.File // of the namespace, for setns
}

// Host makes a namespace. Names are for people; each must be unique in its lab and fit a file name.
func (l *Lab) Host(name string) *Host {
	l.report.Helper()
	h := &Host{Name: name, lab: l, namespace: l.prefix + name}
	if err := command("ip", "netns", "add", h.namespace); err != nil {
		l.report.Fatalf("make host %q: %v", name, err)
	}
	l.mu.Lock()
	l.hosts = append(l.hosts, h)
	l.mu.Unlock()
	handle, err := os.Open(filepath.Join(namespaceDir, h.namespace))
	if err != nil {
		l.report.Fatalf("make host %q: %v", name, err)
	}
	h.handle = handle
	h.ip("link", "set", "lo", "up")
	// Duplicate address detection would leave link-local addresses unusable for the first second.
	h.Sysctl("net.ipv6.conf.all.disable_ipv6", "1")
	return h
}

// Connect joins two hosts by a veth pair. a gets the first address of the prefix and b the second,
// both with its length, so that each reaches the other at once.
func (l *Lab) Connect(a, b *Host, prefix netip.Prefix) (addrA, addrB netip.Addr) {
	l.report.Helper()
	addrA = prefix.Masked().Addr().Next()
	addrB = addrA.Next()
	nameA, nameB := linkName(b), linkName(a)
	if err := command("ip", "link", "add", nameA, "netns", a.namespace, "type", "veth",
		"peer", "name", nameB, "netns", b.namespace); err != nil {
		l.report.Fatalf("connect %q to %q: %v", a.Name, b.Name, err)
	}
	a.ip("address", "add", netip.PrefixFrom(addrA, prefix.Bits()).String(), "dev", nameA)
	b.ip("address", "add", netip.PrefixFrom(addrB, prefix.Bits()).String(), "dev", nameB)
	a.ip("link", "set", nameA, "up")
	b.ip("link", "set", nameB, "up")
	return addrA, addrB
}

// linkName names the end of a veth pair that leads to a host; 15 bytes are the kernel's limit.
func linkName(to *Host) string {
	name := "to-" + to.Name
	return name[:min(len(name), 15)]
}

// Route sends packets for prefix to via.
func (h *Host) Route(prefix netip.Prefix, via netip.Addr) {
	h.lab.report.Helper()
	h.ip("route", "add", prefix.String(), "via", via.String())
}

// Sysctl sets a kernel parameter of the host, such as "net.ipv4.ip_forward".
func (h *Host) Sysctl(key, value string) {
	h.lab.report.Helper()
	path := filepath.Join("/proc/sys", strings.ReplaceAll(key, ".", "/"))
	err := h.Do(func() error { return os.WriteFile(path, []byte(value), 0o644) })
	// A kernel without IPv6 has nothing to switch off.
	if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(key, "net.ipv6.") {
		return
	}
	if err != nil {
		h.lab.report.Fatalf("set %s on %q: %v", key, h.Name, err)
	}
}

// Command prepares a program that runs inside the namespace and is killed with this process or
// when ctx ends. It fails the test when the program is not installed.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	h.lab.report.Helper()
	cmd, err := h.command(ctx, name, args...)
	if err != nil {
		h.lab.report.Fatalf("run on %q: %v", h.Name, err)
	}
	return cmd
}

func (h *Host) command(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	path, err := lookPath(name)
	if err != nil {
		return nil, err
	}
	ip, err := lookPath("ip")
	if err != nil {
		return nil, err
	}
	// "ip netns exec" replaces itself with the program, so the process keeps its number; it also
	// gives the program /etc/netns/NAME/resolv.conf where there is one.
	cmd := exec.CommandContext(ctx, ip, append([]string{"netns", "exec", h.namespace, path}, args...)...)
	// A group of its own keeps the terminal's interrupt away from programs that must end in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd, nil
}

// Output runs a program inside the namespace and returns its standard output. The error of a
// program that did not succeed holds both of its outputs.
func (h *Host) Output(ctx context.Context, name string, args ...string) (string, error) {
	return h.OutputStdin(ctx, "", name, args...)
}

// OutputStdin is Output for a program that reads stdin.
func (h *Host) OutputStdin(ctx context.Context, stdin, name string, args ...string) (string, error) {
	cmd, err := h.command(ctx, name, args...)
	if err != nil {
		return "", fmt.Errorf("run on %q: %w", h.Name, err)
	}
	var out, problems bytes.Buffer
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w (%w)", err, context.Cause(ctx))
		}
		return out.String(), fmt.Errorf("run on %q: %s %s: %w\nstdout: %s\nstderr: %s", h.Name, name,
			strings.Join(args, " "), err, strings.TrimSpace(out.String()), strings.TrimSpace(problems.String()))
	}
	return out.String(), nil
}

// Run runs a program for at most a minute and returns its standard output. The test fails when the
// program does.
func (h *Host) Run(name string, args ...string) string {
	h.lab.report.Helper()
	ctx, cancel := context.WithTimeout(h.lab.ctx, runTimeout)
	defer cancel()
	out, err := h.Output(ctx, name, args...)
	if err != nil {
		h.lab.report.Fatalf("%v", err)
	}
	return out
}

// ip configures the namespace from outside, which spares entering it.
func (h *Host) ip(args ...string) {
	h.lab.report.Helper()
	if err := command("ip", append([]string{"-n", h.namespace}, args...)...); err != nil {
		h.lab.report.Fatalf("configure host %q: %v", h.Name, err)
	}
}

// remove ends what still runs in the namespace and deletes it.
func (h *Host) remove() error {
	var errs []error
	if h.handle != nil {
		errs = append(errs, h.handle.Close())
	}
	return errors.Join(append(errs, removeNamespace(h.namespace))...)
}

// removeNamespace kills the processes of a named namespace and deletes it, with its files in /etc/netns.
func removeNamespace(namespace string) error {
	ip, err := lookPath("ip")
	if err != nil {
		return err
	}
	out, err := exec.Command(ip, "netns", "pids", namespace).Output()
	if err != nil {
		return fmt.Errorf("list processes of %s: %w", namespace, err)
	}
	for field := range strings.FieldsSeq(string(out)) {
		pid, err := strconv.Atoi(field)
		// A goroutine inside Do may show this very process as one of the namespace.
		if err != nil || slices.Contains([]int{0, 1, os.Getpid()}, pid) {
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("kill process %d of %s: %w", pid, namespace, err)
		}
	}
	return errors.Join(command("ip", "netns", "delete", namespace), os.RemoveAll(filepath.Join(netnsEtc, namespace)))
}
