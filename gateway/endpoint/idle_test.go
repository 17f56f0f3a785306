package endpoint

import (
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// manualClock is time that a test moves.
type manualClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *manualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *manualClock) advance(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.mu.Unlock()
}

func TestIdleTimeout(t *testing.T) {
	clock := &manualClock{now: time.Unix(1_700_000_000, 0)}
	r := newRig(t, rigOptions{engine: Config{Now: clock.Now, KeepaliveIdle: time.Hour, SweepInterval: time.Hour}})
	r.listen(&fixedTargets{addrs: []netip.AddrPort{backend(t, echo)}}, nil)
	c := r.dial()
	deadline(c)
	eventually(t, "the flow is open", func() bool { return r.engine.Stats().Opened == 1 })
	r.engine.sweep()
	begin := clock.Now()
	clock.advance(349 * time.Second)
	r.engine.sweep()
	if f := r.engine.snapshot()[0]; f.ending.Load() != 0 {
		t.Fatal("ended before its idle timeout of 350 s")
	}
	clock.advance(time.Second)
	r.engine.sweep()
	if _, err := c.Read(make([]byte, 1)); !isReset(err) {
		t.Errorf("read: %v, want a reset", err)
	}
	rec := r.ended(1)[0]
	if rec.Reason != ReasonIdleTimeout || rec.End.Sub(begin) != DefaultIdleTimeout {
		t.Errorf("ended because %v after %v, want %v after 350 s", rec.Reason, rec.End.Sub(begin), ReasonIdleTimeout)
	}
}

func TestMovementRestartsIdleTimeout(t *testing.T) {
	clock := &manualClock{now: time.Unix(1_700_000_000, 0)}
	r := newRig(t, rigOptions{engine: Config{Now: clock.Now, KeepaliveIdle: time.Hour, SweepInterval: time.Hour}})
	r.listen(&fixedTargets{addrs: []netip.AddrPort{backend(t, echo)}}, nil)
	c := r.dial()
	deadline(c)
	for range 5 {
		c.Write([]byte("x"))
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		r.engine.sweep()
		clock.advance(349 * time.Second)
		r.engine.sweep()
	}
	if s := r.engine.Stats(); s.Active != 1 {
		t.Errorf("a flow that moves every 349 s has ended: %+v", s.Ended)
	}
}

// shortLives makes all times about a hundred times shorter than by default.
// They stay above the 500 ms within which gVisor answers one probe only.
var shortLives = Config{
	KeepaliveIdle:     700 * time.Millisecond,
	KeepaliveInterval: 250 * time.Millisecond,
	KeepaliveCount:    5,
	SweepInterval:     40 * time.Millisecond,
}

const shortIdle = 3 * time.Second

// TestOwnProbesAreNotMovement leaves a consumer alone whose stack answers the
// gateway's probes.
func TestOwnProbesAreNotMovement(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{engine: shortLives})
	r.listen(&fixedTargets{addrs: []netip.AddrPort{backend(t, hold)}}, func(c *ListenerConfig) {
		c.IdleTimeout = shortIdle
	})
	ep := r.dialEndpoint()
	rec := r.ended(1)[0]
	if lived := rec.End.Sub(rec.Start); rec.Reason != ReasonIdleTimeout || lived < shortIdle {
		t.Errorf("ended because %v after %v, want %v after %v", rec.Reason, lived, ReasonIdleTimeout, shortIdle)
	}
	// The handshake and the reset are two; the rest were probes.
	if n := segmentsReceived(ep); n < 4 {
		t.Errorf("the consumer received %d segments, want some probes among them", n)
	}
}

// TestTargetIsProbed looks at the target's socket: the kernel probes it once the
// flow has been seen to last.
func TestTargetIsProbed(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{engine: shortLives})
	r.listen(&fixedTargets{addrs: []netip.AddrPort{backend(t, hold)}}, nil)
	r.dial()
	eventually(t, "the target's socket is kept alive", func() bool {
		flows := r.engine.snapshot()
		if len(flows) == 0 || flows[0].target.Load() == nil {
			return false
		}
		on, err := unix.GetsockoptInt(flows[0].leg.fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE)
		return err == nil && on == 1
	})
	r.engine.CloseWhere(func(*Flow) bool { return true }, ReasonEndpointDeleted)
}

// heart is a consumer that sends a keepalive segment every period.
type heart struct {
	rig    *rig
	ep     tcpip.Endpoint
	period time.Duration
	next   time.Time
}

// beat sends one segment. As Linux does, and gVisor does not, the consumer
// probes whatever arrives.
func (h *heart) beat(t *testing.T) {
	sent := statsOf(h.ep).SegmentsSent.Value()
	setKeepalive(h.ep, keepalive{idle: time.Millisecond, interval: noProbe, count: 100})
	h.ep.SocketOptions().SetKeepAlive(true)
	eventually(t, "a keepalive segment is sent", func() bool {
		if s := h.rig.engine.Stats(); s.Ended != [ReasonCount]uint64{} {
			t.Fatalf("ended though the consumer sends keepalive segments every %v: %v", h.period, h.rig.ended(1))
		}
		return statsOf(h.ep).SegmentsSent.Value() > sent
	})
	setKeepalive(h.ep, keepalive{idle: noProbe, interval: noProbe, count: 100})
	h.next = time.Now().Add(h.period)
}

// TestConsumerKeepaliveIsMovement lets the consumers' own keepalive hold their
// flows, with periods that fall before, on and after the gateway's probes.
func TestConsumerKeepaliveIsMovement(t *testing.T) {
	t.Parallel()
	var hearts []*heart
	for _, period := range []int{600, 700, 900, 1400} { // milliseconds
		r := newRig(t, rigOptions{engine: shortLives})
		r.listen(&fixedTargets{addrs: []netip.AddrPort{backend(t, hold)}}, func(c *ListenerConfig) {
			c.IdleTimeout = shortIdle
		})
		hearts = append(hearts, &heart{rig: r, ep: r.dialEndpoint(), period: time.Duration(period) * time.Millisecond, next: time.Now()})
	}
	for begin := time.Now(); time.Since(begin) < 3*shortIdle/2; {
		h := slices.MinFunc(hearts, func(a, b *heart) int { return a.next.Compare(b.next) })
		<-time.After(time.Until(h.next))
		h.beat(t)
	}
}

func TestDeadConsumerIsFound(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{engine: shortLives})
	r.listen(&fixedTargets{addrs: []netip.AddrPort{backend(t, hold)}}, nil)
	r.dial()
	eventually(t, "the flow is open", func() bool { return r.engine.Stats().Opened == 1 })
	r.wire.ends[0].setCut(true)
	if why := r.endReason(); why != ReasonConsumerTimeout {
		t.Errorf("ended because %v", why)
	}
	r.wire.ends[0].setCut(false)
}

func segmentsReceived(ep tcpip.Endpoint) uint64 { return statsOf(ep).SegmentsReceived.Value() }
