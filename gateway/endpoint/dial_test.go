package endpoint

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// closedPort returns a loopback port nobody listens on.
func closedPort(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// blackHole returns a loopback port whose accept queue is full: the kernel
// drops further SYNs without a word.
func blackHole(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(sa.(*unix.SockaddrInet4).Port))
	for { // until one no longer gets in
		c, err := net.DialTimeout("tcp4", addr.String(), 100*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { c.Close() })
	}
}

func TestDialOutcomes(t *testing.T) {
	good, refused, hole := backend(t, echo), closedPort(t), blackHole(t)
	other := backend(t, echo)
	denyGood := func(netip.Addr) error { return errors.New("denied") }
	// Long enough for a target that answers, on a busy machine too.
	timeouts := Config{DialTimeout: 1500 * time.Millisecond, DialTimeoutRetry: time.Second}
	for name, tt := range map[string]struct {
		targets []netip.AddrPort
		change  func(*ListenerConfig)
		refused Reason // or the flow works
		reports []string
		failed  uint64
	}{
		"OK first target": {
			targets: []netip.AddrPort{good, other},
			reports: []string{fmt.Sprintf("%v true", good)},
		},
		"OK after a refusal": {
			targets: []netip.AddrPort{refused, good},
			reports: []string{fmt.Sprintf("%v false", refused), fmt.Sprintf("%v true", good)},
			failed:  1,
		},
		"OK after a black hole": {
			targets: []netip.AddrPort{hole, good},
			reports: []string{fmt.Sprintf("%v false", hole), fmt.Sprintf("%v true", good)},
			failed:  1,
		},
		"bad lone black hole": {
			targets: []netip.AddrPort{hole},
			refused: ReasonRefusedTargetsFailed,
			reports: []string{fmt.Sprintf("%v false", hole)},
			failed:  1,
		},
		"bad all refuse": {
			targets: []netip.AddrPort{refused, closedPort(t)},
			refused: ReasonRefusedTargetsFailed,
			failed:  2,
		},
		"bad no target": {
			refused: ReasonRefusedNoTarget,
		},
		"bad target denied by guard": {
			targets: []netip.AddrPort{good},
			change:  func(c *ListenerConfig) { c.Guard = denyGood },
			refused: ReasonRefusedTargetGuard,
		},
		"bad unknown peer": {
			targets: []netip.AddrPort{good},
			change:  func(c *ListenerConfig) { c.Peer = func(netip.Addr) (Peer, bool) { return Peer{}, false } },
			refused: ReasonRefusedUnknownPeer,
		},
		"bad not admitted": {
			targets: []netip.AddrPort{good},
			change:  func(c *ListenerConfig) { c.Admit = func(FlowKey) error { return errors.New("policy") } },
			refused: ReasonRefusedNotAdmitted,
		},
		"bad source address not ours": {
			targets: []netip.AddrPort{good},
			change: func(c *ListenerConfig) {
				c.Dialer = KernelDialer{Sources: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
			},
			refused: ReasonRefusedTargetsFailed,
			failed:  1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{engine: timeouts})
			targets := &fixedTargets{addrs: tt.targets}
			r.listen(targets, tt.change)
			c := r.dial()
			deadline(c)
			if _, err := c.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 5)
			n, err := c.Read(b)
			if tt.refused == ReasonNone {
				if err != nil || string(b[:n]) != "hello" {
					t.Fatalf("read %q, %v", b[:n], err)
				}
				c.CloseWrite()
				if why := r.endReason(); why != ReasonCompleted {
					t.Errorf("ended because %v", why)
				}
			} else {
				if !isReset(err) {
					t.Errorf("read: %v, want a reset", err)
				}
				if why := r.endReason(); why != tt.refused {
					t.Errorf("refused because %v, want %v", why, tt.refused)
				}
			}
			if s := r.engine.Stats(); s.DialsFailed != tt.failed || s.Dialling != 0 {
				t.Errorf("dials failed %d, under way %d; want %d, 0", s.DialsFailed, s.Dialling, tt.failed)
			}
			targets.mu.Lock()
			defer targets.mu.Unlock()
			if tt.reports != nil && !slices.Equal(targets.reports, tt.reports) {
				t.Errorf("reports = %v, want %v", targets.reports, tt.reports)
			}
		})
	}
}

func TestGuardSeesTheAddressDialled(t *testing.T) {
	first, second := backend(t, echo), backend(t, echo)
	var seen []netip.Addr
	r := newRig(t, rigOptions{})
	r.listen(&fixedTargets{addrs: []netip.AddrPort{first, second}}, func(c *ListenerConfig) {
		c.Guard = func(a netip.Addr) error {
			if seen = append(seen, a); len(seen) == 1 {
				return errors.New("denied")
			}
			return nil
		}
	})
	c := r.dial()
	c.CloseWrite()
	if rec := r.ended(1)[0]; rec.Target != second || len(seen) != 2 || seen[0] != first.Addr() {
		t.Errorf("connected to %v after %v, want %v", rec.Target, seen, second)
	}
}

func TestConsumerLeavesWhileDialling(t *testing.T) {
	r := newRig(t, rigOptions{engine: Config{DialTimeout: time.Hour, DialTimeoutRetry: time.Hour}})
	r.listen(&fixedTargets{addrs: []netip.AddrPort{blackHole(t)}}, nil)
	ep := r.dialEndpoint()
	eventually(t, "a dial is under way", func() bool { return r.engine.Stats().Dialling == 1 })
	ep.Abort()
	if why := r.endReason(); why != ReasonRefusedConsumerGone {
		t.Errorf("ended because %v", why)
	}
}

func TestDialLimits(t *testing.T) {
	for name, tt := range map[string]struct {
		limits DomainLimits
		want   Reason
	}{
		"bad over the domain's limit": {DomainLimits{Dials: 3, DialsPerClient: -1}, ReasonRefusedDomainDials},
		"bad over the client's limit": {DomainLimits{Dials: 30, DialsPerClient: 3}, ReasonRefusedClientDials},
		"bad over the flows":          {DomainLimits{Flows: 3}, ReasonRefusedDomainFlows},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{
				engine: Config{DialTimeout: time.Hour, DialTimeoutRetry: time.Hour},
				domain: tt.limits,
			})
			r.listen(&fixedTargets{addrs: []netip.AddrPort{blackHole(t)}}, nil)
			for range 3 {
				r.dial()
			}
			eventually(t, "three dials are under way", func() bool { return r.domain.Usage().Dials == 3 })
			if got, want := r.domain.Usage(), (DomainUsage{Flows: 3, Dials: 3, DialingClients: 1}); got != want {
				t.Errorf("usage = %+v, want %+v", got, want)
			}
			c := r.dial()
			deadline(c)
			if _, err := c.Read(make([]byte, 1)); !isReset(err) {
				t.Errorf("read: %v, want a reset", err)
			}
			if why := r.endReason(); why != tt.want {
				t.Errorf("refused because %v, want %v", why, tt.want)
			}
			if got := r.engine.Stats().Interfaces["eni-1"].Refused; got != 1 {
				t.Errorf("refused at the interface = %d, want 1", got)
			}
		})
	}
}

func TestDefaultDomainLimits(t *testing.T) {
	d := NewDomain("d", DomainLimits{})
	if d.limits.Dials != 1024 || d.limits.DialsPerClient != 682 || d.Name() != "d" {
		t.Errorf("limits = %+v", d.limits)
	}
}
