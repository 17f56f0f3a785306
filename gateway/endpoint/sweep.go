package endpoint

import (
	"context"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// dialTick is how precisely dial timeouts are kept.
const dialTick = 50 * time.Millisecond

// idleState is what the sweeper remembers of a flow between two looks. A look
// is a few loads, so that no flow needs a timer of its own.
type idleState struct {
	bytes    uint64        // moved both ways at the last look
	segments uint32        // received from the consumer at the last look
	active   time.Duration // when movement was last noticed
	heard    time.Duration // when the consumer was last known to live
	due      time.Duration // when the stack sends its probe
	seen     bool          // there was a last look
	probing  atomic.Bool   // the stack's keepalive is on
}

// sweepLoop looks at all flows each interval.
func (e *Engine) sweepLoop(ctx context.Context) {
	tick := time.NewTicker(e.cfg.SweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			e.sweep()
		}
	}
}

// sweep ends flows that are idle and probes consumers that are silent.
func (e *Engine) sweep() {
	now := e.now()
	for _, f := range e.snapshot() {
		if f.target.Load() == nil {
			continue // its dial has its own timeout
		}
		if f.look(now) {
			f.endLater(ReasonIdleTimeout)
		}
	}
}

// look notices movement on the flow and reports whether it has been idle for
// too long.
//
// Keepalive segments of the consumer count as movement, as with NLB, but the
// answers to the gateway's own must not. So the stack's keepalive is switched
// on only when a consumer has been silent, for one probe, shortly after a
// look: a single segment that arrived after that look is the answer. (One of
// the consumer's own that arrives in the fifth of a sweep between look and
// probe is mistaken for it; its next one will do.)
func (f *Flow) look(now time.Duration) (idle bool) {
	s := &f.idle
	bytes := f.ingressBytes.Load() + f.egressBytes.Load()
	segments := uint32(0)
	if stats, ok := f.ep.Stats().(*tcp.Stats); ok {
		segments = uint32(stats.SegmentsReceived.Value())
	}
	received := segments - s.segments
	probing := s.probing.Load()
	moved := bytes != s.bytes || received > 1 || received == 1 && !(probing && now >= s.due) || !s.seen
	if !s.seen {
		f.kick(&f.engine.queue, evLasts)
	}
	s.bytes, s.segments, s.seen = bytes, segments, true
	if moved {
		s.active = now
	}
	if moved || received > 0 {
		s.heard = now
		if probing {
			f.setProbing(false)
		}
		return false
	}
	if !probing && now-s.heard >= f.engine.cfg.KeepaliveIdle-2*f.engine.cfg.SweepInterval {
		s.due = now + f.engine.probe.idle
		f.setProbing(true)
	}
	return now-s.active >= f.listener.cfg.IdleTimeout
}

func (f *Flow) setProbing(on bool) {
	f.idle.probing.Store(on)
	f.kick(&f.engine.queue, evProbe)
}

// noProbe is an idle time that is never reached.
const noProbe = 10 * 365 * 24 * time.Hour

// probe makes the stack probe the consumer, or not. Once switched on, its
// keepalive is put off rather than switched off: a gVisor keepalive timer that
// expires while the option is off is never started again.
func (f *Flow) probe() {
	if f.idle.probing.Load() {
		setKeepalive(f.ep, f.engine.probe)
		return
	}
	idle := tcpip.KeepaliveIdleOption(noProbe)
	_ = f.ep.SetSockOpt(&idle)
}

// probeTarget makes the target's side be probed when the target is silent.
func (f *Flow) probeTarget() error {
	if f.terminator != nil {
		return nil // it has seen to that
	}
	k := f.engine.cfg.keepalive()
	if f.leg.ep == nil {
		return keepSocketAlive(f.leg.fd, k)
	}
	setKeepalive(f.leg.ep, k)
	return nil
}

// startDial lets a flow's dial run for a time. The flows that dial are few, so
// one timer that looks at all of them while there are any is enough.
func (e *Engine) startDial(f *Flow, timeout time.Duration) {
	f.dialDue.Store(int64(e.now() + timeout))
	e.dialMu.Lock()
	defer e.dialMu.Unlock()
	if f.dialPos >= 0 {
		return
	}
	f.dialPos = int32(len(e.dials))
	e.dials = append(e.dials, f)
	if len(e.dials) == 1 {
		e.armDials()
	}
}

// armDials is called with dialMu held.
func (e *Engine) armDials() {
	if e.dialTimer == nil {
		e.dialTimer = time.AfterFunc(dialTick, e.checkDials)
		return
	}
	e.dialTimer.Reset(dialTick)
}

// stopDial forgets a flow that no longer dials.
func (e *Engine) stopDial(f *Flow) {
	e.dialMu.Lock()
	defer e.dialMu.Unlock()
	if f.dialPos < 0 {
		return
	}
	last := len(e.dials) - 1
	e.dials[f.dialPos] = e.dials[last]
	e.dials[f.dialPos].dialPos = f.dialPos
	e.dials[last] = nil
	e.dials = e.dials[:last]
	f.dialPos = -1
	if last == 0 {
		e.dialTimer.Stop()
	}
}

// checkDials kicks flows whose dial is overdue; they look again themselves.
func (e *Engine) checkDials() {
	now := e.now()
	e.dialMu.Lock()
	defer e.dialMu.Unlock()
	for _, f := range e.dials {
		if now >= time.Duration(f.dialDue.Load()) {
			f.kick(&e.queue, evDialDue)
		}
	}
	if len(e.dials) > 0 {
		e.armDials()
	}
}
