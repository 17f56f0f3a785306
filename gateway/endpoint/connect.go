package endpoint

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"causeway/gateway/shape"
)

// errDialTimeout is reported to Targets when a target did not answer.
var errDialTimeout = errors.New("no answer in time")

// dialState is what a flow holds only until it is connected.
type dialState struct {
	key      FlowKey
	tried    []netip.AddrPort
	current  Target
	extended bool    // current was given the longer timeout
	spare    *Target // picked already, to be tried next
	why      Reason  // the flow is refused with, when no target is left
}

// accepted makes a flow of a connection that was accepted.
func (e *Engine) accepted(l *Listener, ep tcpip.Endpoint, wq *waiter.Queue, consumer netip.AddrPort) {
	f := &Flow{
		engine: e, listener: l, id: e.lastID.Add(1), consumer: consumer,
		start: e.cfg.Now(), ep: ep, wq: wq, slot: noSlot, index: -1, dialPos: -1,
	}
	f.owner = f
	// Scheduled from birth: once registered, CloseWhere may kick it.
	f.state.Store(scheduled | evDial)
	f.leg.fd = -1
	f.dial = &dialState{
		key: FlowKey{Consumer: consumer, Exposure: l.cfg.Exposure, ID: f.id},
		why: ReasonRefusedNoTarget,
	}
	why := f.admit()
	if why == ReasonNone && !e.register(f) {
		l.cfg.Domain.dialled(consumer.Addr())
		l.cfg.Domain.leave()
		why = ReasonShutdown
	}
	if why != ReasonNone {
		f.phase = ended
		ep.Abort()
		e.count(f, why)
		return
	}
	e.queue.push(&f.task)
}

// admit applies what is checked before a target is looked for.
func (f *Flow) admit() Reason {
	cfg := &f.listener.cfg
	if cfg.Peer != nil {
		peer, ok := cfg.Peer(f.consumer.Addr())
		if !ok {
			return ReasonRefusedUnknownPeer
		}
		f.peer = peer
	}
	if cfg.Admit != nil && cfg.Admit(f.dial.key) != nil {
		return ReasonRefusedNotAdmitted
	}
	return cfg.Domain.enter(f.consumer.Addr())
}

// dialStep moves a flow that has no target yet and reports whether it has one
// now. The flow may have ended.
func (f *Flow) dialStep(events uint32, w *worker) (connected bool) {
	if events&evDial != 0 {
		f.entry.Init(f, waiter.ReadableEvents|waiter.WritableEvents|waiter.EventHUp|waiter.EventErr)
		f.wq.EventRegister(&f.entry)
	}
	if f.phase == judging {
		if !f.judge(w) {
			return false
		}
		f.phase = dialling
		if !f.attempt() {
			return false
		}
	}
	if stackDead(f.ep, false) {
		f.end(ReasonRefusedConsumerGone)
		return false
	}
	for {
		done, err := f.legState(events)
		events = 0 // those of the next leg come later
		if done {
			if err = f.prepareLeg(); err == nil {
				f.connected()
				return true
			}
		}
		if err == nil {
			if !f.overdue() {
				return false
			}
			err = errDialTimeout
		}
		f.attemptFailed(err)
		if !f.attempt() {
			return false
		}
	}
}

// attempt starts a dial to the next target. It reports false when none was
// left and the flow has ended.
func (f *Flow) attempt() bool {
	cfg := &f.listener.cfg
	for {
		t, ok := f.nextTarget()
		if !ok {
			f.end(f.dial.why)
			return false
		}
		f.dial.current = t
		f.dial.tried = append(f.dial.tried, t.Addr)
		// The last moment: whatever was accepted before, this is the
		// address that is dialled.
		if err := cfg.Guard(t.Addr.Addr()); err != nil {
			f.dial.why = ReasonRefusedTargetGuard
			// Counted by reason; a line for each would let a consumer fill the log.
			f.engine.log.Debug("target denied by guard",
				"endpoint", f.EndpointName(), "target", t.Addr.String(), "error", err.Error())
			continue
		}
		leg, err := cfg.Dialer.Start(t.Addr)
		if err == nil {
			err = f.attach(leg)
		}
		if err == nil {
			f.dial.extended = false
			f.engine.startDial(f, f.engine.cfg.DialTimeoutRetry)
			return true
		}
		f.attemptFailed(err)
	}
}

// nextTarget picks a target not tried before.
func (f *Flow) nextTarget() (Target, bool) {
	if t := f.dial.spare; t != nil {
		f.dial.spare = nil
		return *t, true
	}
	t, err := f.listener.cfg.Targets.Pick(f.dial.key, f.dial.tried)
	if err != nil || !t.Addr.IsValid() || slices.Contains(f.dial.tried, t.Addr) {
		return Target{}, false
	}
	return t, true
}

// attach makes the leg's events reach the flow.
func (f *Flow) attach(leg Leg) error {
	f.leg = leg
	if leg.ep != nil {
		f.legEntry = &waiter.Entry{}
		f.legEntry.Init((*stackTarget)(f), waiter.ReadableEvents|waiter.WritableEvents|waiter.EventHUp|waiter.EventErr)
		leg.wq.EventRegister(f.legEntry)
		return nil
	}
	slot, err := f.engine.poller.add(leg.fd, f)
	if err != nil {
		return err
	}
	f.slot = slot
	return nil
}

