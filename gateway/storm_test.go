package gateway

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"

	"causeway/gateway/spec"
	"causeway/tunnel"
	"causeway/tunnel/link"
)

// stormVPCs are as many VPCs with the same addresses. Each is the consumer of the next one's service, by
// two endpoints: one at an address that all have, one at an address of its own.
const stormVPCs = 64

// Addresses of every VPC of the storm. Besides, VPC n has an endpoint at 10.0.2.n, which leads to the same
// service, and its workload holds 10.0.3.n.
var (
	stormWorkload = addr("10.0.1.4") // where what the gateway answers is looked at
	stormBackend  = addr("10.0.1.5") // the VPC's target, and a client of its own
	stormMoving   = addr("10.0.1.12")
	stormResolver = addr("10.0.0.2")
)

func stormEndpoint(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 2, byte(n)}) }
func stormOwn(n int) netip.Addr      { return netip.AddrFrom4([4]byte{10, 0, 3, byte(n)}) }
func stormAccount(n int) string      { return fmt.Sprintf("accounts/a%02d", n) }
func stormVPC(n int) string          { return stormAccount(n) + "/vpcs/v" }

// stamp is what a client in VPC n says first, and stampOf what the service of VPC n answers.
func stamp(n int) string   { return fmt.Sprintf("vpc-%02d", n) }
func stampOf(n int) string { return fmt.Sprintf("service-%02d", n) }

func next(n int) int     { return (n + 1) % stormVPCs }
func previous(n int) int { return (n + stormVPCs - 1) % stormVPCs }

// storm is a gateway of many equal VPCs and all that is known to have crossed from one to another.
type storm struct {
	t *testing.T
	g gatewayUnderTest
	w world

	backends []*host
	wires    []*wire
	ports    []*link.Port
	live     []*gonet.TCPConn

	faults   atomic.Int64
	served   atomic.Int64 // connections of which a backend has read the stamp
	recorded atomic.Int64
}

// fault reports a crossing; the first few are told, the rest counted.
func (s *storm) fault(format string, args ...any) {
	if s.faults.Add(1) <= 20 {
		s.t.Errorf(format, args...)
	}
}

// TestIsolationStorm throws random packets at VPCs with equal addresses, as the WireGuard devices would hand
// them on: to endpoints of the VPC and of others, from spoofed sources, as ICMP errors and resets that quote
// other VPCs' flows, as DNS questions for their names. Meanwhile the configuration changes. Each packet bears
// its VPC's number. What comes back into a VPC answers a packet of that very VPC, a service hears its own
// consumers alone, no flow ends by what others send, and no line of the log or record names both one VPC and
// another that has nothing to do with it.
func TestIsolationStorm(t *testing.T) {
	packets := 1_000_000
	switch {
	case os.Getenv("SOAK") != "":
		packets = 100_000_000
	case testing.Short():
		packets = 50_000
	}
	s := newStorm(t)
	changes := max(3, packets/50_000) // one of each kind at least
	var changing, sent atomic.Int64
	changing.Store(1)
	var running sync.WaitGroup
	running.Go(func() { s.change(changes); changing.Store(0) })
	start := time.Now()
	const senders = 4
	for n := range senders {
		running.Go(func() {
			f := newForger(uint64(n))
			for sent.Load() < int64(packets) || changing.Load() > 0 {
				sent.Add(int64(s.send(f)))
			}
		})
	}
	running.Wait()
	took := time.Since(start)
	for n, c := range s.live {
		if err := ask(c, stampOf(next(n))); err != nil {
			t.Errorf("the flow of VPC %d did not survive the others' packets: %v", n, err)
		}
	}
	answers, data, names := s.answers()
	t.Logf("%d packets in %v, %d answers looked at, %d of data, %d of names, %d connections at backends, %d records, %d changes",
		sent.Load(), took, answers, data, names, s.served.Load(), s.recorded.Load(), changes)
	if n := s.faults.Load(); n > 0 {
		t.Errorf("%d crossings", n)
	}
	if least := int64(packets / 100); answers < least || data < least/20 || names < least/20 {
		t.Error("too few answers to have seen anything")
	}
}

