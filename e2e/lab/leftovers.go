package lab

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

const (
	// namePrefix starts the name of every namespace and directory of a lab.
	namePrefix = "cwlab-"
	// interfacePrefix starts the name of every WireGuard interface of a lab.
	interfacePrefix = "cwl"
	// namespaceDir is where iproute2 keeps named network namespaces, see ip-netns(8).
	namespaceDir = "/run/netns"
	// uapiDir is where wireguard-go opens its configuration sockets, one directory for all
	// network namespaces.
	uapiDir = "/var/run/wireguard"
)

// sweep removes what dead processes left, once per process.
var sweep sync.Once

// runPrefix starts the names of this process: "cwlab-<pid>-<start time>-". The start time tells a
// dead process from a living one that got its number.
var runPrefix = sync.OnceValue(func() string {
	pid := os.Getpid()
	start, err := startTime(pid)
	if err != nil {
		start = 0
	}
	return fmt.Sprintf("%s%d-%s-", namePrefix, pid, base36(start))
})

// startTime returns when a process was started, in clock ticks since boot, see proc_pid_stat(5).
func startTime(pid int) (int64, error) {
	fields, err := statFields(pid)
	if err != nil {
		return 0, err
	}
	const starttime = 22
	return strconv.ParseInt(fields[starttime-3], 10, 64)
}

// alive reports whether the process that made name still runs. A name that no lab made counts as
// alive: it is not ours to remove.
func alive(name string) bool {
	rest, ok := strings.CutPrefix(name, namePrefix)
	if !ok {
		return true
	}
	parts := strings.SplitN(rest, "-", 3)
	if len(parts) < 3 {
		return true
	}
	pid, err := strconv.Atoi(parts[0])
	if err != nil {
		return true
	}
	start, err := startTime(pid)
	return err == nil && base36(start) == parts[1]
}

// removeLeftovers removes namespaces, with the programs still in them, directories and sockets
// that labs of dead processes left behind.
func removeLeftovers(report Reporter) {
	namespaces, _ := filepath.Glob(filepath.Join(namespaceDir, namePrefix+"*"))
	for _, path := range namespaces {
		if name := filepath.Base(path); !alive(name) {
			if err := removeNamespace(name); err != nil {
				report.Logf("remove leftover namespace: %v", err)
			}
		}
	}
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), namePrefix+"*"))
	for _, dir := range dirs {
		if !alive(filepath.Base(dir)) {
			if err := os.RemoveAll(dir); err != nil {
				report.Logf("remove leftover directory: %v", err)
			}
		}
	}
	sockets, _ := filepath.Glob(filepath.Join(uapiDir, interfacePrefix+"*.sock"))
	for _, socket := range sockets {
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			continue
		}
		if err := os.Remove(socket); err != nil {
			report.Logf("remove leftover socket: %v", err)
		}
	}
}
