package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// figure is something measured.
type figure struct {
	name, unit string
	format     string // of a value
	more       bool   // more is better
}

// The figures, in the order of the table.
var (
	upRate1       = figure{"upload, 1 flow", "Gbit/s", "%.2f", true}
	upCPU1        = figure{"upload, 1 flow", "CPU s/GB", "%.2f", false}
	upRate8       = figure{"upload, 8 flows", "Gbit/s", "%.2f", true}
	upCPU8        = figure{"upload, 8 flows", "CPU s/GB", "%.2f", false}
	downRate1     = figure{"download, 1 flow", "Gbit/s", "%.2f", true}
	downCPU1      = figure{"download, 1 flow", "CPU s/GB", "%.2f", false}
	downRate8     = figure{"download, 8 flows", "Gbit/s", "%.2f", true}
	downCPU8      = figure{"download, 8 flows", "CPU s/GB", "%.2f", false}
	connectRate   = figure{"connections, 64 at a time", "1/s", "%.0f", true}
	connectCPU    = figure{"connection", "CPU us", "%.0f", false}
	latency50     = figure{"request, 1 in flight, p50", "us", "%.0f", false}
	latency99     = figure{"request, 1 in flight, p99", "us", "%.0f", false}
	requestRate   = figure{"requests, 64 in flight", "1/s", "%.0f", true}
	requestCPU    = figure{"request, 64 in flight", "CPU us", "%.1f", false}
	memoryPerConn = figure{"idle connection", "kB", "%.1f", false}

	figures = []figure{
		upRate1, upCPU1, upRate8, upCPU8, downRate1, downCPU1, downRate8, downCPU8,
		connectRate, connectCPU, latency50, latency99, requestRate, requestCPU, memoryPerConn,
	}
)

// Names of the variants that targets speak of.
const (
	ours       = "ours"
	viaHAProxy = "a"
	viaCopy    = "b"
)

// legend tells what the columns are.
var legend = []string{
	"ours  causewayd",
	"a     wireguard-go TUN + HAProxy (TCP mode, 2 threads)",
	"b     wireguard-go tun/netstack + io.Copy",
	"t     wireguard-go TUN + kernel forwarding, no termination (reference)",
	"Medians, with half the range of the rounds in percent. CPU is user + system time of all gateway",
	"processes; soft interrupts charged to other processes are not in it, kernel socket memory is not in kB.",
	"Client, gateway and backend share this machine: compare columns, not with other machines.",
}

// median returns the middle of the samples, and half their range as a fraction of it.
func median(samples []float64) (mid, spread float64) {
	s := slices.Sorted(slices.Values(samples))
	n := len(s)
	mid = (s[(n-1)/2] + s[n/2]) / 2
	if mid != 0 {
		spread = (s[n-1] - s[0]) / 2 / mid
	}
	return mid, spread
}

// printReport prints the table and, where ours was measured, how it stands to the targets.
func printReport(out io.Writer, o options, all results) {
	fmt.Fprintf(out, "rounds: %d, each measurement %v\n\n", o.rounds, o.measure)
	printTable(out, o.variants, all)
	fmt.Fprintln(out)
	for _, line := range legend {
		fmt.Fprintln(out, line)
	}
	verdicts := judge(all)
	if len(verdicts) > 0 {
		fmt.Fprintln(out)
	}
	for _, v := range verdicts {
		fmt.Fprintln(out, v)
	}
}

func printTable(out io.Writer, columns []variant, all results) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer w.Flush()
	peers := ratioPeers(all)
	fmt.Fprint(w, "figure\tunit\t")
	for _, v := range columns {
		fmt.Fprintf(w, "%s\t \t", v.name())
	}
	for _, peer := range peers {
		fmt.Fprintf(w, "ours/%s\t", peer)
	}
	fmt.Fprintln(w)
	for _, f := range figures {
		fmt.Fprintf(w, "%s\t%s\t", f.name, f.unit)
		for _, v := range columns {
			mid, spread := median(all[v.name()][f])
			fmt.Fprintf(w, f.format+"\t±%.0f%%\t", mid, spread*100)
		}
		for _, peer := range peers {
			fmt.Fprintf(w, "%.2f\t", ratio(all, f, peer))
		}
		fmt.Fprintln(w)
	}
}

// ratioPeers returns the peers that ours can be compared with: none where it was not measured.
func ratioPeers(all results) []string {
	return slices.DeleteFunc([]string{viaHAProxy, viaCopy}, func(peer string) bool {
		return all[ours] == nil || all[peer] == nil
	})
}

// ratio returns ours relative to a peer.
func ratio(all results, f figure, peer string) float64 {
	mine, _ := median(all[ours][f])
	theirs, _ := median(all[peer][f])
	return mine / theirs
}

// target is a bound on the ratio of ours to a peer: at least that for figures of which more is
// better, at most that for the others.
type target struct {
	figure figure
	peer   string
	bound  float64
}

// maxIdleKB is the most that an idle connection may cost, in kB.
const maxIdleKB = 12

// targets returns what the project has set out to reach.
func targets() []target {
	t := []target{
		{upCPU1, viaHAProxy, 0.85}, {upCPU8, viaHAProxy, 0.85},
		{downCPU1, viaHAProxy, 1.15}, {downCPU8, viaHAProxy, 1.15},
		{connectCPU, viaHAProxy, 0.6},
		{requestRate, viaHAProxy, 0.85},
	}
	for _, f := range figures {
		t = append(t, target{f, viaCopy, 1})
	}
	return t
}

// judge returns a line for each target that was measured.
func judge(all results) []string {
	var lines []string
	for _, t := range targets() {
		if !slices.Contains(ratioPeers(all), t.peer) {
			continue
		}
		r := ratio(all, t.figure, t.peer)
		met, relation := r <= t.bound, "<="
		if t.figure.more {
			met, relation = r >= t.bound, ">="
		}
		lines = append(lines, fmt.Sprintf("%s  %s, %s: ours/%s %.2f, target %s %.2f",
			verdict(met), t.figure.name, t.figure.unit, t.peer, r, relation, t.bound))
	}
	if all[ours] != nil {
		kb, _ := median(all[ours][memoryPerConn])
		lines = append(lines, fmt.Sprintf("%s  %s: %.1f kB, target <= %d kB",
			verdict(kb <= maxIdleKB), memoryPerConn.name, kb, maxIdleKB))
	}
	return lines
}

func verdict(met bool) string {
	if met {
		return "met   "
	}
	return "MISSED"
}
