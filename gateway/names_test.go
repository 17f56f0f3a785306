package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"causeway/gateway/balance"
	"causeway/gateway/domain"
	"causeway/gateway/spec"
)

const (
	resolverAt = "10.0.0.2:53"
	inboundAt  = "10.0.1.53:53"
	private    = "kinesis.us-east-1.example"
	publicIP   = "192.0.2.80"
)

func regional(i int) string {
	return fmt.Sprintf("vpce-%017d-abcdefgh.vpce-svc-1.us-east-1.vpce.causeway.internal", i)
}

// addResolver gives consumer i a resolver, a regional name and a private one.
func (w *world) addResolver(i int) *spec.Resolver {
	endpoint := fmt.Sprintf("%s/endpoints/e", consumer(i))
	w.domain(consumer(i)).Resolver = &spec.Resolver{
		Address: addr("10.0.0.2"),
		Inbound: []spec.InboundAddress{{UID: uid("in", i), Zone: zone, Address: addr("10.0.1.53")}},
		Names: []spec.DNSName{
			{Name: private, Endpoint: endpoint, Interfaces: []string{uid("eni", i)}, Probed: true},
			{Name: regional(i), Endpoint: endpoint, Interfaces: []string{uid("eni", i)}},
		},
	}
	return w.domain(consumer(i)).Resolver
}

// asks lets answers of resolvers in to a host that serves nothing itself.
func (h *host) asks() {
	h.domain.Publish(domain.Table{Peers: []domain.Peer{h.uplink}, Resolvers: []domain.Resolver{{Address: h.addr, Tunnels: true}}})
}

// lookup asks a resolver for the addresses of a name.
func (h *host) lookup(t testing.TB, server, name, network string, limit time.Duration) (*dns.Msg, error) {
	t.Helper()
	var c net.Conn
	var err error
	if network == "udp" {
		c, err = h.domain.DialPacket(h.addr, netip.MustParseAddrPort(server))
	} else {
		c, err = h.dial(t, server, 0, limit)
	}
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		return nil, err
	}
	conn := &dns.Conn{Conn: c}
	if err := conn.WriteMsg(new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA)); err != nil {
		return nil, err
	}
	return conn.ReadMsg()
}

// resolves tells whether a name has exactly these addresses, and else what it has.
func (h *host) resolves(t testing.TB, server, name, network string, want ...string) (got string, ok bool) {
	t.Helper()
	m, err := h.lookup(t, server, name, network, time.Second)
	if err != nil {
		return err.Error(), false
	}
	var list []string
	for _, rr := range m.Answer {
		if a, ok := rr.(*dns.A); ok {
			list = append(list, a.A.String())
		}
	}
	slices.Sort(list)
	return fmt.Sprintf("%s %v", dns.RcodeToString[m.Rcode], list), slices.Equal(list, want)
}

func (h *host) mustResolve(t testing.TB, server, name, network string, want ...string) {
	t.Helper()
	var got string
	ok := false
	deadline := time.Now().Add(patience)
	for !ok && time.Now().Before(deadline) {
		got, ok = h.resolves(t, server, name, network, want...)
	}
	if !ok {
		t.Fatalf("%s at %s over %s is %s, want %v", name, server, network, got, want)
	}
}

// nameServer runs a name server that has one address for every name.
func nameServer(t testing.TB, c net.PacketConn, address string) netip.AddrPort {
	t.Helper()
	started := make(chan struct{})
	s := &dns.Server{PacketConn: c, NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 0}, A: net.ParseIP(address),
			}}
		}
		_ = w.WriteMsg(m) // a client that is gone asks no more
	})}
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.ActivateAndServe(); err != nil {
			t.Errorf("name server: %v", err)
		}
	})
	<-started
	t.Cleanup(func() {
		_ = s.Shutdown()
		running.Wait()
	})
	if a, ok := c.LocalAddr().(*net.UDPAddr); ok {
		return a.AddrPort()
	}
	return netip.AddrPort{}
}

