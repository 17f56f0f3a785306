package endpoint

import (
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// Hello is what the first bytes of a consumer tell.
type Hello struct {
	// Read tells that they have been read; without it nothing else is known.
	Read bool
	// Unreadable tells that they are no ClientHello that every server would understand in the same way, though they
	// begin as TLS does, or that they did not come in time.
	Unreadable bool
	// TLS tells that they are a ClientHello, and ServerName is the name in it, in lower case, or empty.
	TLS        bool
	ServerName string
}

// Judgement is what the endpoint policy says of a flow. The zero value is that of an endpoint without policy.
type Judgement struct {
	// Statement is what decided, see Record.
	Statement string
	// Denied flows are reset, unless DryRun is set.
	Denied, DryRun bool
	// NeedsHello tells that there is no judgement until the first bytes are read.
	NeedsHello bool
}

func (j *Judgement) refuses() bool { return j.Denied && !j.DryRun }

// judged is a judgement and what it was made of.
type judged struct {
	Judgement
	hello Hello
}

// withoutPolicy is what flows of endpoints without policy share.
var withoutPolicy = &judged{}

// unread is what a flow holds while its first bytes are still to be read.
type unread struct {
	need int  // bytes to be there before it is of use to look again
	late bool // nothing more is waited for once there are bytes
}

// Denied reports whether the policy, as it is now, does not let the flow be. One that depends on first bytes that were
// not read denies: nothing tells that it allows.
func (f *Flow) Denied() bool {
	have := f.judged.Load()
	if have == nil {
		return false // the policy as it is now will be asked
	}
	j := f.ask(have.hello)
	return j.refuses() || j.NeedsHello && !j.DryRun
}

func (f *Flow) ask(h Hello) Judgement {
	if f.listener.cfg.Policy == nil {
		return Judgement{}
	}
	return f.listener.cfg.Policy(f.key(), f.peer, h)
}

// consult notes what the policy says. When it returns, whoever puts another policy in force from now on finds the flow
// judged, and asks Denied.
func (f *Flow) consult(h Hello) Judgement {
	for {
		j := f.ask(h)
		switch {
		case j == Judgement{}:
			f.judged.Store(withoutPolicy)
		case j.NeedsHello && !j.DryRun:
			f.judged.Store(nil)
			return j
		default:
			f.judged.Store(&judged{j, h})
		}
		if f.ask(h) == j {
			f.engine.countJudgement(&j)
			return j
		}
	}
}

func (e *Engine) countJudgement(j *Judgement) {
	switch {
	case j.Statement == "":
	case !j.Denied:
		e.policyAllowed.Add(1)
	case j.DryRun:
		e.policyDryRun.Add(1)
	default:
		e.policyDenied.Add(1)
	}
}

// judge asks the policy before a target is looked for. It reports false while the consumer's first bytes are waited
// for, and when the flow has ended.
func (f *Flow) judge(w *worker) (passed bool) {
	if stackDead(f.ep, false) {
		f.end(ReasonRefusedConsumerGone)
		return false
	}
	hello, read := Hello{}, false
	if f.unread == nil {
		j := f.consult(hello)
		if !j.NeedsHello {
			return f.pass(j)
		}
		f.unread = &unread{}
		if j.DryRun {
			return true // see observe
		}
		f.engine.startDial(f, f.engine.cfg.HelloTimeout)
	}
	if hello, read = f.readHello(w); !read {
		if f.engine.now() < time.Duration(f.dialDue.Load()) {
			return false
		}
		hello = Hello{Read: true, Unreadable: true}
	}
	f.unread = nil
	return f.pass(f.consult(hello))
}

func (f *Flow) pass(j Judgement) bool {
	if j.refuses() {
		f.end(ReasonRefusedPolicy)
		return false
	}
	return true
}

// observe asks a policy that is not enforced, on the way of the consumer's first bytes to the target. They are held
// back until they are whole. It reports false while they are, and when the flow has ended.
func (f *Flow) observe(w *worker) bool {
	hello, read := f.readHello(w)
	if !read {
		return false
	}
	f.unread = nil
	if j := f.consult(hello); j.refuses() {
		f.end(ReasonPolicyChanged) // it is enforced by now
		return false
	}
	return true
}

// readHello looks at the consumer's first bytes and leaves them where they are.
func (f *Flow) readHello(w *worker) (hello Hello, read bool) {
	// Asked first, so that no bytes come after a look that found the end.
	last := tcp.EndpointState(f.ep.State()) == tcp.StateCloseWait || f.unread.late
	size, err := f.ep.GetSockOptInt(tcpip.ReceiveQueueSizeOption)
	if err == nil && size < f.unread.need && !last {
		return Hello{}, false
	}
	w.first.n = 0
	if _, err := f.ep.Read(&w.first, tcpip.ReadOptions{Peek: true}); err != nil {
		_, empty := err.(*tcpip.ErrWouldBlock)
		return Hello{Read: true, Unreadable: true}, !empty
	}
	hello, f.unread.need = w.first.hello()
	if hello.Read || !last {
		return hello, hello.Read
	}
	return Hello{Read: true, Unreadable: true}, true
}
