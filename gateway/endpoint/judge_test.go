package endpoint

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
)

const (
	goodName = "reports.s3.us-east-1.amazonaws.com"
	badName  = "secrets.s3.us-east-1.amazonaws.com"
)

// byName is a policy that allows one server name, perhaps on trial.
func byName(dryRun bool) func(*ListenerConfig) {
	return func(c *ListenerConfig) {
		c.Zone = "us-east-1a"
		c.Policy = func(_ FlowKey, p Peer, h Hello) Judgement {
			switch {
			case p.Name != "attachments/app":
				return Judgement{Statement: "unknown-peer", Denied: true}
			case !h.Read:
				return Judgement{NeedsHello: true, DryRun: dryRun}
			case h.TLS && h.ServerName == goodName:
				return Judgement{Statement: "good", DryRun: dryRun}
			}
			return Judgement{Statement: "implicit-deny", Denied: true, DryRun: dryRun}
		}
	}
}

// helloFor is what package tls sends first.
func helloFor(t testing.TB, serverName string) []byte {
	t.Helper()
	r := &onlySends{}
	if err := tls.Client(r, &tls.Config{ServerName: serverName}).HandshakeContext(context.Background()); !errors.Is(err, io.ErrClosedPipe) {
		t.Fatal(err)
	}
	return r.sent.Bytes()
}

type onlySends struct {
	net.Conn
	sent bytes.Buffer
}

func (c *onlySends) Write(b []byte) (int, error) {
	c.sent.Write(b)
	return 0, io.ErrClosedPipe
}

// listensIn is a target that counts its connections and keeps what it gets.
type listensIn struct {
	at          netip.AddrPort
	connections atomic.Int64

	mu  sync.Mutex
	got bytes.Buffer
}

func newListensIn(t testing.TB, greeting string) *listensIn {
	l := &listensIn{}
	l.at = backend(t, func(c *net.TCPConn) {
		l.connections.Add(1)
		_, _ = c.Write([]byte(greeting))
		_, _ = io.Copy(l, struct{ io.Reader }{c})
	})
	return l
}

func (l *listensIn) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.got.Write(b)
}

func (l *listensIn) received() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.got.Bytes())
}

// isEnded waits for a reset of the consumer's connection.
func isEnded(t testing.TB, c *gonet.TCPConn) {
	t.Helper()
	deadline(c)
	if _, err := io.Copy(io.Discard, c); !isReset(err) {
		t.Errorf("connection ends with %v, not by a reset", err)
	}
}

func TestPolicyDeniesBeforeDialling(t *testing.T) {
	target := newListensIn(t, "")
	r := newRig(t, rigOptions{})
	r.listen(&fixedTargets{addrs: []netip.AddrPort{target.at}}, func(c *ListenerConfig) {
		c.Zone = "us-east-1a"
		c.Policy = func(FlowKey, Peer, Hello) Judgement { return Judgement{Statement: "no-entry", Denied: true} }
	})
	isEnded(t, r.dial())
	got := r.ended(1)[0]
	if got.Reason != ReasonRefusedPolicy || got.Statement != "no-entry" || !got.Denied || got.DryRun || got.Zone != "us-east-1a" {
		t.Errorf("record %+v", got)
	}
	if n := target.connections.Load(); n != 0 {
		t.Errorf("target was dialled %d times", n)
	}
	if s := r.engine.Stats(); s.PolicyDenied != 1 || s.PolicyAllowed != 0 || s.Ended[ReasonRefusedPolicy] != 1 || s.Interfaces["eni-1"].Opened != 0 {
		t.Errorf("counters %+v", s)
	}
}

