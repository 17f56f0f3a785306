package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// messageSize of a request and its answer, in bytes.
const messageSize = 64

// heldMark is printed when all connections of a hold are open.
const heldMark = "all connections are open"

// loadResult is what the load generator prints, as JSON.
type loadResult struct {
	Count   int           // connections or requests completed
	Elapsed time.Duration // of the measurement
	// P50 and P99 are the latency of a connection or a request.
	P50, P99 time.Duration
}

// runLoad is the load generator. Modes:
//
//	connect   open, one byte there and back, close; -workers at a time
//	request   ping-pong of small messages on -workers connections
//	hold      open -count connections, one byte there and back on each, and keep them
func runLoad(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	mode := flags.String("mode", "", "connect, request or hold")
	target := flags.String("target", "", "address of an echo server")
	workers := flags.Int("workers", 1, "how many at a time")
	count := flags.Int("count", 0, "connections to hold")
	duration := flags.Duration("duration", time.Second, "how long")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var result loadResult
	var err error
	switch *mode {
	case "connect":
		result, err = connectLoad(ctx, *target, *workers, *duration)
	case "request":
		result, err = requestLoad(ctx, *target, *workers, *duration)
	case "hold":
		return hold(ctx, *target, *workers, *count)
	default:
		return fmt.Errorf("load: no mode %q", *mode)
	}
	if err != nil {
		return fmt.Errorf("load %s: %w", *mode, err)
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

// echoOnce sends msg and reads as much into it.
func echoOnce(c net.Conn, msg []byte) error {
	if _, err := c.Write(msg); err != nil {
		return err
	}
	_, err := io.ReadFull(c, msg)
	return err
}

// dialEcho opens a connection and has one byte echoed, so that it is known to reach the backend.
func dialEcho(ctx context.Context, target string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", target)
	if err != nil {
		return nil, err
	}
	if err := echoOnce(c, make([]byte, 1)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// connectLoad measures short connections.
func connectLoad(ctx context.Context, target string, workers int, duration time.Duration) (loadResult, error) {
	return inParallel(workers, duration, func(int) error {
		c, err := dialEcho(ctx, target)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// requestLoad measures requests on connections that stay open.
func requestLoad(ctx context.Context, target string, workers int, duration time.Duration) (loadResult, error) {
	conns := make([]net.Conn, workers)
	messages := make([][]byte, workers)
	for i := range conns {
		c, err := dialEcho(ctx, target)
		if err != nil {
			return loadResult{}, err
		}
		defer c.Close()
		conns[i], messages[i] = c, make([]byte, messageSize)
	}
	return inParallel(workers, duration, func(worker int) error {
		return echoOnce(conns[worker], messages[worker])
	})
}

// inParallel has each worker call do over and over for the duration and times every call. The
// first error ends it.
func inParallel(workers int, duration time.Duration, do func(worker int) error) (loadResult, error) {
	latencies := make([][]time.Duration, workers)
	var group errgroup.Group
	var stop atomic.Bool
	start := time.Now()
	for w := range workers {
		group.Go(func() error {
			for !stop.Load() {
				before := time.Now()
				if err := do(w); err != nil {
					stop.Store(true)
					return err
				}
				after := time.Now()
				latencies[w] = append(latencies[w], after.Sub(before))
				if after.Sub(start) >= duration {
					return nil
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return loadResult{}, err
	}
	elapsed := time.Since(start)
	all := slices.Concat(latencies...)
	slices.Sort(all)
	return loadResult{
		Count:   len(all),
		Elapsed: elapsed,
		P50:     all[len(all)/2],
		P99:     all[len(all)*99/100],
	}, nil
}

// hold opens connections and keeps them until ctx ends.
func hold(ctx context.Context, target string, workers, count int) error {
	conns := make([]net.Conn, count)
	var next atomic.Int64
	var group errgroup.Group
	for range workers {
		group.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= count {
					return nil
				}
				c, err := dialEcho(ctx, target)
				if err != nil {
					return err
				}
				conns[i] = c
			}
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("hold connections: %w", err)
	}
	fmt.Println(heldMark)
	<-ctx.Done()
	for _, c := range conns {
		c.Close()
	}
	return nil
}

// runEcho is the backend: it returns what it reads on every connection.
func runEcho(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("echo: want one address")
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", args[0])
	if err != nil {
		return fmt.Errorf("echo: %w", err)
	}
	context.AfterFunc(ctx, func() { ln.Close() })
	return serveEcho(ctx, ln)
}

func serveEcho(ctx context.Context, ln net.Listener) error {
	for {
		c, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("echo: %w", err)
		}
		go func() {
			defer c.Close()
			buf := make([]byte, 1024)
			for {
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				if _, err := c.Write(buf[:n]); err != nil {
					return
				}
			}
		}()
	}
}
