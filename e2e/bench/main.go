// Command bench measures Causeway beside what one would otherwise use, on one machine in one run:
// the same client tunnel, the same backend, a different gateway between them.
//
//	ours  causewayd, configured through its API
//	a     wireguard-go with a kernel TUN interface, and HAProxy in TCP mode
//	b     upstream golang.zx2c4.com/wireguard/tun/netstack with accept and io.Copy
//	t     wireguard-go with a kernel TUN interface and forwarding, no termination: for reference
//
// It needs root (network namespaces), iperf3, HAProxy and wireguard-tools. Variants take turns in
// every round and each turn starts fresh processes, so that a machine that drifts drifts for all;
// the table shows the median of the rounds.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"causeway/e2e/lab"
)

// children are the programs that the benchmark runs inside namespaces by calling itself.
var children = map[string]func(ctx context.Context, args []string) error{
	"echo":     runEcho,
	"load":     runLoad,
	"netstack": runNetstack,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := func() error {
		if len(os.Args) > 1 {
			if child, ok := children[os.Args[1]]; ok {
				return child(ctx, os.Args[2:])
			}
		}
		return run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// maxHeld is how many connections every variant can hold with the 20000 file descriptors that a
// process may have on a usual machine.
const maxHeld = 6500

// options are the command line.
type options struct {
	measure  time.Duration
	rounds   int
	held     int
	variants []variant
}

func parseOptions(args []string, usage io.Writer) (options, error) {
	all := variants()
	names := make([]string, len(all))
	for i, v := range all {
		names[i] = v.name()
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(usage)
	seconds := flags.Int("seconds", 3, "length of each measurement in seconds")
	rounds := flags.Int("rounds", 3, "rounds; the table shows medians")
	held := flags.Int("held", 5000, "idle connections held for the memory figure")
	chosen := flags.String("variants", strings.Join(names, ","), "variants to measure")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	switch {
	case *seconds < 1 || *rounds < 1:
		return options{}, errors.New("seconds and rounds must be positive")
	case *held < 1 || *held > maxHeld:
		return options{}, fmt.Errorf("held must be between 1 and %d", maxHeld)
	case flags.NArg() > 0:
		return options{}, fmt.Errorf("unexpected arguments: %q", flags.Args())
	}
	o := options{measure: time.Duration(*seconds) * time.Second, rounds: *rounds, held: *held}
	for name := range strings.SplitSeq(*chosen, ",") {
		i := slices.Index(names, name)
		if i < 0 {
			return options{}, fmt.Errorf("no variant %q: choose from %s", name, strings.Join(names, ","))
		}
		o.variants = append(o.variants, all[i])
	}
	return o, nil
}

// run measures and prints the table to out, progress to progress.
func run(ctx context.Context, args []string, out, progress io.Writer) error {
	o, err := parseOptions(args, progress)
	if err != nil {
		return err
	}
	if err := lab.Supported(); err != nil {
		return fmt.Errorf("needs network namespaces: %w", err)
	}
	results := make(results)
	for round := range o.rounds {
		for i := range o.variants {
			// Another one goes first in each round: the first of a round finds a cooler machine.
			v := o.variants[(i+round)%len(o.variants)]
			start := time.Now()
			if err := measure(ctx, v, o, results); err != nil {
				return fmt.Errorf("measure %s in round %d: %w", v.name(), round+1, err)
			}
			fmt.Fprintf(progress, "round %d of %d: %-4s done in %v\n", round+1, o.rounds, v.name(),
				time.Since(start).Round(time.Second))
		}
	}
	printReport(out, o, results)
	return nil
}