func (g gatewayUnderTest) nameServing(t testing.TB, i int) (serving bool, reason string) {
	t.Helper()
	for _, n := range g.Status().Names {
		if n.Domain == consumer(i) && n.Name == private {
			return n.Serving, n.Reason
		}
	}
	t.Fatalf("no status of %s in %s", private, consumer(i))
	return false, ""
}

func loopbackUDP(t testing.TB) net.PacketConn {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestNamesOfTwoVPCs has the same private name lead to another endpoint in each of two VPCs, to the public address where it
// is withdrawn, and back.
func TestNamesOfTwoVPCs(t *testing.T) {
	cfg := config(t, t.TempDir())
	cfg.Forwarders = []netip.AddrPort{nameServer(t, loopbackUDP(t), publicIP)}
	g := run(t, cfg)
	var w world
	client1, server1 := w.pair(t, 1)
	client2, server2 := w.pair(t, 2)
	w.Endpoints[1].Interfaces[0].Address = addr("10.0.1.11")
	w.addResolver(1)
	w.addResolver(2)
	g.apply(t, &w.Gateway)
	connectPair(t, g, 2, client2, server2)
	client1.connect(t, g, uid("tepc", 1))
	client1.asks()
	client2.asks()

	client2.mustResolve(t, resolverAt, private, "udp", "10.0.1.11")
	client1.mustResolve(t, resolverAt, private, "udp", publicIP) // its endpoint has no target yet
	client1.mustResolve(t, resolverAt, regional(1), "udp", "10.0.1.10")
	if got, ok := client1.resolves(t, resolverAt, regional(2), "udp"); !ok || !strings.HasPrefix(got, "NXDOMAIN") {
		t.Errorf("the other VPC's name is %s", got)
	}
	if serving, why := g.nameServing(t, 1); serving || why == "" {
		t.Errorf("status of a name without a target: %v, %q", serving, why)
	}
	server1.connect(t, g, uid("tepp", 1))
	l := server1.listen(t, 8080)
	answer(t, l, "one")
	for _, network := range []string{"udp", "tcp"} {
		client1.mustResolve(t, resolverAt, private, network, "10.0.1.10")
		client1.mustResolve(t, inboundAt, private, network, "10.0.1.10")
		client1.mustResolve(t, resolverAt, regional(1), network, "10.0.1.10")
		client1.mustResolve(t, resolverAt, "www.example", network, publicIP)
		client2.mustResolve(t, resolverAt, private, network, "10.0.1.11")
	}
	if serving, why := g.nameServing(t, 1); !serving {
		t.Errorf("status of a name that is answered: %s", why)
	}
	client1.open(t, "10.0.1.10:443", "one")

	server1.suffer(refuses)
	client1.mustResolve(t, resolverAt, private, "udp", publicIP)
	if serving, why := g.nameServing(t, 1); serving || why != notHealthy {
		t.Errorf("status of a name that is withdrawn: %v, %q", serving, why)
	}
	client1.mustResolve(t, resolverAt, regional(1), "udp", "10.0.1.10") // never empty
	client2.mustResolve(t, resolverAt, private, "udp", "10.0.1.11")
	server1.suffer(accepts)
	client1.mustResolve(t, resolverAt, private, "udp", "10.0.1.10")

	k := g.served.domains[consumer(1)].domain.Counters()
	drops := uint64(0)
	for _, n := range k.InDrops {
		drops += n
	}
	if k.InPackets != k.DeliveredPackets+drops {
		t.Errorf("%d packets in, %d delivered, %d dropped", k.InPackets, k.DeliveredPackets, drops)
	}
}

// TestWhoMayAsk has tunnels ask at inbound addresses only, and a resolver that is gone answer nobody.
func TestWhoMayAsk(t *testing.T) {
	cfg := config(t, t.TempDir())
	cfg.Forwarders = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}
	g := run(t, cfg)
	var w world
	app, _ := w.pair(t, 1)
	site := newHost("192.168.1.4")
	peers := &w.domain(consumer(1)).TunnelEndpoints[0].Peers
	*peers = append(*peers, site.peer("site", spec.Tunnel))
	w.addResolver(1)
	g.apply(t, &w.Gateway)
	for _, h := range []*host{app, site} {
		h.connect(t, g, uid("tepc", 1))
		h.asks()
	}
	for _, network := range []string{"udp", "tcp"} {
		app.mustResolve(t, resolverAt, regional(1), network, "10.0.1.10")
		site.mustResolve(t, inboundAt, regional(1), network, "10.0.1.10")
		if m, err := site.lookup(t, resolverAt, regional(1), network, 200*time.Millisecond); err == nil {
			t.Errorf("a site is answered over %s: %v", network, m)
		}
	}
	// Nobody else answers, and that is told at once.
	begin := time.Now()
	if m, err := app.lookup(t, resolverAt, "www.example", "udp", patience); err != nil || m.Rcode != dns.RcodeServerFailure || time.Since(begin) > 2*time.Second {
		t.Errorf("without forwarders: %v, %v after %v", m, err, time.Since(begin))
	}
	w.domain(consumer(1)).Resolver.Inbound = nil
	g.apply(t, &w.Gateway)
	app.mustResolve(t, resolverAt, regional(1), "udp", "10.0.1.10")
	if _, err := site.lookup(t, inboundAt, regional(1), "udp", 200*time.Millisecond); err == nil {
		t.Error("an inbound address that is gone answers")
	}
	w.domain(consumer(1)).Resolver = nil
	g.apply(t, &w.Gateway)
	if _, err := app.lookup(t, resolverAt, regional(1), "udp", 200*time.Millisecond); err == nil {
		t.Error("a resolver that is gone answers")
	}
}