// legState tells whether the dial under way is done. For a socket only its
// events tell, for a gVisor endpoint its state does.
func (f *Flow) legState(events uint32) (connected bool, err error) {
	if f.leg.ep == nil {
		if events&(evTargetError|evTargetHup) != 0 {
			if err := socketError(f.leg.fd); err != nil {
				return false, fmt.Errorf("connect: %w", err)
			}
		}
		return events&evTargetWritable != 0, nil
	}
	switch state := tcp.EndpointState(f.leg.ep.State()); state {
	case tcp.StateConnecting, tcp.StateSynSent, tcp.StateSynRecv:
		return false, nil
	case tcp.StateEstablished, tcp.StateCloseWait:
		return true, nil
	default:
		if err := stackError(f.leg.ep.LastError()); err != nil {
			return false, fmt.Errorf("connect: %w", err)
		}
		return false, fmt.Errorf("connect: connection is %v", state)
	}
}

// attemptFailed reports the current target and drops its leg.
func (f *Flow) attemptFailed(err error) {
	f.detach()
	f.leg.Abort()
	f.leg = Leg{fd: -1}
	f.dial.why = ReasonRefusedTargetsFailed
	if errors.Is(err, ErrPortsExhausted) {
		f.dial.why = ReasonRefusedPortsExhausted
	}
	f.engine.dialsFailed.Add(1)
	f.listener.cfg.Targets.Report(f.dial.current, err)
}

// overdue reports whether the dial under way is to be given up. Without another
// target to go to it gets the longer of the two timeouts.
func (f *Flow) overdue() bool {
	e := f.engine
	if e.now() < time.Duration(f.dialDue.Load()) {
		return false
	}
	if f.dial.extended {
		return true
	}
	if t, ok := f.nextTarget(); ok {
		f.dial.spare = &t
		return true
	}
	f.dial.extended = true
	if e.cfg.DialTimeout <= e.cfg.DialTimeoutRetry {
		return true
	}
	e.startDial(f, e.cfg.DialTimeout-e.cfg.DialTimeoutRetry)
	return false
}

// prepareLeg sets up the target's side once it is connected. Keepalive is left
// to the sweeper: most flows end before they could need it.
func (f *Flow) prepareLeg() error {
	if f.leg.ep == nil {
		if err := setSocket(f.leg.fd); err != nil {
			return err
		}
	}
	if err := f.introduce(); err != nil {
		return err
	}
	if f.listener.cfg.TLS != nil {
		return f.interpose()
	}
	return nil
}

// introduce sends the target what comes before the consumer's first byte.
func (f *Flow) introduce() error {
	if f.listener.cfg.Preface == nil {
		return nil
	}
	preface, err := f.listener.cfg.Preface(nil, f.dial.key, f.peer)
	if err != nil {
		return err
	}
	return f.leg.writeAll(preface)
}

// connected turns a dial into a relay.
func (f *Flow) connected() {
	e, cfg := f.engine, &f.listener.cfg
	target := f.dial.current
	cfg.Targets.Report(target, nil)
	f.target.Store(&target)
	e.stopDial(f)
	f.dial, f.phase = nil, relaying
	if f.terminator != nil {
		f.terminator.start()
	} else {
		cfg.Domain.dialled(f.consumer.Addr())
	}
	if cfg.Budget != nil {
		cfg.Budget.Join(&f.ingress.share, shape.Ingress, f)
		cfg.Budget.Join(&f.egress.share, shape.Egress, f)
	}
	e.opened.Add(1)
	f.listener.iface.opened.Add(1)
}

// setKeepalive makes ep probe a silent peer. None of it can fail on a TCP
// endpoint.
func setKeepalive(ep tcpip.Endpoint, k keepalive) {
	idle, interval := tcpip.KeepaliveIdleOption(k.idle), tcpip.KeepaliveIntervalOption(k.interval)
	_ = ep.SetSockOpt(&idle)
	_ = ep.SetSockOpt(&interval)
	_ = ep.SetSockOptInt(tcpip.KeepaliveCountOption, k.count)
	ep.SocketOptions().SetKeepAlive(true)
}

// closeTimeout bounds how long a stack keeps trying to deliver the last bytes
// of a connection closed in order.
const closeTimeout = time.Minute

// detach makes the target's events no longer reach the flow.
func (f *Flow) detach() {
	if f.legEntry != nil {
		f.leg.wq.EventUnregister(f.legEntry)
		f.legEntry = nil
	}
	if f.slot != noSlot {
		f.engine.poller.remove(f.slot)
		f.slot = noSlot
	}
	// What this leg has said must not be taken for the next one's word.
	f.state.And(^(evTargetReadable | evTargetWritable | evTargetHup | evTargetError))
}

// end closes both sides, in order if the flow is completed and by resets
// otherwise, and forgets the flow.
func (f *Flow) end(why Reason) {
	if f.unread != nil && f.phase == relaying {
		f.consult(Hello{Read: true, Unreadable: true}) // there was nothing to read
	}
	wasDialling := f.phase < relaying
	f.phase = ended
	f.wq.EventUnregister(&f.entry)
	f.detach()
	f.ingress.share.Leave()
	f.egress.share.Leave()
	if f.terminator != nil {
		f.terminator.flowEnded(why)
	}
	if why == ReasonCompleted {
		closeStack(f.ep)
		f.leg.close()
	} else {
		f.ep.Abort()
		f.leg.Abort()
	}
	f.leg = Leg{fd: -1}
	if failed := Reason(f.ending.Load()); why == ReasonCompleted && failed != ReasonNone {
		why = failed // a reason was given, and then both sides closed in order
	}
	if wasDialling {
		f.engine.stopDial(f)
		f.Domain().dialled(f.consumer.Addr())
	}
	f.Domain().leave()
	f.engine.finish(f, why)
}

// closeStack closes an endpoint that has nothing more to send or to receive; the
// stack delivers what it still holds, and its end.
func closeStack(ep tcpip.Endpoint) {
	timeout := tcpip.TCPUserTimeoutOption(closeTimeout)
	_ = ep.SetSockOpt(&timeout)
	ep.Close()
}
