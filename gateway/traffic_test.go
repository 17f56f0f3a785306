package gateway

import (
	"net/netip"
	"testing"
	"time"

	"causeway/gateway/spec"
)

func TestTargetIsAttachment(t *testing.T) {
	cfg := config(t, t.TempDir())
	cfg.ListenAddress = netip.Addr{}
	g := run(t, cfg)
	var w world
	client, server := w.pair(t, 1)
	g.apply(t, &w.Gateway)
	name := connectPair(t, g, 1, client, server)
	c := client.open(t, serviceAt, name)
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	ended(t, c) // the service closes in turn: half-close goes both ways
}

func TestTargetIsUnderlay(t *testing.T) {
	l, at := underlay(t)
	answer(t, l, "underlay")
	g := run(t, config(t, t.TempDir()))
	var w world
	client := newHost("10.0.1.4")
	w.addDomain(t, consumer(1), uid("tepc", 1), client.peer("app", spec.Attachment))
	w.addDomain(t, provider(1), uid("tepp", 1))
	w.addService(1, at)
	w.addEndpoint(1)
	g.apply(t, &w.Gateway)
	client.connect(t, g, uid("tepc", 1))
	client.open(t, serviceAt, "underlay")
	eventually(t, "target healthy", func() bool { return g.Status().TargetGroups[0].Targets[0].State == spec.TargetHealthy })
}

// TestUnderlayIsGuarded asks for targets that no tenant may have; health checks and connections must both refuse them.
func TestUnderlayIsGuarded(t *testing.T) {
	l, at := underlay(t)
	answer(t, l, "underlay")
	loopback, err := netip.ParseAddrPort("127.0.0.1:22")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		target netip.AddrPort
		change func(*Config)
	}{
		"bad loopback":    {loopback, func(*Config) {}},
		"bad not allowed": {at, func(c *Config) { c.UnderlayAllow = []netip.Prefix{prefix("203.0.113.0/24")} }},
		"bad own":         {at, func(c *Config) { c.hostAddresses = c.systemAddresses }},
		"bad metadata":    {netip.MustParseAddrPort("169.254.169.254:80"), func(*Config) {}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t, t.TempDir())
			tt.change(&cfg)
			g := run(t, cfg)
			var w world
			client := newHost("10.0.1.4")
			w.addDomain(t, consumer(1), uid("tepc", 1), client.peer("app", spec.Attachment))
			w.addDomain(t, provider(1), uid("tepp", 1))
			w.addService(1, tt.target)
			w.addEndpoint(1)
			g.apply(t, &w.Gateway)
			client.connect(t, g, uid("tepc", 1))
			c, err := client.dial(t, serviceAt, 0, patience)
			if err == nil { // the handshake is the stack's; the reset follows
				ended(t, c)
				c.Close()
			}
			eventually(t, "probe refused", func() bool { return g.Status().TargetGroups[0].Targets[0].Description != "" })
			if s := g.Status().TargetGroups[0].Targets[0]; s.State == spec.TargetHealthy {
				t.Errorf("target is healthy: %+v", s)
			}
		})
	}
}

// TestDomainsAreApart gives many pairs the same addresses and the same 4-tuple at the same time.
func TestDomainsAreApart(t *testing.T) {
	pairs := 32 // 64 domains
	if testing.Short() {
		pairs = 4
	}
	g := run(t, config(t, t.TempDir()))
	var w world
	clients, servers := make([]*host, pairs), make([]*host, pairs)
	for i := range pairs {
		clients[i], servers[i] = w.pair(t, i)
	}
	g.apply(t, &w.Gateway)
	for i := range pairs {
		name := connectPair(t, g, i, clients[i], servers[i])
		c, err := clients[i].dial(t, serviceAt, 40000, patience)
		if err != nil {
			t.Fatalf("pair %d: %v", i, err)
		}
		t.Cleanup(func() { c.Close() })
		if err := ask(c, name); err != nil {
			t.Errorf("pair %d: %v", i, err)
		}
	}
	if n := g.stats().Active; n != int64(pairs) {
		t.Errorf("%d flows alive, want %d", n, pairs)
	}
}

