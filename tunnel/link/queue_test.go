package link

import (
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// small is a queue that two packets fill.
var small = Config{QueuePackets: 2, Admit: acceptAll}

func dataPacket() *stack.PacketBuffer {
	return outbound(segment{flags: flagACK, payload: []byte("data")}.bytes(), 0)
}

func ackPacket() *stack.PacketBuffer { return outbound(segment{flags: flagACK}.bytes(), 0) }

// A full queue makes data wait for at most QueueWait, once: until the reader has come back nobody waits again.
func TestQueueWaitIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, p := newTestLink(t, small, new(recorder))
		sendOut(t, l, dataPacket(), dataPacket())
		start := time.Now()
		sendOut(t, l, dataPacket())
		if waited := time.Since(start); waited != defaultQueueWait {
			t.Errorf("waited %v, want %v", waited, defaultQueueWait)
		}
		start = time.Now()
		sendOut(t, l, dataPacket(), dataPacket())
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %v on a port that is known to be stopped", waited)
		}
		if c := p.Counters(); c.OutDrops[ReasonQueueFull] != 3 || c.Waits != 1 {
			t.Errorf("counters: %+v", c)
		}
		newReader(8, 2000).read(t, p)
		sendOut(t, l, dataPacket(), dataPacket())
		start = time.Now()
		sendOut(t, l, dataPacket())
		if waited := time.Since(start); waited != defaultQueueWait {
			t.Errorf("after the reader came back: waited %v, want %v", waited, defaultQueueWait)
		}
	})
}

// A reader that comes in time loses nothing.
func TestQueueWaitEndsWithRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, p := newTestLink(t, small, new(recorder))
		sendOut(t, l, dataPacket(), dataPacket())
		var sent sync.WaitGroup
		start := time.Now()
		sent.Go(func() { sendOut(t, l, dataPacket()) })
		synctest.Wait()
		time.Sleep(100 * time.Millisecond) // of the bubble's clock
		r := newReader(2, 2000)            // with more room it might find the third in the same call
		if n := len(r.read(t, p)); n != 2 {
			t.Errorf("read %d packets, want 2", n)
		}
		sent.Wait()
		if waited := time.Since(start); waited != 100*time.Millisecond {
			t.Errorf("waited %v", waited)
		}
		if n := len(r.read(t, p)); n != 1 {
			t.Errorf("read %d packets, want the one that waited", n)
		}
	})
}

func TestQueueWaitEndsWithClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, p := newTestLink(t, small, new(recorder))
		sendOut(t, l, dataPacket(), dataPacket())
		var sent sync.WaitGroup
		start := time.Now()
		sent.Go(func() { sendOut(t, l, dataPacket()) })
		synctest.Wait()
		p.Device().Close()
		sent.Wait()
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %v after Close", waited)
		}
	})
}

// Reading blocks until there is something, and ends with Close.
func TestReadBlocksUntilClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := newTestLink(t, Config{}, new(recorder))
		var done sync.WaitGroup
		done.Go(func() {
			if _, err := p.Device().Read([][]byte{make([]byte, 100)}, make([]int, 1), 0); err == nil {
				t.Error("Read of a closed port succeeded")
			}
		})
		synctest.Wait()
		p.Device().Close()
		done.Wait()
	})
}

// Packets without payload never wait; they may use twice the bound.
func TestControlPacketsDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, p := newTestLink(t, small, new(recorder))
		start := time.Now()
		sendOut(t, l, dataPacket(), dataPacket(), ackPacket(), ackPacket(), ackPacket())
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %v", waited)
		}
		if c := p.Counters(); c.OutDrops[ReasonQueueFull] != 1 {
			t.Errorf("%d dropped, want 1", c.OutDrops[ReasonQueueFull])
		}
		if n := len(newReader(8, 2000).read(t, p)); n != 4 {
			t.Errorf("read %d, want 4", n)
		}
	})
}

// A flood of refused SYNs must neither block tun.Write nor displace data.
func TestResetsDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := small
		cfg.Admit = func(Packet) Verdict { return Reset(ReasonNoListener) }
		l, p := newTestLink(t, cfg, new(recorder))
		start := time.Now()
		for range 10 {
			write(t, p, segment{flags: flagSYN}.bytes())
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("tun.Write waited %v", waited)
		}
		c := l.Counters()
		if c.Resets != 2 || c.OutDrops[ReasonQueueFull] != 8 {
			t.Errorf("%d resets, %d dropped", c.Resets, c.OutDrops[ReasonQueueFull])
		}
		checkBalance(t, c)
	})
}

// replier is a stack that answers every packet from inside its delivery, as a real one answers with resets.
type replier struct {
	link   *Link
	answer func() *stack.PacketBuffer
}

func (r *replier) DeliverNetworkPacket(tcpip.NetworkProtocolNumber, *stack.PacketBuffer) {
	var list stack.PacketBufferList
	list.PushBack(r.answer())
	defer list.Reset()
	r.link.Endpoint().WritePackets(list)
}

func (*replier) DeliverLinkPacket(tcpip.NetworkProtocolNumber, *stack.PacketBuffer) {}

// The hairpin: two ports whose devices have stopped reading because each is inside a delivery that wants to send to the
// other. Nothing may wait.
func TestHairpinUnderFullQueues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r replier
		l, a := newTestLink(t, small, &r)
		b := l.NewPort("b")
		l.SetRoutes([]Route{
			{netip.MustParsePrefix("10.0.1.0/24"), []*Port{b}},
			{netip.MustParsePrefix("10.0.2.0/24"), []*Port{a}},
		})
		r = replier{l, func() *stack.PacketBuffer {
			return outbound(segment{flags: flagRST | flagACK}.bytes(), 0)
		}}
		start := time.Now()
		var done sync.WaitGroup
		for _, p := range []*Port{a, b} {
			done.Go(func() {
				for range 100 {
					write(t, p, segment{flags: flagACK, payload: []byte("x")}.bytes())
				}
			})
		}
		done.Wait()
		if waited := time.Since(start); waited != 0 {
			t.Errorf("tun.Write waited %v", waited)
		}
		checkBalance(t, l.Counters())
	})
}
