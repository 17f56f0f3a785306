// Command causewayd is Causeway's daemon: the control plane and a gateway in one process.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"causeway/gateway/domain"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "causewayd:", err)
		os.Exit(1)
	}
}

// run is the daemon from its arguments to its end.
func run(ctx context.Context, args []string, stderr io.Writer) error {
	cfg, err := configure(args, stderr)
	if err != nil {
		return err
	}
	logger := newLogger(cfg.Log, stderr)
	domain.LogTo(logger)
	d, err := newDaemon(cfg, logger)
	if err != nil {
		return err
	}
	return d.run(ctx)
}

// configure reads the flags and the configuration file. Flags come last: they override the file.
func configure(args []string, stderr io.Writer) (config, error) {
	flags := flag.NewFlagSet("causewayd", flag.ContinueOnError)
	flags.SetOutput(stderr)
	file := flags.String("config", "", "configuration `file` (YAML); see docs/causewayd.yaml")
	dataDir := flags.String("data-dir", "", "overrides data_dir")
	level := flags.String("log-level", "", "overrides log.level: debug, info, warn or error")
	if err := flags.Parse(args); err != nil {
		return config{}, err
	}
	if flags.NArg() > 0 {
		return config{}, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	cfg, err := loadConfig(*file)
	if err != nil {
		return config{}, err
	}
	if *dataDir != "" {
		cfg.DataDir = *dataDir
	}
	if *level != "" {
		if err := cfg.Log.Level.UnmarshalText([]byte(*level)); err != nil {
			return config{}, fmt.Errorf("flag --log-level: %w", err)
		}
	}
	if err := cfg.validate(); err != nil {
		return config{}, fmt.Errorf("configuration is not valid:\n%w", err)
	}
	return cfg, nil
}

func newLogger(cfg logConfig, out io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.Level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
}