func TestPeeredExposure(t *testing.T) {
	g := run(t, config(t, t.TempDir()))
	var w world
	client, server := w.pair(t, 1)
	app, site := newHost("10.1.0.4"), newHost("192.168.1.1")
	w.addDomain(t, "accounts/x/vpcs/peer", "tep-peer", app.peer("app", spec.Attachment), site.peer("site", spec.Tunnel))
	w.domain("accounts/x/vpcs/peer").Exposures = []spec.Exposure{{Interface: uid("eni", 1), Via: "accounts/x/peerings/p"}}
	g.apply(t, &w.Gateway)
	name := connectPair(t, g, 1, client, server)
	app.connect(t, g, "tep-peer")
	site.connect(t, g, "tep-peer")
	live := app.open(t, serviceAt, name)
	if c, err := site.dial(t, serviceAt, 0, 500*time.Millisecond); !isTimeout(err) {
		t.Errorf("a tunnel that is shut out: %v, %v; want silence", c, err)
	}
	own := client.open(t, serviceAt, name)

	w.domain("accounts/x/vpcs/peer").Exposures[0].Tunnels = true
	g.apply(t, &w.Gateway)
	tunnelled := site.open(t, serviceAt, name)

	w.domain("accounts/x/vpcs/peer").Exposures[0].Tunnels = false
	g.apply(t, &w.Gateway)
	ended(t, tunnelled)
	if err := ask(live, name); err != nil {
		t.Errorf("the attachment's flow ended with the tunnel's: %v", err)
	}

	w.domain("accounts/x/vpcs/peer").Exposures = nil
	g.apply(t, &w.Gateway)
	ended(t, live)
	if _, err := app.dial(t, serviceAt, 0, 500*time.Millisecond); !isTimeout(err) {
		t.Errorf("after the peering's end: %v, want silence", err)
	}
	if err := ask(own, name); err != nil {
		t.Errorf("the endpoint's own VPC lost its flow with the peering: %v", err)
	}
	if n := len(g.served.interfaces); n != 1 {
		t.Errorf("%d zone budgets for one network interface", n)
	}
}

// TestProviderCannotConnectBack tries everything a provider's attachment could reach a consumer by.
func TestProviderCannotConnectBack(t *testing.T) {
	g := run(t, config(t, t.TempDir()))
	var w world
	client, server := w.pair(t, 1)
	other := newHost("10.0.1.5")
	d := w.domain(provider(1))
	d.TunnelEndpoints[0].Peers = append(d.TunnelEndpoints[0].Peers, other.peer("other", spec.Attachment))
	g.apply(t, &w.Gateway)
	name := connectPair(t, g, 1, client, server)
	other.connect(t, g, uid("tepp", 1))
	answer(t, client.listen(t, 80), "consumer")
	answer(t, other.listen(t, 80), "other")
	client.open(t, serviceAt, name)
	// The flow's own source at the target is the node's address; try it, the consumer's, the endpoint's and a neighbour's.
	for _, to := range []string{nodeIP + ":80", nodeIP + ":443", nodeIP + ":8080", endpointIP + ":443", "10.0.1.4:80", "10.0.1.5:80"} {
		if to == "10.0.1.4:80" {
			continue // the provider's attachment has this very address: it would be speaking to itself
		}
		if c, err := server.dial(t, to, 0, 400*time.Millisecond); !isTimeout(err) {
			t.Errorf("from the target to %s: %v, %v; want silence", to, c, err)
		}
	}
	if _, err := other.dial(t, "10.0.1.4:80", 0, 400*time.Millisecond); !isTimeout(err) {
		t.Errorf("from a neighbour to the consumer's address: %v, want silence", err)
	}
}
