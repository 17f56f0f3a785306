package gateway

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"causeway/gateway/domain"
	"causeway/gateway/spec"
)

// fault is what a target does to connections that begin.
type fault int

const (
	accepts fault = iota
	refuses
	hangs
)

// suffer makes a host treat connections that begin from now on; those that are there go on.
func (h *host) suffer(f fault) {
	table := domain.Table{Peers: []domain.Peer{h.uplink}}
	if f != hangs {
		available := func() bool { return f == accepts }
		table.Exposures = []domain.Exposure{{
			Address: h.addr, Tunnels: true, Services: []domain.Service{{Port: 8080, Available: available}},
		}}
	}
	h.domain.Publish(table)
}

// greet is a service that says its name once and closes.
func greet(t testing.TB, l net.Listener, name string) {
	t.Helper()
	serve(t, l, func(c net.Conn) {
		var b [1]byte
		if _, err := io.ReadFull(c, b[:]); err == nil {
			_, _ = io.WriteString(c, name)
		}
	})
}

// crew is a provider with several attachments as targets, greeting by their numbers.
type crew struct {
	world
	client *host
	hosts  []*host
}

func newCrew(t testing.TB, n int) *crew {
	t.Helper()
	c := &crew{}
	c.client, _ = c.pair(t, 1)
	group, peers := &c.TargetGroups[0], &c.domain(provider(1)).TunnelEndpoints[0].Peers
	group.Targets, *peers = nil, nil
	for i := range n {
		h := newHost(fmt.Sprintf("10.0.1.%d", 20+i))
		c.hosts = append(c.hosts, h)
		*peers = append(*peers, h.peer(fmt.Sprintf("target-%d", i), spec.Attachment))
		group.Targets = append(group.Targets, registration(h.addr, 8080))
	}
	return c
}

// connect brings all tunnels up and the services behind them.
func (c *crew) connect(t testing.TB, g gatewayUnderTest, service func(testing.TB, net.Listener, string)) {
	t.Helper()
	g.apply(t, &c.Gateway)
	for i, h := range c.hosts {
		h.connect(t, g, uid("tepp", 1))
		service(t, h.listen(t, 8080), fmt.Sprint(i))
	}
	c.client.connect(t, g, uid("tepc", 1))
	c.healthy(t, g, len(c.TargetGroups[0].Targets))
}

// healthy waits for a number of healthy targets.
func (c *crew) healthy(t testing.TB, g gatewayUnderTest, n int) {
	t.Helper()
	group := c.TargetGroups[0].Name
	eventually(t, fmt.Sprintf("%d targets healthy", n), func() bool { return g.pool.Group(group).Healthy() == n })
}

// visit makes one connection and returns who answered.
func (c *crew) visit(t testing.TB) (string, error) {
	conn, err := c.client.dial(t, serviceAt, 0, patience)
	if err != nil {
		return "", fmt.Errorf("connect: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte("?")); err != nil {
		return "", fmt.Errorf("ask: %w", err)
	}
	answer, err := io.ReadAll(conn)
	if err == nil && len(answer) == 0 {
		err = io.ErrUnexpectedEOF
	}
	return string(answer), err
}

// TestNoConnectionFailsWhileOneTargetIsHealthy lets four targets die, hang and come back at random, while a fifth on the
// underlay stays healthy. 10,000 connections, or 100,000 with SOAK set.
func TestNoConnectionFailsWhileOneTargetIsHealthy(t *testing.T) {
	total := int64(10_000)
	switch {
	case os.Getenv("SOAK") != "":
		total = 100_000
	case testing.Short():
		total = 1000
	}
	l, at := underlay(t)
	greet(t, l, "stable")
	g := run(t, config(t, t.TempDir()))
	c := newCrew(t, 4)
	c.TargetGroups[0].Targets = append(c.TargetGroups[0].Targets, registration(at.Addr(), at.Port()))
	c.connect(t, g, greet)
	done := make(chan struct{})
	var trouble, traffic sync.WaitGroup
	trouble.Go(func() { c.trouble(done) })
	var made, failed atomic.Int64
	var mu sync.Mutex
	by := map[string]int{}
	begun := time.Now()
	for range 64 {
		traffic.Go(func() {
			for made.Add(1) <= total {
				who, err := c.visit(t)
				if err != nil && failed.Add(1) < 10 {
					t.Errorf("connection: %v", err)
				}
				mu.Lock()
				by[who]++
				mu.Unlock()
			}
		})
	}
	traffic.Wait()
	took := time.Since(begun)
	close(done)
	trouble.Wait()
	stats := g.pool.Group(c.TargetGroups[0].Name).Stats()
	t.Logf("%d connections, %d failed, %.0f/s; by target %v; %d dials failed; %+v",
		total, failed.Load(), float64(total)/took.Seconds(), by, g.stats().DialsFailed, stats)
	if g.stats().DialsFailed == 0 || stats.Ejections == 0 || len(by) < 5 {
		t.Error("the targets' trouble was too little to say anything")
	}
}

// trouble changes what targets do, every 200 ms that of one.
func (c *crew) trouble(done <-chan struct{}) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	random := rand.New(rand.NewPCG(1, 2))
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			c.hosts[random.IntN(len(c.hosts))].suffer(fault(random.IntN(3)))
		}
	}
}

// TestFailOpen: targets that only their health checks find ill are used when the group fails open, and not otherwise.
func TestFailOpen(t *testing.T) {
	for _, failOpen := range []bool{true, false} {
		g := run(t, config(t, t.TempDir()))
		c := newCrew(t, 2)
		c.connect(t, g, greet)
		c.TargetGroups[0].HealthCheck.Port = 8443 // nothing listens there
		c.TargetGroups[0].FailOpen = failOpen
		g.apply(t, &c.Gateway)
		c.healthy(t, g, 0)
		if who, err := c.visit(t); (err == nil) != failOpen {
			t.Errorf("fail open %v: answered by %q, %v", failOpen, who, err)
		}
		g.stop()
	}
}