// A ClientHello comes in pieces. The target is dialled after the last of them, and gets every byte.
func TestPolicyReadsServerName(t *testing.T) {
	for name, piece := range map[string]int{"whole": 1 << 20, "in two": 700, "byte by byte": 1} {
		t.Run(name, func(t *testing.T) {
			target := newListensIn(t, "")
			r := newRig(t, rigOptions{})
			r.listen(&fixedTargets{addrs: []netip.AddrPort{target.at}}, byName(false))
			c := r.dial()
			hello := helloFor(t, goodName)
			for b := hello; len(b) > 0; {
				n := min(piece, len(b))
				if len(b) == n {
					eventually(t, "the wait counts as a dial", func() bool { return r.domain.Usage().Dials == 1 })
					if n := target.connections.Load(); n != 0 {
						t.Errorf("%d connections to the target before the decision", n)
					}
				}
				if _, err := c.Write(b[:n]); err != nil {
					t.Fatal(err)
				}
				b = b[n:]
			}
			if _, err := c.Write([]byte("after")); err != nil {
				t.Fatal(err)
			}
			want := append(bytes.Clone(hello), "after"...)
			eventually(t, "the target has every byte", func() bool { return len(target.received()) >= len(want) })
			if !bytes.Equal(target.received(), want) {
				t.Error("the target got other bytes than were sent")
			}
			if got := r.engine.Flows()[0]; got.Statement != "good" || got.ServerName != goodName || got.Denied {
				t.Errorf("record %+v", got)
			}
			if s := r.engine.Stats(); s.PolicyAllowed != 1 || s.Dialling != 0 {
				t.Errorf("counters %+v", s)
			}
		})
	}
}

// Whatever is no ClientHello with the right name is reset, and the target hears nothing of it.
func TestPolicyResetsOthers(t *testing.T) {
	good := helloFor(t, goodName)
	for name, send := range map[string]func(*gonet.TCPConn) error{
		"another name": func(c *gonet.TCPConn) error { _, err := c.Write(helloFor(t, badName)); return err },
		"HTTP":         func(c *gonet.TCPConn) error { _, err := c.Write([]byte("GET / HTTP/1.1\r\n\r\n")); return err },
		"alert, then hello": func(c *gonet.TCPConn) error {
			_, err := c.Write(append([]byte{21, 3, 1, 0, 2, 1, 0}, good...))
			return err
		},
		"half a hello": func(c *gonet.TCPConn) error { _, err := c.Write(good[:100]); return err },
		"nothing":      func(*gonet.TCPConn) error { return nil },
		"half and the end": func(c *gonet.TCPConn) error {
			_, err := c.Write(good[:100])
			return errors.Join(err, c.CloseWrite())
		},
		"only the end": func(c *gonet.TCPConn) error { return c.CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			target := newListensIn(t, "hello")
			r := newRig(t, rigOptions{engine: Config{HelloTimeout: 300 * time.Millisecond}})
			r.listen(&fixedTargets{addrs: []netip.AddrPort{target.at}}, byName(false))
			c := r.dial()
			if err := send(c); err != nil {
				t.Fatal(err)
			}
			isEnded(t, c)
			if got := r.ended(1)[0]; got.Reason != ReasonRefusedPolicy || got.Statement != "implicit-deny" || !got.Denied {
				t.Errorf("record %+v", got)
			}
			if n := target.connections.Load(); n != 0 {
				t.Errorf("target was dialled %d times", n)
			}
		})
	}
}

// A policy on trial holds nothing up: not a target that speaks first, nor a hello in pieces; and it changes no byte.
func TestPolicyOnTrial(t *testing.T) {
	good, bad := helloFor(t, goodName), helloFor(t, badName)
	for name, tt := range map[string]struct {
		sent      []byte
		statement string
		denied    bool
		server    string
	}{
		"good name": {good, "good", false, goodName},
		"bad name":  {bad, "implicit-deny", true, badName},
		"not TLS":   {[]byte("QUIT\r\n"), "implicit-deny", true, ""},
		"nothing":   {nil, "implicit-deny", true, ""},
		"half":      {good[:200], "implicit-deny", true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			target := newListensIn(t, "220 ready")
			r := newRig(t, rigOptions{engine: Config{SweepInterval: 50 * time.Millisecond}})
			r.listen(&fixedTargets{addrs: []netip.AddrPort{target.at}}, byName(true))
			c := r.dial()
			deadline(c)
			greeting := make([]byte, 9)
			if _, err := io.ReadFull(c, greeting); err != nil {
				t.Fatalf("the target's greeting: %v", err)
			}
			for _, part := range [][]byte{tt.sent[:len(tt.sent)/2], tt.sent[len(tt.sent)/2:]} {
				if _, err := c.Write(part); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "the target has every byte", func() bool { return bytes.Equal(target.received(), tt.sent) })
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			got := r.ended(1)[0]
			if got.Reason != ReasonCompleted || got.Statement != tt.statement || got.Denied != tt.denied || !got.DryRun || got.ServerName != tt.server {
				t.Errorf("record %+v", got)
			}
			if s := r.engine.Stats(); (s.PolicyDryRun == 1) != tt.denied || s.PolicyDenied != 0 {
				t.Errorf("counters %+v", s)
			}
		})
	}
}

// The same first bytes tell the name to the policy and shake hands with a listener that ends TLS.
func TestPolicyWithTLSEnded(t *testing.T) {
	target := newListensIn(t, "")
	r := newRig(t, rigOptions{})
	ending, client := terminating(t, goodName, badName)
	r.listen(&fixedTargets{addrs: []netip.AddrPort{target.at}}, func(c *ListenerConfig) {
		ending(c)
		byName(false)(c)
	})
	c := r.greetTLS(client)
	if _, err := c.Write([]byte("plain")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the target has the plain bytes", func() bool { return string(target.received()) == "plain" })
	client.ServerName = badName
	if err := r.shake(client); err == nil {
		t.Error("shook hands for another name")
	}
	if got := r.ended(1)[0]; got.Reason != ReasonRefusedPolicy || got.ServerName != badName {
		t.Errorf("record %+v", got)
	}
}

// Denied asks the policy of now, and knows what was read.
func TestPolicyIsAskedAgain(t *testing.T) {
	target := newListensIn(t, "")
	r := newRig(t, rigOptions{})
	var policy atomic.Pointer[func(*ListenerConfig)]
	set := func(p func(*ListenerConfig)) { policy.Store(&p) }
	r.listen(&fixedTargets{addrs: []netip.AddrPort{target.at}}, func(c *ListenerConfig) {
		c.Policy = func(f FlowKey, p Peer, h Hello) Judgement {
			var now ListenerConfig
			(*policy.Load())(&now)
			if now.Policy == nil {
				return Judgement{}
			}
			return now.Policy(f, p, h)
		}
	})
	denied := func() int { return r.engine.CloseWhere((*Flow).Denied, ReasonPolicyChanged) }

	set(byName(false))
	if _, err := r.dial().Write(helloFor(t, goodName)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one flow is open", func() bool { return r.engine.Stats().Opened == 1 })
	waiting := r.dial()
	eventually(t, "another is waiting", func() bool { return r.engine.Stats().Active == 2 })
	if n := denied(); n != 0 {
		t.Errorf("%d flows ended under the policy that let them be", n)
	}
	set(func(*ListenerConfig) {})
	if n := denied(); n != 0 {
		t.Errorf("%d flows ended without policy", n)
	}
	if _, err := waiting.Write([]byte("anything")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the waiting one is open", func() bool { return r.engine.Stats().Opened == 2 })
	// Of the third, no first bytes were read: nothing tells that the policy allows it.
	r.dial()
	eventually(t, "a third one is open", func() bool { return r.engine.Stats().Opened == 3 })
	set(byName(true))
	if n := denied(); n != 0 {
		t.Errorf("%d flows ended for a policy on trial", n)
	}
	set(byName(false))
	if n := denied(); n != 2 {
		t.Errorf("%d flows ended, want the two of which nothing is known", n)
	}
	if got := r.engine.Flows(); len(got) != 1 || got[0].ServerName != goodName {
		t.Errorf("left are %+v", got)
	}
}
