package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listenEcho runs the echo server on loopback until the test ends.
func listenEcho(t *testing.T) netip.AddrPort {
	t.Helper()
	return serve(t, serveEcho)
}

// serve runs a server on loopback until the test ends.
func serve(t *testing.T, server func(context.Context, net.Listener) error) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group errgroup.Group
	group.Go(func() error { return server(ctx, ln) })
	t.Cleanup(func() {
		cancel()
		ln.Close()
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
	})
	return netip.MustParseAddrPort(ln.Addr().String())
}

func TestLoadCountsWhatIsEchoed(t *testing.T) {
	target := listenEcho(t).String()
	for name, load := range map[string]func(context.Context, string, int, time.Duration) (loadResult, error){
		"connect": connectLoad,
		"request": requestLoad,
	} {
		t.Run(name, func(t *testing.T) {
			const workers, duration = 4, 50 * time.Millisecond
			got, err := load(t.Context(), target, workers, duration)
			if err != nil {
				t.Fatal(err)
			}
			if got.Count < workers || got.Elapsed < duration || got.P50 <= 0 || got.P99 < got.P50 {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestLoadReportsErrors(t *testing.T) {
	closing := serve(t, func(ctx context.Context, ln net.Listener) error {
		for {
			c, err := ln.Accept()
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			c.Close()
		}
	})
	if _, err := connectLoad(t.Context(), closing.String(), 2, time.Minute); err == nil {
		t.Error("connections that are closed without an answer were counted")
	}
	if err := hold(t.Context(), closing.String(), 2, 4); err == nil {
		t.Error("connections that are closed without an answer were held")
	}
}

func TestInParallelTimesEveryCall(t *testing.T) {
	var calls atomic.Int64
	got, err := inParallel(3, 10*time.Millisecond, func(int) error {
		calls.Add(1)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if int64(got.Count) != calls.Load() {
		t.Errorf("counted %d of %d calls", got.Count, calls.Load())
	}

	broken := errors.New("broken")
	if _, err := inParallel(3, time.Minute, func(int) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("error of a call became %v", err)
	}
}

func TestRelayCopyPassesBytesAndEndOfStream(t *testing.T) {
	target := listenEcho(t)
	relay := serve(t, func(ctx context.Context, ln net.Listener) error { return serveCopy(ctx, ln, target) })
	c, err := net.Dial("tcp", relay.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := echoOnce(c, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	// The echo server closes when the client has, and that must come back too.
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after the end of stream read %d bytes, %v", n, err)
	}
}
