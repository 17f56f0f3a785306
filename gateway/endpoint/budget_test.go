package endpoint

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"

	"causeway/gateway/shape"
)

func newBudget(t testing.TB, bitsPerSecond int64) *shape.Budget {
	t.Helper()
	b, err := shape.New(shape.Config{Limits: shape.Limits{
		BaselineBitsPerSecond: bitsPerSecond,
		MaximumBitsPerSecond:  bitsPerSecond,
	}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// blast writes until the connection breaks.
func blast(c net.Conn) {
	b := make([]byte, 128<<10)
	for {
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

// drain reads until the connection breaks.
func drain(c net.Conn) { io.Copy(io.Discard, c) }

// jain returns Jain's index of what each flow moved between two moments.
func jain(before, after []Record) float64 {
	start := map[uint64]uint64{}
	for _, rec := range before {
		start[rec.ID] = rec.IngressBytes + rec.EgressBytes
	}
	var sum, squares float64
	for _, rec := range after {
		moved := float64(rec.IngressBytes + rec.EgressBytes - start[rec.ID])
		sum += moved
		squares += moved * moved
	}
	return sum * sum / (float64(len(after)) * squares)
}

// budgetRun lets flows that always have bytes use up a budget, and checks what
// holds on a machine of any speed: never more than the limit, equal parts, and
// a budget that accounts for exactly the bytes moved. With that the engine is
// as accurate as gateway/shape, whose tests look at single windows; the tests
// in e2e look at them on a whole gateway.
func budgetRun(t *testing.T, way shape.Direction, flows int) {
	const (
		limit  = 32_000_000
		amount = 4_000_000 // bytes, a second's worth
	)
	target := backend(t, func(c *net.TCPConn) {
		if way == shape.Ingress {
			drain(c)
		} else {
			blast(c)
		}
	})
	r := newRig(t, rigOptions{gso: true})
	budget := newBudget(t, limit)
	r.listen(&fixedTargets{addrs: []netip.AddrPort{target}}, func(c *ListenerConfig) { c.Budget = budget })
	var running sync.WaitGroup
	for range flows {
		c := r.dial()
		running.Go(func() {
			if way == shape.Ingress {
				blast(c)
			} else {
				drain(c)
			}
		})
	}
	moved := func() uint64 {
		if s := r.engine.Stats(); way == shape.Ingress {
			return s.IngressBytes
		} else {
			return s.EgressBytes
		}
	}
	eventually(t, "all flows wait for the budget", func() bool { return budget.Usage(way).Waiting == flows })
	begin, from, before := time.Now(), moved(), r.engine.Flows()
	eventually(t, "a second's worth has moved", func() bool { return moved() >= from+amount })
	after, total := r.engine.Flows(), moved()-from
	took := time.Since(begin)
	r.engine.CloseWhere(func(*Flow) bool { return true }, ReasonEndpointDeleted)
	running.Wait()

	rate := float64(total) * 8 / took.Seconds()
	if rate > limit*1.1 || rate < limit/4 {
		t.Errorf("moved %.1f Mbit/s, want at most %d and not far less", rate/1e6, limit/1_000_000)
	}
	// Not all flows always have bytes when processor time is short.
	if j := jain(before, after); j < 0.75 {
		t.Errorf("Jain's index %.3f, want >= 0.75", j)
	}
	if u := budget.Usage(way); uint64(u.MovedBytes) != moved() || u.Waiting != 0 {
		t.Errorf("the budget counts %d bytes and %d flows waiting, the engine moved %d", u.MovedBytes, u.Waiting, moved())
	}
}

func TestBudget(t *testing.T) {
	for _, way := range []shape.Direction{shape.Ingress, shape.Egress} {
		for _, flows := range []int{1, 16} {
			t.Run(fmt.Sprintf("%v x%d", way, flows), func(t *testing.T) {
				t.Parallel()
				budgetRun(t, way, flows)
			})
		}
	}
}

// TestThrottledFlowIsBounded checks that a flow held back by its budget does
// not fill the gateway's memory, and that it ends at once all the same.
func TestThrottledFlowIsBounded(t *testing.T) {
	target := backend(t, hold)
	r := newRig(t, rigOptions{gso: true, receiveBuffer: ReceiveBuffer(1_000_000)})
	budget := newBudget(t, 1_000_000)
	r.listen(&fixedTargets{addrs: []netip.AddrPort{target}}, func(c *ListenerConfig) { c.Budget = budget })
	c := r.dial()
	blasted := make(chan struct{})
	go func() { blast(c); close(blasted) }()
	eventually(t, "the budget makes it wait", func() bool { return budget.Usage(shape.Ingress).Throttled > 500*time.Millisecond })
	f := r.engine.snapshot()[0]
	if got := f.ep.SocketOptions().GetReceiveBufferSize(); got > minReceiveBuffer {
		t.Errorf("receive buffer of %d bytes at 1 Mbit/s, want at most %d", got, minReceiveBuffer)
	}
	r.engine.CloseWhere(func(*Flow) bool { return true }, ReasonEndpointDeleted)
	<-blasted
	if w := budget.Usage(shape.Ingress).Waiting; w != 0 {
		t.Errorf("%d shares wait after the end", w)
	}
}

// TestSlowReaderIsBounded lets a target send to a consumer that reads nothing.
func TestSlowReaderIsBounded(t *testing.T) {
	target := backend(t, func(c *net.TCPConn) { blast(c) })
	r := newRig(t, rigOptions{gso: true})
	budget := newBudget(t, 10_000_000_000)
	r.listen(&fixedTargets{addrs: []netip.AddrPort{target}}, func(c *ListenerConfig) { c.Budget = budget })
	var conns []*gonet.TCPConn
	const flows = 10
	for range flows {
		conns = append(conns, r.dial())
	}
	last := uint64(0)
	stable := 0
	eventually(t, "the flows stand still", func() bool {
		now := r.engine.Stats().EgressBytes
		if stable++; now != last {
			last, stable = now, 0
		}
		return last > 0 && stable > 100
	})
	// The gateway's send buffer (6 MB at most) and the consumer's receive
	// buffer (8 MB at most) can be full, no more.
	if limit := uint64(flows * (14 << 20)); last > limit {
		t.Errorf("took %d bytes of targets whose consumers read nothing, want at most %d", last, limit)
	}
	// A consumer that wakes up gets everything.
	deadline(conns[0])
	if n, err := io.CopyN(io.Discard, conns[0], 32<<20); err != nil {
		t.Errorf("read %d bytes: %v", n, err)
	}
	r.engine.CloseWhere(func(*Flow) bool { return true }, ReasonEndpointDeleted)
	// What a full buffer did not take was given back.
	if got, want := uint64(budget.Usage(shape.Egress).MovedBytes), r.engine.Stats().EgressBytes; got != want {
		t.Errorf("the budget counts %d bytes, the engine moved %d", got, want)
	}
}
