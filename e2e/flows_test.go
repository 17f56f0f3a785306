package e2e

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"causeway/e2e/lab"
)

// openFlows opens and closes many connections, a few at a time, each moving a little.
func (w *world) openFlows(consumer *lab.Host, address string, count int) {
	w.t.Helper()
	var group errgroup.Group
	group.SetLimit(32)
	for range count {
		group.Go(func() error { return w.openFlow(consumer, address) })
	}
	if err := group.Wait(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) openFlow(consumer *lab.Host, address string) error {
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	c, err := consumer.Dial(ctx, "tcp", address+":7000")
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.(*net.TCPConn).SetLinger(0); err != nil {
		return err
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte{'d', 0}); err != nil {
		return fmt.Errorf("write on a flow: %w", err)
	}
	if _, err := c.Read(make([]byte, 1<<10)); err != nil {
		return fmt.Errorf("read from a flow: %w", err)
	}
	return nil
}

// keepFlowing opens flows one after another until stopped.
func (w *world) keepFlowing(consumer *lab.Host, address string) (stop func()) {
	done := make(chan struct{})
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := w.openFlow(consumer, address); err != nil {
					w.t.Errorf("a flow beside the churn: %v", err)
					return
				}
			}
		})
	}
	return func() {
		close(done)
		running.Wait()
	}
}

// resting returns the daemon's goroutines and file descriptors once they stand still.
func (w *world) resting() (goroutines, fds float64) {
	w.t.Helper()
	w.Eventually(3*patience, "the daemon to come to rest", func() error {
		g, f := w.gauge("go_goroutines"), w.gauge("process_open_fds")
		if g != goroutines || f != fds {
			goroutines, fds = g, f
			return fmt.Errorf("%v goroutines, %v file descriptors", g, f)
		}
		return nil
	})
	return goroutines, fds
}

// wantBaseline waits until the daemon holds no more than before. A few goroutines belong to the
// connections of the API and of this very question.
func (w *world) wantBaseline(when string, goroutines, fds float64) {
	w.t.Helper()
	w.Eventually(3*patience, "the baseline "+when, func() error {
		if g, f := w.gauge("go_goroutines"), w.gauge("process_open_fds"); g > goroutines+4 || f > fds+4 {
			return fmt.Errorf("%v goroutines and %v file descriptors; the baseline is %v and %v", g, f, goroutines, fds)
		}
		return nil
	})
}