// TestForwardRules sends questions to a name server of the VPC, and to none that a target could not be.
func TestForwardRules(t *testing.T) {
	cfg := config(t, t.TempDir())
	cfg.Forwarders = []netip.AddrPort{nameServer(t, loopbackUDP(t), publicIP)}
	cfg.UnderlayAllow = nil
	g := run(t, cfg)
	var w world
	app, _ := w.pair(t, 1)
	corp := newHost("192.168.1.53")
	peers := &w.domain(consumer(1)).TunnelEndpoints[0].Peers
	*peers = append(*peers, corp.peer("corp", spec.Tunnel))
	w.addResolver(1).Rules = []spec.ForwardRule{
		{Domain: "closed.example", Targets: []netip.AddrPort{netip.MustParseAddrPort("203.0.113.53:53")}},
		{Domain: "corp.example", Targets: []netip.AddrPort{netip.AddrPortFrom(corp.addr, 53)}},
		{Domain: "loop.example", Targets: []netip.AddrPort{netip.MustParseAddrPort(endpointIP + ":53")}},
		{Domain: "nobody.example", Targets: []netip.AddrPort{netip.MustParseAddrPort("10.0.9.9:53")}},
	}
	g.apply(t, &w.Gateway)
	for _, h := range []*host{app, corp} {
		h.connect(t, g, uid("tepc", 1))
		h.asks()
	}
	c, err := corp.domain.ListenPacket(netip.AddrPortFrom(corp.addr, 53))
	if err != nil {
		t.Fatal(err)
	}
	nameServer(t, c, "192.168.1.80")
	app.mustResolve(t, resolverAt, "mail.corp.example", "udp", "192.168.1.80")
	app.mustResolve(t, resolverAt, "www.example", "udp", publicIP)
	network := g.served.domains[consumer(1)].resolver.network
	for a, want := range map[string]error{
		endpointIP: errLoop, "10.0.0.2": errLoop, "10.0.1.53": errLoop, "203.0.113.53": balance.ErrNotAllowed,
		"127.0.0.1": balance.ErrHostScoped, "169.254.169.254": balance.ErrHostScoped, corp.addr.String(): nil, "10.0.9.9": nil,
	} {
		if _, err := network.check(addr(a)); !errors.Is(err, want) {
			t.Errorf("a name server at %s: %v, want %v", a, err, want)
		}
	}
	for _, name := range []string{"a.closed.example", "a.loop.example", "a.nobody.example"} {
		if m, err := app.lookup(t, resolverAt, name, "udp", patience); err != nil || m.Rcode != dns.RcodeServerFailure {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
}

// TestNameWaitsForAConnection has health checks succeed on another port than the service's.
func TestNameWaitsForAConnection(t *testing.T) {
	cfg := config(t, t.TempDir())
	cfg.Forwarders = []netip.AddrPort{nameServer(t, loopbackUDP(t), publicIP)}
	g := run(t, cfg)
	var w world
	app, server := w.pair(t, 1)
	w.TargetGroups[0].HealthCheck.Port = 80
	w.addResolver(1)
	g.apply(t, &w.Gateway)
	server.connect(t, g, uid("tepp", 1))
	answer(t, server.listen(t, 80), "health")
	app.connect(t, g, uid("tepc", 1))
	app.asks()
	eventually(t, "a probe fails", func() bool {
		serving, why := g.nameServing(t, 1)
		if serving {
			t.Fatal("the name is published though nothing serves")
		}
		return strings.Contains(why, "connection through the endpoint failed")
	})
	app.mustResolve(t, resolverAt, private, "udp", publicIP)
	answer(t, server.listen(t, 8080), "service")
	app.mustResolve(t, resolverAt, private, "udp", "10.0.1.10")
}

// TestNamesOutliveARestart has a published name be answered before health checks know anything, until they do.
func TestNamesOutliveARestart(t *testing.T) {
	dir := t.TempDir()
	g := run(t, config(t, dir))
	var w world
	app, server := w.pair(t, 1)
	w.addResolver(1)
	g.apply(t, &w.Gateway)
	connectPair(t, g, 1, app, server)
	eventually(t, "published", func() bool { serving, _ := g.nameServing(t, 1); return serving })
	eventually(t, "kept", func() bool {
		data, _ := os.ReadFile(g.probed.file)
		return strings.Contains(string(data), private)
	})
	g.stop()
	server.suffer(refuses)
	g = run(t, config(t, dir))
	<-g.ready
	if serving, why := g.nameServing(t, 1); !serving {
		t.Errorf("after a restart: %s", why)
	}
	eventually(t, "withdrawn", func() bool { serving, _ := g.nameServing(t, 1); return !serving })
}

// TestNamesAreKeptLater cannot write at first what is published.
func TestNamesAreKeptLater(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	g := &Gateway{log: slog.New(slog.DiscardHandler), probed: newProbedNames(filepath.Join(folder, "names.json"))}
	g.probed.name(nameKey{"d", private, "e"}).published.Store(true)
	g.keepNames()
	if err := os.Remove(folder); err != nil {
		t.Fatal(err)
	}
	g.keepNames()
	if data, err := os.ReadFile(g.probed.file); err != nil || !strings.Contains(string(data), private) {
		t.Errorf("kept %q, %v", data, err)
	}
}

// TestNetworkACLsAndTheResolver has a network ACL shut a subnet: its inbound address answers nobody, the resolver inside the
// VPC goes on.
func TestNetworkACLsAndTheResolver(t *testing.T) {
	g := run(t, config(t, t.TempDir()))
	var w world
	app, _ := w.pair(t, 1)
	w.Subnets = []spec.Subnet{{Name: "apps"}, {Name: "dns", NetworkACL: "shut"}}
	w.NetworkACLs = []spec.NetworkACL{{Name: "shut"}}
	w.domain(consumer(1)).TunnelEndpoints[0].Peers[0].Subnet = "apps"
	w.addResolver(1).Inbound[0].Subnet = "dns"
	g.apply(t, &w.Gateway)
	app.connect(t, g, uid("tepc", 1))
	app.asks()
	app.mustResolve(t, resolverAt, regional(1), "udp", "10.0.1.10")
	if m, err := app.lookup(t, inboundAt, regional(1), "udp", 300*time.Millisecond); err == nil {
		t.Errorf("the network ACL lets %v out", m)
	}
	w.NetworkACLs[0] = spec.NetworkACL{Name: "shut", Ingress: anything(), Egress: anything()}
	g.apply(t, &w.Gateway)
	app.mustResolve(t, inboundAt, regional(1), "udp", "10.0.1.10")
}

func anything() []spec.ACLRule {
	return []spec.ACLRule{{Number: 100, Allow: true, Prefix: prefix("0.0.0.0/0"), Traffic: spec.Traffic{Protocol: spec.AllProtocols}}}
}
