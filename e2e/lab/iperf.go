package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// IperfServer starts an iperf3 server on an address of the host. It serves one test at a time.
func (h *Host) IperfServer(addr netip.AddrPort) *Process {
	h.lab.report.Helper()
	p := h.Start("iperf3", "--server", "--bind", addr.Addr().String(), "--port", strconv.Itoa(int(addr.Port())))
	p.WaitListening(addr, 10*time.Second)
	return p
}

// IperfConfig describes one iperf3 TCP measurement.
type IperfConfig struct {
	Server   netip.AddrPort
	Duration time.Duration // in whole seconds
	Streams  int           // parallel connections; 0 means 1
	// Download has the server send.
	Download bool
	// Omit is how long to leave out at the start, in whole seconds.
	Omit time.Duration
	// Interval between the entries of [IperfResult.Intervals]; 0 means 1 s.
	Interval time.Duration
}

// IperfResult is what the receiving side of a measurement counted.
type IperfResult struct {
	Bytes   int64
	Seconds float64
	// BitsPerSecond is the mean of the whole measurement.
	BitsPerSecond float64
	// Streams holds the bytes of each connection.
	Streams []int64
	// Intervals holds bits per second in each interval, all connections together, as the client
	// saw them: what it received in a download, what it handed to its kernel in an upload.
	Intervals []float64
}

// iperfReport is the part of iperf3 --json that is used.
type iperfReport struct {
	Error     string `json:"error"`
	Intervals []struct {
		Sum struct {
			BitsPerSecond float64 `json:"bits_per_second"`
			Omitted       bool    `json:"omitted"`
		} `json:"sum"`
	} `json:"intervals"`
	End struct {
		Streams []struct {
			Receiver struct {
				Bytes int64 `json:"bytes"`
			} `json:"receiver"`
		} `json:"streams"`
		Received struct {
			Bytes         int64   `json:"bytes"`
			Seconds       float64 `json:"seconds"`
			BitsPerSecond float64 `json:"bits_per_second"`
		} `json:"sum_received"`
	} `json:"end"`
}

// Iperf runs an iperf3 client in the host.
func (h *Host) Iperf(ctx context.Context, cfg IperfConfig) (IperfResult, error) {
	host, port, err := net.SplitHostPort(cfg.Server.String())
	if err != nil {
		return IperfResult{}, fmt.Errorf("run iperf3: %w", err)
	}
	interval := cfg.Interval
	if interval == 0 {
		interval = time.Second
	}
	args := []string{
		"--json", "--connect-timeout", "5000", "--client", host, "--port", port,
		"--time", seconds(cfg.Duration), "--omit", seconds(cfg.Omit),
		"--parallel", strconv.Itoa(max(cfg.Streams, 1)),
		"--interval", strconv.FormatFloat(interval.Seconds(), 'f', -1, 64),
	}
	if cfg.Download {
		args = append(args, "--reverse")
	}
	out, runErr := h.Output(ctx, "iperf3", args...)
	var report iperfReport
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		if runErr != nil {
			return IperfResult{}, runErr
		}
		return IperfResult{}, fmt.Errorf("run iperf3: read its report: %w", err)
	}
	if report.Error != "" {
		return IperfResult{}, fmt.Errorf("run iperf3 on %q to %s: %s", h.Name, cfg.Server, report.Error)
	}
	return report.result(), runErr
}

// result keeps what the caller asked for.
func (r iperfReport) result() IperfResult {
	result := IperfResult{
		Bytes:         r.End.Received.Bytes,
		Seconds:       r.End.Received.Seconds,
		BitsPerSecond: r.End.Received.BitsPerSecond,
	}
	for _, s := range r.End.Streams {
		result.Streams = append(result.Streams, s.Receiver.Bytes)
	}
	for _, i := range r.Intervals {
		if !i.Sum.Omitted {
			result.Intervals = append(result.Intervals, i.Sum.BitsPerSecond)
		}
	}
	return result
}

// seconds formats a duration as iperf3 takes it.
func seconds(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }
