package endpoint

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
)

// tellAll echoes a whole stream once it has ended.
func tellAll(c net.Conn) {
	b, err := io.ReadAll(c)
	if err != nil {
		return
	}
	c.Write(b)
}

// TestPreface checks that a target gets what Preface says exactly once and before all that consumers send, and that
// the latter may look the same.
func TestPreface(t *testing.T) {
	preface := func(b []byte, f FlowKey, p Peer) ([]byte, error) {
		return fmt.Appendf(b, "<%v %v %s %s>", f.Consumer.Addr(), f.Exposure, p.Name, p.KeyFingerprint), nil
	}
	const want = "<10.0.1.10 10.0.1.4:443 attachments/app fp>"
	for name, dial := range map[string]func(*testing.T) (netip.AddrPort, Dialer){
		"kernel": func(t *testing.T) (netip.AddrPort, Dialer) {
			return backend(t, func(c *net.TCPConn) { tellAll(c) }), KernelDialer{}
		},
		"stack": func(t *testing.T) (netip.AddrPort, Dialer) {
			p := newProvider(t)
			return p.serve(t, tellAll), p.dialer()
		},
	} {
		t.Run(name, func(t *testing.T) {
			target, dialer := dial(t)
			r := newRig(t, rigOptions{})
			// The first target is gone: its connection has no part in what the second one sees.
			r.listen(&fixedTargets{addrs: []netip.AddrPort{closedPort(t), target}}, func(c *ListenerConfig) {
				c.Dialer, c.Preface = dialer, preface
			})
			var all sync.WaitGroup
			for range 20 {
				c := r.dial()
				all.Go(func() {
					deadline(c)
					c.Write([]byte(want + "payload"))
					c.CloseWrite()
					if got, err := io.ReadAll(c); err != nil || string(got) != want+want+"payload" {
						t.Errorf("target got %q, %v", got, err)
					}
				})
			}
			all.Wait()
			if rec := r.ended(20)[0]; rec.IngressBytes != uint64(len(want+"payload")) {
				t.Errorf("%d bytes counted, want the consumer's own %d", rec.IngressBytes, len(want+"payload"))
			}
		})
	}
}

func TestPrefaceFails(t *testing.T) {
	r := newRig(t, rigOptions{})
	targets := &fixedTargets{addrs: []netip.AddrPort{backend(t, hold)}}
	r.listen(targets, func(c *ListenerConfig) {
		c.Preface = func([]byte, FlowKey, Peer) ([]byte, error) { return nil, errors.New("no words") }
	})
	r.dial()
	if why := r.endReason(); why != ReasonRefusedTargetsFailed {
		t.Errorf("ended because %v, want %v", why, ReasonRefusedTargetsFailed)
	}
}
