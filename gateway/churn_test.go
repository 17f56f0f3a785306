package gateway

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"causeway/gateway/spec"
)

// TestChurn creates and deletes endpoints beside a flow that is never to notice, while connections to those endpoints
// come and go. Goroutines and file descriptors are back to where they were afterwards.
func TestChurn(t *testing.T) {
	const brief = 200 * time.Millisecond
	rounds := 1000
	if testing.Short() {
		rounds = 50
	}
	g := run(t, config(t, t.TempDir()))
	var w world
	client, server := w.pair(t, 1)
	g.apply(t, &w.Gateway)
	name := connectPair(t, g, 1, client, server)
	live := client.open(t, serviceAt, name)
	goroutines, files := runtime.NumGoroutine(), openFiles(t)

	ctx, cancel := context.WithCancel(t.Context())
	var traffic sync.WaitGroup
	for range 4 {
		traffic.Go(func() {
			for ctx.Err() == nil {
				// It may be reset at any moment, or meet a listener that does not know its handshake.
				if c, err := client.dial(t, "10.0.1.11:443", 0, brief); err == nil {
					_ = askWithin(c, name, brief)
					c.Close()
				}
			}
		})
	}
	for i := range rounds {
		w.addEndpointAt(1, consumer(1)+"/endpoints/churn", fmt.Sprintf("eni-churn-%d", i), "10.0.1.11")
		d := w.domain(consumer(1))
		d.Exposures = append(d.Exposures, spec.Exposure{Interface: fmt.Sprintf("eni-churn-%d", i)})
		g.apply(t, &w.Gateway)
		if i%10 == 0 {
			client.open(t, "10.0.1.11:443", name).Close()
		}
		w.Endpoints, d.Exposures = w.Endpoints[:1:1], d.Exposures[:1:1]
		g.apply(t, &w.Gateway)
		if err := ask(live, name); err != nil {
			t.Fatalf("round %d: the other endpoint's flow: %v", i, err)
		}
	}
	cancel()
	traffic.Wait()
	if stats := g.stats(); stats.Opened < uint64(rounds)/10 {
		t.Errorf("only %d connections were made meanwhile", stats.Opened)
	}
	eventually(t, "one flow left", func() bool { return g.stats().Active == 1 })
	eventually(t, "goroutines and files back", func() bool {
		return runtime.NumGoroutine() <= goroutines+4 && openFiles(t) <= files
	})
}

func openFiles(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