func newStorm(t *testing.T) *storm {
	t.Helper()
	s := &storm{t: t}
	cfg := config(t, t.TempDir())
	cfg.Logger = slog.New(slog.NewTextHandler(logReader{s}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	cfg.OnRecord = s.record
	cfg.Forwarders = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")} // nobody knows what the VPC does not
	s.g = run(t, cfg)
	for n := range stormVPCs {
		s.addVPC(n)
	}
	s.addVPC(stormVPCs) // comes and goes
	s.g.apply(t, &s.w.Gateway)
	for n := range stormVPCs {
		s.backends[n].connect(t, s.g, uid("tep", n))
		s.backend(n)
		s.wires[n].connect(t, s.g, uid("tep", n))
		s.ports = append(s.ports, s.g.port(t, stormVPC(n), uid("tep", n)))
	}
	for n := range stormVPCs {
		s.live = append(s.live, s.open(n))
	}
	return s
}

// port is the way into a domain from one of its devices.
func (g gatewayUnderTest) port(t testing.TB, vpc, tunnelEndpoint string) *link.Port {
	t.Helper()
	if err := g.acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer g.release()
	return g.served.domains[vpc].tunnels[tunnelEndpoint].link
}

func (s *storm) addVPC(n int) {
	backend, own := newHost(stormBackend.String()), newWire(s, n)
	s.backends, s.wires = append(s.backends, backend), append(s.wires, own)
	s.w.addDomain(s.t, stormVPC(n), uid("tep", n), own.peer(), backend.peer(stormVPC(n)+"/subnets/a/attachments/backend", spec.Attachment))
	d := s.w.domain(stormVPC(n))
	d.Resolver = &spec.Resolver{Address: stormResolver}
	for k, at := range []netip.Addr{addr(endpointIP), stormEndpoint(n)} {
		e, iface := fmt.Sprintf("%s/endpoints/e%d", stormVPC(n), k), fmt.Sprintf("eni-%02d-%d", n, k)
		s.w.Endpoints = append(s.w.Endpoints, spec.Endpoint{
			Name: e, UID: "vpce-" + iface, Service: stormAccount(next(n)) + "/endpointServices/s",
			LoadBalancers: []string{stormAccount(next(n)) + "/loadBalancers/lb"},
			Bandwidth:     spec.Bandwidth{BaselineBPS: 10e9, MaximumBPS: 40e9},
			Interfaces:    []spec.NetworkInterface{{UID: iface, Zone: zone, Address: at}},
		})
		d.Exposures = append(d.Exposures, spec.Exposure{Interface: iface})
	}
	d.Resolver.Names = []spec.DNSName{{Name: stormName(n), Endpoint: s.w.Endpoints[len(s.w.Endpoints)-1].Name, Interfaces: []string{fmt.Sprintf("eni-%02d-1", n)}}}
	group := stormAccount(n) + "/targetGroups/g"
	s.w.TargetGroups = append(s.w.TargetGroups, spec.TargetGroup{
		Name: group, Domain: stormVPC(n), FailOpen: true, Targets: []spec.Registration{registration(stormBackend, 8080)},
		HealthCheck: spec.HealthCheck{Protocol: spec.TCP, Interval: 5 * time.Second, Timeout: 4 * time.Second, HealthyThreshold: 2, UnhealthyThreshold: 10},
	})
	s.w.LoadBalancers = append(s.w.LoadBalancers, spec.LoadBalancer{
		Name: stormAccount(n) + "/loadBalancers/lb", Domain: stormVPC(n), Nodes: []spec.Node{{Zone: zone, Address: addr(nodeIP)}},
		Listeners: []spec.Listener{{Port: 443, Protocol: spec.TCP, TargetGroup: group, IdleTimeout: 350 * time.Second}},
	})
}

// stormName is a name that only VPC n has.
func stormName(n int) string { return stamp(n) + ".example.com" }

// backend serves VPC n: it says who it is to whoever says the stamp of a VPC, which must be the one before.
func (s *storm) backend(n int) {
	serve(s.t, s.backends[n].listen(s.t, 8080), func(c net.Conn) {
		said := make([]byte, len(stamp(0)))
		if _, err := io.ReadFull(c, said); err != nil {
			return // a health check, or a client that went away
		}
		s.served.Add(1)
		if want := stamp(previous(n)); string(said) != want {
			s.fault("the service of VPC %d hears %q, want %q", n, said, want)
		}
		for {
			if _, err := c.Write([]byte(stampOf(n))); err != nil {
				return
			}
			if _, err := c.Read(said[:1]); err != nil {
				return
			}
		}
	})
}

// open begins a flow of VPC n that lives as long as the storm.
func (s *storm) open(n int) *gonet.TCPConn {
	c, err := s.backends[n].dial(s.t, serviceAt, stormLivePort(n), patience)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	if _, err := c.Write([]byte(stamp(n))); err != nil {
		s.t.Fatal(err)
	}
	got := make([]byte, len(stampOf(0)))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != stampOf(next(n)) {
		s.t.Fatalf("VPC %d hears %q (%v), want %q", n, got, err, stampOf(next(n)))
	}
	return c
}

func stormLivePort(n int) uint16 { return 50_000 + uint16(n) }

// change applies one configuration after another: an exposure and a whole VPC come and go, and an address moves
// between the peers of a VPC.
func (s *storm) change(times int) {
	random := rand.New(rand.NewPCG(1, 1))
	whole := s.w.Gateway
	for k := range times {
		w := whole
		w.Revision = whole.Revision + int64(k) + 1
		w.Domains = slices.Clone(whole.Domains)
		d := &w.Domains[random.IntN(stormVPCs)]
		switch k % 3 {
		case 0:
			d.Exposures, d.Resolver = d.Exposures[:1], &spec.Resolver{Address: stormResolver}
		case 1:
			d.TunnelEndpoints = slices.Clone(d.TunnelEndpoints)
			d.TunnelEndpoints[0].Peers = movePeers(d.TunnelEndpoints[0].Peers)
		case 2:
			w.Domains, w.Endpoints = w.Domains[:stormVPCs], w.Endpoints[:2*stormVPCs]
			w.LoadBalancers, w.TargetGroups = w.LoadBalancers[:stormVPCs], w.TargetGroups[:stormVPCs]
		}
		if err := s.g.Apply(s.t.Context(), w); err != nil {
			s.t.Error(err)
			return
		}
	}
}

// movePeers gives an address of the first peer to the second.
func movePeers(peers []spec.Peer) []spec.Peer {
	second := peers[1]
	second.AllowedIPs = append(second.AllowedIPs[:1:1], netip.PrefixFrom(stormMoving, 32))
	return []spec.Peer{peers[0], second}
}

// send forges a batch of packets of some VPC, injects it and gives its size.
func (s *storm) send(f *forger) int {
	n := f.random.IntN(stormVPCs)
	for k := range f.bufs {
		f.bufs[k] = f.forge(n, f.bufs[k])
	}
	if _, err := s.ports[n].Device().Write(f.bufs[:], 0); err != nil {
		s.fault("inject into VPC %d: %v", n, err)
	}
	return len(f.bufs)
}

// record looks at a flow record: it is of one VPC and the service that this one uses.
func (s *storm) record(r *spec.FlowRecord) {
	s.recorded.Add(1)
	s.apart(strings.Join([]string{r.Domain, r.Peer, r.Endpoint, r.Service, r.TargetGroup}, " "))
}

// logReader looks at the lines of the log.
type logReader struct{ *storm }

// Write implements io.Writer.
func (l logReader) Write(line []byte) (int, error) {
	l.apart(string(line))
	return len(line), nil
}

var stormNames = regexp.MustCompile(`accounts/a(\d\d)/`)

// apart fails the test if a text names two VPCs of which none uses the other's service.
func (s *storm) apart(text string) {
	var seen []int
	for _, found := range stormNames.FindAllStringSubmatch(text, -1) {
		n := int(found[1][0]-'0')*10 + int(found[1][1]-'0')
		for _, other := range seen {
			if n != other && n%stormVPCs != next(other%stormVPCs) && other%stormVPCs != next(n%stormVPCs) {
				s.fault("names VPC %d and VPC %d: %s", other, n, text)
				return
			}
		}
		seen = append(seen, n)
	}
}

func (s *storm) answers() (answers, data, names int64) {
	for _, w := range s.wires {
		answers += w.answers.Load()
		data += w.data.Load()
		names += w.names.Load()
	}
	return answers, data, names
}

// connect brings the wire's tunnel up and waits for its handshake.
func (w *wire) connect(t *testing.T, g gatewayUnderTest, uid string) {
	t.Helper()
	status := g.tunnelEndpoint(t, uid)
	device, err := tunnel.New(tunnel.Config{Name: "wire", PrivateKey: w.key, Listen: netip.MustParseAddrPort("127.0.0.1:0"), TUN: w})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { device.Close() })
	if err := device.SetPeers([]tunnel.Peer{{
		Name: "gateway", PublicKey: tunnel.Key(status.PublicKey), AllowedIPs: []netip.Prefix{prefix("0.0.0.0/0")},
		Endpoint: netip.MustParseAddrPort(status.Endpoint),
	}}); err != nil {
		t.Fatal(err)
	}
	if err := device.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "handshake", func() bool {
		s, err := device.Status()
		return err == nil && !s.Peers[0].LastHandshake.IsZero()
	})
}
