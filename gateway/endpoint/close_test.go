package endpoint

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// chatter exchanges bytes on c until it breaks, and returns how.
func chatter(c net.Conn) error {
	var both sync.WaitGroup
	var readErr, writeErr error
	both.Go(func() { _, readErr = io.Copy(io.Discard, c) })
	b := bytes.Repeat([]byte("x"), 10_000)
	for writeErr == nil {
		_, writeErr = c.Write(b)
	}
	both.Wait()
	if readErr == nil { // gVisor tells of the reset once
		return writeErr
	}
	return readErr
}

func TestCloseWhereEndsLiveFlows(t *testing.T) {
	var mu sync.Mutex
	var targetErrs []error
	target := backend(t, func(c *net.TCPConn) {
		_, err := io.Copy(c, c)
		mu.Lock()
		targetErrs = append(targetErrs, err)
		mu.Unlock()
	})
	r := newRig(t, rigOptions{})
	r.listen(&fixedTargets{addrs: []netip.AddrPort{target}}, nil)
	const flows = 8
	ended := make(chan error, flows)
	conns := map[netip.AddrPort]bool{}
	for range flows {
		c := r.dial()
		conns[netip.MustParseAddrPort(c.LocalAddr().String())] = true
		go func() { ended <- chatter(c) }()
	}
	eventually(t, "all flows carry bytes back", func() bool {
		n := 0
		for _, rec := range r.engine.Flows() {
			if rec.EgressBytes > 0 {
				n++
			}
		}
		return n == flows
	})
	odd := func(f *Flow) bool { return f.ID()%2 == 1 }
	if n := r.engine.CloseWhere(odd, ReasonPeeringDeleted); n != flows/2 {
		t.Fatalf("closed %d flows, want %d", n, flows/2)
	}
	if n := len(r.engine.Flows()); n != flows/2 {
		t.Errorf("%d flows live after CloseWhere returned, want %d", n, flows/2)
	}
	for range flows / 2 {
		if err := <-ended; !isReset(err) {
			t.Errorf("consumer read: %v, want a reset", err)
		}
	}
	eventually(t, "the targets are reset", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(targetErrs) == flows/2
	})
	mu.Lock()
	for _, err := range targetErrs {
		if !isReset(err) {
			t.Errorf("target read: %v, want a reset", err)
		}
	}
	mu.Unlock()
	s := r.engine.Stats()
	if s.Active != flows/2 || s.Ended[ReasonPeeringDeleted] != flows/2 || s.Interfaces["eni-1"].Active != flows/2 {
		t.Errorf("stats = %+v", s)
	}
	rec := r.ended(flows / 2)[0]
	if rec.Peer != "attachments/app" || rec.NetworkInterface != "eni-1" || rec.Domain != "vpc-test" ||
		rec.Target != target || !conns[rec.Consumer] || rec.Exposure != netip.AddrPortFrom(exposureAddr, servicePort) {
		t.Errorf("record = %+v", rec)
	}
	if n := r.engine.CloseWhere(func(*Flow) bool { return true }, ReasonEndpointDeleted); n != flows/2 {
		t.Errorf("closed %d of the rest, want %d", n, flows/2)
	}
	for range flows / 2 {
		<-ended
	}
}

func TestCloseWhereEndsDials(t *testing.T) {
	r := newRig(t, rigOptions{engine: Config{DialTimeout: time.Hour, DialTimeoutRetry: time.Hour}})
	r.listen(&fixedTargets{addrs: []netip.AddrPort{blackHole(t)}}, nil)
	c := r.dial()
	deadline(c)
	eventually(t, "a dial is under way", func() bool { return r.engine.Stats().Dialling == 1 })
	r.engine.CloseWhere(func(f *Flow) bool { return f.Consumer().Addr() == consumerAddr }, ReasonPeerRemoved)
	if u := r.domain.Usage(); u != (DomainUsage{}) {
		t.Errorf("domain still holds %+v", u)
	}
	if _, err := c.Read(make([]byte, 1)); !isReset(err) {
		t.Errorf("read: %v, want a reset", err)
	}
}

