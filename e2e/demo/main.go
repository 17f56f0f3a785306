// Demo shows the whole way of a byte on one machine, without root: it starts causewayd with the
// embedded store in a temporary directory, a sample HTTP service and an on-premises client, both
// userspace WireGuard peers, creates everything through the public API, fetches through the
// endpoint IP, shows a zone budget holding, and prints the grpcurl lines to repeat it.
//
// KEEP=1 leaves everything running until interrupted. CAUSEWAYD names a built daemon to use
// instead of building one.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "causeway-demo-")
	if err != nil {
		return fmt.Errorf("make a temporary directory: %w", err)
	}
	defer os.RemoveAll(dir)

	say("Building and starting causewayd in %s", dir)
	d, err := startDaemon(ctx, dir)
	if err != nil {
		return err
	}
	defer d.stop()

	a, err := dialAPI(d.socket)
	if err != nil {
		return err
	}
	defer func() { _ = a.Close() }()
	s := story{api: a}
	defer s.close()
	if err := s.tell(ctx); err != nil {
		return err
	}

	say("To repeat it by hand (grpcurl: go tool -modfile=.tools/go.mod grpcurl):")
	for _, line := range a.lines {
		fmt.Println("  " + line)
	}
	if os.Getenv("KEEP") == "" {
		say("Done. KEEP=1 make demo keeps everything running.")
		return nil
	}
	say("Running until interrupted; the API is at %s", d.socket)
	<-ctx.Done()
	return nil
}

var began = time.Now()

// say prints one line of progress with the seconds since the start.
func say(format string, args ...any) {
	fmt.Printf("\n[%4.1fs] %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
}
