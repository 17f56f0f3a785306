package lab

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of times in /proc/PID/stat: USER_HZ, 100 a second on every Linux port that
// Go has.
const clockTick = 10 * time.Millisecond

// Usage is what a process, with all its threads, has used of the machine.
type Usage struct {
	// CPU is user plus system time, in steps of 10 ms. Work that the kernel does for the process
	// in soft interrupts is charged to whoever was running and may be missing.
	CPU time.Duration
	// RSS is the resident memory in bytes, PeakRSS the most it has been. Socket buffers are kernel
	// memory and not part of it.
	RSS, PeakRSS int64
}

// ReadUsage reads the usage of a process.
func ReadUsage(pid int) (Usage, error) {
	fields, err := statFields(pid)
	if err != nil {
		return Usage{}, err
	}
	const utime, stime = 14, 15
	var u Usage
	for _, n := range []int{utime, stime} {
		ticks, err := strconv.ParseInt(fields[n-3], 10, 64)
		if err != nil {
			return Usage{}, fmt.Errorf("read usage of process %d: %w", pid, err)
		}
		u.CPU += time.Duration(ticks) * clockTick
	}
	// The counters of status lag by up to 64 pages a thread; smaps_rollup walks the page tables.
	if u.RSS, err = kilobytes(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Rss:"); err != nil {
		return Usage{}, err
	}
	if u.PeakRSS, err = kilobytes(fmt.Sprintf("/proc/%d/status", pid), "VmHWM:"); err != nil {
		return Usage{}, err
	}
	return u, nil
}

// statFields returns the fields of /proc/PID/stat after the command name, beginning with the third,
// see proc_pid_stat(5). The name may hold blanks and parentheses itself.
func statFields(pid int) ([]string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, fmt.Errorf("read usage of process %d: %w", pid, err)
	}
	text := string(data)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 40 {
		return nil, fmt.Errorf("read usage of process %d: %d fields", pid, len(fields))
	}
	return fields, nil
}

// kilobytes returns the value of a "Key:  123 kB" line, in bytes.
func kilobytes(path, key string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("read memory use: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != key {
			continue
		}
		n, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read %s of %s: %w", key, path, err)
		}
		return n << 10, nil
	}
	return 0, fmt.Errorf("read %s of %s: no such line", key, path)
}