// TestCloseWhereConcurrently ends the same flows from many sides while more
// are opened; nobody may wait for ever and nothing may be counted twice.
func TestCloseWhereConcurrently(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.listen(&fixedTargets{addrs: []netip.AddrPort{backend(t, echo)}}, nil)
	const flows = 60
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range flows / 4 {
				c := r.dial()
				c.Write([]byte("hello"))
			}
		})
	}
	stop := make(chan struct{})
	var closers sync.WaitGroup
	for range 3 {
		closers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					r.engine.CloseWhere(func(*Flow) bool { return true }, ReasonEndpointDeleted)
				}
			}
		})
	}
	all.Wait()
	eventually(t, "all flows have ended", func() bool {
		return r.engine.Stats().Ended[ReasonEndpointDeleted] == flows
	})
	close(stop)
	closers.Wait()
	r.ended(flows)
}

func TestListenerClose(t *testing.T) {
	r := newRig(t, rigOptions{})
	targets := &fixedTargets{addrs: []netip.AddrPort{backend(t, echo)}}
	l := r.listen(targets, nil)
	c := r.dial()
	deadline(c)
	eventually(t, "the flow is open", func() bool { return r.engine.Stats().Opened == 1 })
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// The live flow goes on, and its interface is still counted.
	c.Write([]byte("hello"))
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if got := r.engine.Stats().Interfaces["eni-1"]; got.Active != 1 || got.IngressBytes != 5 || got.EgressBytes != 5 {
		t.Errorf("interface = %+v", got)
	}
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	if leg, err := (StackDialer{Stack: r.consumer, Sources: []netip.Addr{consumerAddr}, Ports: &SourcePorts{}}).Start(netip.AddrPortFrom(exposureAddr, servicePort)); err == nil {
		eventually(t, "a new connection is refused", func() bool { return stackDead(leg.ep, false) || ctx.Err() != nil })
		leg.Abort()
	}
	c.CloseWrite()
	r.ended(1)
	if got := r.engine.Stats().Interfaces; len(got) != 0 {
		t.Errorf("interfaces without listener or flow: %v", got)
	}
	r.listen(targets, nil) // the address is free again
}

func TestEngineCloseResetsFlows(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.listen(&fixedTargets{addrs: []netip.AddrPort{backend(t, echo)}}, nil)
	c := r.dial()
	deadline(c)
	c.Write([]byte("hello"))
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.engine.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Read(make([]byte, 1)); !isReset(err) {
		t.Errorf("read: %v, want a reset", err)
	}
	if why := r.endReason(); why != ReasonShutdown {
		t.Errorf("ended because %v", why)
	}
	if _, err := r.engine.Listen(ListenerConfig{}); err == nil {
		t.Error("listened without anything")
	}
	if err := r.engine.Run(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("second Run: %v, want ErrClosed", err)
	}
}

func TestEngineThatNeverRan(t *testing.T) {
	e, err := NewEngine(Config{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Run(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("Run: %v, want ErrClosed", err)
	}
	if _, err := NewEngine(Config{DialTimeout: -1}); err == nil {
		t.Error("accepted a negative timeout")
	}
}

func TestListenerConfigIsChecked(t *testing.T) {
	r := newRig(t, rigOptions{})
	targets := &fixedTargets{addrs: []netip.AddrPort{backend(t, echo)}}
	for name, spoil := range map[string]func(*ListenerConfig){
		"bad no queue":         func(c *ListenerConfig) { c.Queue = nil },
		"bad no exposure":      func(c *ListenerConfig) { c.Exposure = netip.AddrPort{} },
		"bad no domain":        func(c *ListenerConfig) { c.Domain = nil },
		"bad no targets":       func(c *ListenerConfig) { c.Targets = nil },
		"bad no dialer":        func(c *ListenerConfig) { c.Dialer = nil },
		"bad no guard":         func(c *ListenerConfig) { c.Guard = nil },
		"bad idle timeout":     func(c *ListenerConfig) { c.IdleTimeout = -1 },
		"bad nothing to serve": func(c *ListenerConfig) { c.Endpoint = nil },
	} {
		l := r.listen(targets, nil)
		cfg := l.cfg
		l.Close()
		spoil(&cfg)
		if _, err := r.engine.Listen(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestReasonNames(t *testing.T) {
	seen := map[string]bool{}
	for r := range ReasonCount {
		name := r.String()
		if name == "" || seen[name] {
			t.Errorf("reason %d is called %q", r, name)
		}
		seen[name] = true
		if r.Refused() != (len(name) > 8 && name[:8] == "refused_") {
			t.Errorf("%s: Refused = %t", name, r.Refused())
		}
	}
	if ReasonCount.String() != "unknown" || ReasonCount.Refused() {
		t.Error("a value out of range has a name")
	}
}

var _ tcpip.Payloader = (*fdPayload)(nil)