// TestWeightsAndStickiness counts who answers.
func TestWeightsAndStickiness(t *testing.T) {
	g := run(t, config(t, t.TempDir()))
	c := newCrew(t, 3)
	c.connect(t, g, greet)
	group := &c.TargetGroups[0]
	answers := func(weights ...int) map[string]int {
		for i, w := range weights {
			group.Targets[i].Weight = w
		}
		g.apply(t, &c.Gateway)
		by := map[string]int{}
		for range 400 {
			who, err := c.visit(t)
			if err != nil {
				t.Fatal(err)
			}
			by[who]++
		}
		return by
	}
	if by := answers(1, 3, 0); by["2"] != 0 || by["1"] < 250 || by["1"] > 350 {
		t.Errorf("weights 1, 3 and 0: %v", by)
	}
	if by := answers(0, 0, 1); by["2"] != 400 {
		t.Errorf("weights 0, 0 and 1: %v", by)
	}
	group.Sticky = true
	if by := answers(1, 1, 1); len(by) != 1 {
		t.Errorf("one consumer of a sticky group is answered by %v", by)
	}
}

// TestCrossZoneOff: an interface uses the targets of its zone and those without one, and is reset when none is healthy.
func TestCrossZoneOff(t *testing.T) {
	g := run(t, config(t, t.TempDir()))
	c := newCrew(t, 2)
	c.TargetGroups[0].Targets[0].Zone, c.TargetGroups[0].Targets[1].Zone = zone, "us-east-1b"
	c.connect(t, g, greet)
	for range 20 {
		if who, err := c.visit(t); err != nil || who != "0" {
			t.Fatalf("answered by %q, %v", who, err)
		}
	}
	c.hosts[0].suffer(refuses)
	c.healthy(t, g, 1)
	if conn, err := c.client.dial(t, serviceAt, 0, patience); err == nil || isTimeout(err) {
		t.Errorf("zone without a healthy target: %v, %v; want a reset", conn, err)
	}
	c.TargetGroups[0].CrossZone = true
	g.apply(t, &c.Gateway)
	if who, err := c.visit(t); err != nil || who != "1" {
		t.Errorf("across zones: answered by %q, %v", who, err)
	}
}

// flowTo opens a connection that a given target answers and that stays.
func (c *crew) flowTo(t testing.TB, want string) net.Conn {
	t.Helper()
	for range 100 {
		conn, err := c.client.dial(t, serviceAt, 0, patience)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if ask(conn, want) == nil {
			return conn
		}
	}
	t.Fatalf("no connection reaches target %s", want)
	return nil
}

// TestLostTargets looks at live flows of targets that become unhealthy or leave.
func TestLostTargets(t *testing.T) {
	for _, reset := range []bool{true, false} {
		t.Run(fmt.Sprintf("reset %v", reset), func(t *testing.T) {
			g := run(t, config(t, t.TempDir()))
			c := newCrew(t, 3)
			group := &c.TargetGroups[0]
			group.DeregistrationDelay, group.DeregistrationReset, group.UnhealthyReset = time.Second, reset, reset
			c.connect(t, g, answer)
			flows := []net.Conn{c.flowTo(t, "0"), c.flowTo(t, "1"), c.flowTo(t, "2")}
			c.hosts[0].suffer(refuses)
			c.healthy(t, g, 2)
			group.Targets = append([]spec.Registration{group.Targets[0]}, group.Targets[2])
			g.apply(t, &c.Gateway)
			if s := g.Status().TargetGroups[0].Targets; len(s) != 3 || s[2].State != spec.TargetDraining || s[2].Address != c.hosts[1].addr {
				t.Errorf("status %+v", s)
			}
			eventually(t, "drained", func() bool { return len(g.Status().TargetGroups[0].Targets) == 2 })
			for i, name := range []string{"0", "1", "2"} {
				if reset && i < 2 {
					ended(t, flows[i])
				} else if err := ask(flows[i], name); err != nil {
					t.Errorf("flow to target %s: %v", name, err)
				}
			}
			m := gather(t, g.Gateway)["causeway_flows_ended_total"]
			want := map[bool]float64{true: 1, false: 0}[reset]
			for _, why := range []string{"target_unhealthy", "target_removed"} {
				if n := value(m, "reason="+why); n < want || !reset && n > 0 {
					t.Errorf("%v flows ended for %s", n, why)
				}
			}
		})
	}
}

// TestResetsBeforeTheFirstByteEject: a target that accepts everything and resets it passes TCP health checks.
func TestResetsBeforeTheFirstByteEject(t *testing.T) {
	l, at := underlay(t)
	serve(t, l, func(c net.Conn) {
		var b [1]byte
		if _, err := c.Read(b[:]); err == nil {
			_ = c.(*net.TCPConn).SetLinger(0)
		}
	})
	g := run(t, config(t, t.TempDir()))
	c := newCrew(t, 1)
	c.TargetGroups[0].HealthCheck.HealthyThreshold = 10 // the first time, one is enough
	c.TargetGroups[0].Targets = append(c.TargetGroups[0].Targets, registration(at.Addr(), at.Port()))
	c.connect(t, g, greet)
	eventually(t, "ejected", func() bool {
		_, _ = c.visit(t)
		return g.pool.Group(c.TargetGroups[0].Name).Stats().Ejections == 1
	})
	for range 50 {
		if who, err := c.visit(t); err != nil || who != "0" {
			t.Fatalf("answered by %q, %v", who, err)
		}
	}
}
