package gateway

import (
	"io"
	"net/netip"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"

	"causeway/gateway/spec"
	"causeway/tunnel/link"
)

// silence is how long a test waits for what must not come.
const silence = 400 * time.Millisecond

var everywhere = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

func tcpPorts(first, last uint16) spec.Traffic {
	return spec.Traffic{Protocol: 6, FirstPort: first, LastPort: last}
}

func allow(number int, t spec.Traffic) spec.ACLRule {
	return spec.ACLRule{Number: number, Allow: true, Prefix: everywhere, Traffic: t}
}

// subnet adds a subnet, or changes its ACL to one with these rules.
func (w *world) subnet(name string, in, out []spec.ACLRule) {
	acl := "acl-" + name
	for i := range w.NetworkACLs {
		if w.NetworkACLs[i].Name == acl {
			w.NetworkACLs[i] = spec.NetworkACL{Name: acl, Ingress: in, Egress: out}
			return
		}
	}
	w.NetworkACLs = append(w.NetworkACLs, spec.NetworkACL{Name: acl, Ingress: in, Egress: out})
	w.Subnets = append(w.Subnets, spec.Subnet{Name: name, NetworkACL: acl})
}

func (w *world) peerOf(domain string) *spec.Peer {
	return &w.domain(domain).TunnelEndpoints[0].Peers[0]
}

// counters are those of a domain; what came in must be delivered or counted as dropped.
func (g gatewayUnderTest) counters(t testing.TB, name string) link.Counters {
	t.Helper()
	for _, d := range g.view.Load().domains {
		if d.Name() != name {
			continue
		}
		var k link.Counters
		eventually(t, "packets in = delivered + drops", func() bool {
			k = d.Counters()
			sum := k.DeliveredPackets
			for _, n := range k.InDrops {
				sum += n
			}
			return k.InPackets == sum
		})
		return k
	}
	t.Fatalf("no domain %q", name)
	return link.Counters{}
}

// aclDrops are the packets of a domain that network ACLs denied.
func (g gatewayUnderTest) aclDrops(t testing.TB, name string) (in, out uint64) {
	t.Helper()
	k := g.counters(t, name)
	return k.InDrops[link.ReasonNetworkACL], k.OutDrops[link.ReasonNetworkACL]
}

// silent expects that a connection is not answered at all.
func (h *host) silent(t testing.TB, to string) {
	t.Helper()
	c, err := h.dial(t, to, 0, silence)
	if err == nil {
		c.Close()
	}
	if !isTimeout(err) {
		t.Errorf("connect to %s: %v, want silence", to, err)
	}
}

// ephemeral and https are what AWS has both ends of a connection allow.
var (
	ephemeral = tcpPorts(1024, 65535)
	https     = tcpPorts(443, 443)
	all       = spec.Traffic{Protocol: spec.AllProtocols}
)

// TestNetworkACLJudgesLiveFlows takes the ephemeral ports out of the way back, and puts them in again.
func TestNetworkACLJudgesLiveFlows(t *testing.T) {
	g := run(t, config(t, t.TempDir()))
	var w world
	client, server := w.pair(t, 1)
	w.subnet("a", []spec.ACLRule{allow(100, ephemeral)}, []spec.ACLRule{allow(100, https)})
	w.subnet("b", []spec.ACLRule{allow(100, https)}, []spec.ACLRule{allow(100, ephemeral)})
	w.peerOf(consumer(1)).Subnet = "a"
	w.Endpoints[0].Interfaces[0].Subnet = "b"
	g.apply(t, &w.Gateway)
	name := connectPair(t, g, 1, client, server)
	live := client.open(t, serviceAt, name)
	if in, out := g.aclDrops(t, consumer(1)); in+out != 0 {
		t.Fatalf("%d packets dropped inbound and %d outbound by rules that allow them", in, out)
	}

	w.subnet("b", []spec.ACLRule{allow(100, https)}, []spec.ACLRule{allow(100, tcpPorts(1024, 1024))})
	g.apply(t, &w.Gateway)
	if err := askWithin(live, name, silence); err == nil {
		t.Error("a live flow passes an ACL that denies its answers")
	}
	before := g.counters(t, consumer(1))
	client.silent(t, serviceAt)
	k := g.counters(t, consumer(1))
	if k.InDrops[link.ReasonNetworkACL] != 0 || k.DeliveredPackets == before.DeliveredPackets {
		t.Errorf("the SYN is not let in: %d dropped", k.InDrops[link.ReasonNetworkACL])
	}
	if k.OutDrops[link.ReasonNetworkACL] == before.OutDrops[link.ReasonNetworkACL] {
		t.Error("the answer to the SYN is not dropped")
	}
	if n := g.stats().Active; n < 1 {
		t.Error("the live flow was ended")
	}

	w.subnet("b", []spec.ACLRule{allow(100, https)}, []spec.ACLRule{allow(100, ephemeral)})
	g.apply(t, &w.Gateway)
	answered(t, live, name)
	client.open(t, serviceAt, name)
}

// answered waits for the answer to what was asked before.
func answered(t testing.TB, c *gonet.TCPConn, want string) {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("the live flow does not go on: %q, %v", got, err)
	}
}

func TestNetworkACLIsNotAppliedWithinASubnet(t *testing.T) {
	g := run(t, config(t, t.TempDir()))
	var w world
	client, server := w.pair(t, 1)
	w.subnet("closed", nil, nil)
	w.peerOf(consumer(1)).Subnet = "closed"
	w.Endpoints[0].Interfaces[0].Subnet = "closed"
	g.apply(t, &w.Gateway)
	name := connectPair(t, g, 1, client, server)
	client.open(t, serviceAt, name)
	w.peerOf(consumer(1)).Subnet = ""
	g.apply(t, &w.Gateway)
	client.silent(t, serviceAt)
}

// TestNetworkACLOfAPeeredVPC: the subnets of a peered consumer and of the exposure both count; a tunnel is in none.
func TestNetworkACLOfAPeeredVPC(t *testing.T) {
	g := run(t, config(t, t.TempDir()))
	var w world
	_, server := w.pair(t, 1)
	app, site := newHost("10.1.0.4"), newHost("192.168.1.1")
	const peer = "accounts/x/vpcs/peer"
	w.addDomain(t, peer, "tep-peer", app.peer("app", spec.Attachment), site.peer("site", spec.Tunnel))
	w.domain(peer).Exposures = []spec.Exposure{{Interface: uid("eni", 1), Via: "accounts/x/peerings/p", Tunnels: true}}
	onlySite := allow(100, https)
	onlySite.Prefix = prefix("192.168.0.0/16")
	w.subnet("b", []spec.ACLRule{onlySite}, []spec.ACLRule{allow(100, ephemeral)})
	w.subnet("x", []spec.ACLRule{allow(100, all)}, []spec.ACLRule{allow(100, all)})
	w.Endpoints[0].Interfaces[0].Subnet = "b"
	w.peerOf(peer).Subnet = "x"
	g.apply(t, &w.Gateway)
	server.connect(t, g, uid("tepp", 1))
	answer(t, server.listen(t, 8080), "service")
	app.connect(t, g, "tep-peer")
	site.connect(t, g, "tep-peer")
	site.open(t, serviceAt, "service")
	app.silent(t, serviceAt)
	if in, _ := g.aclDrops(t, peer); in == 0 {
		t.Error("no packet is counted as dropped")
	}
	w.subnet("b", []spec.ACLRule{allow(100, https)}, []spec.ACLRule{allow(100, ephemeral)})
	g.apply(t, &w.Gateway)
	app.open(t, serviceAt, "service")
	w.subnet("x", nil, []spec.ACLRule{allow(100, all)})
	g.apply(t, &w.Gateway)
	app.silent(t, serviceAt)
	site.open(t, serviceAt, "service")
}

// TestNetworkACLsTowardsTargets: between a node and a target the subnets of both count, for health checks as well.
func TestNetworkACLsTowardsTargets(t *testing.T) {
	g := run(t, config(t, t.TempDir()))
	var w world
	client, server := w.pair(t, 1)
	w.TargetGroups[0].FailOpen = false
	toTarget, toNode := []spec.ACLRule{allow(100, tcpPorts(8080, 8080))}, []spec.ACLRule{allow(100, ephemeral)}
	w.subnet("node", toNode, toTarget)
	w.subnet("target", toTarget, toNode)
	w.LoadBalancers[0].Nodes[0].Subnet = "node"
	w.peerOf(provider(1)).Subnet = "target"
	g.apply(t, &w.Gateway)
	name := connectPair(t, g, 1, client, server)
	state := func() spec.TargetState { return g.Status().TargetGroups[0].Targets[0].State }
	healthy := func() bool { return state() == spec.TargetHealthy }
	unhealthy := func() bool { return state() == spec.TargetUnhealthy }
	eventually(t, "target healthy", healthy)
	client.open(t, serviceAt, name)

	for _, tt := range []struct {
		name, subnet string
		in, out      []spec.ACLRule
		dropsIn      bool
	}{
		{"out of the node's subnet", "node", toNode, nil, false},
		{"into the target's subnet", "target", nil, toNode, false},
		{"answer out of the target's subnet", "target", toTarget, nil, true},
		{"answer into the node's subnet", "node", nil, toTarget, true},
	} {
		inBefore, outBefore := g.aclDrops(t, provider(1))
		w.subnet(tt.subnet, tt.in, tt.out)
		g.apply(t, &w.Gateway)
		eventually(t, "target unhealthy: "+tt.name, unhealthy)
		in, out := g.aclDrops(t, provider(1))
		if (in > inBefore) != tt.dropsIn || (out > outBefore) == tt.dropsIn {
			t.Errorf("%s: %d dropped inbound, %d outbound", tt.name, in-inBefore, out-outBefore)
		}
		w.subnet("node", toNode, toTarget)
		w.subnet("target", toTarget, toNode)
		g.apply(t, &w.Gateway)
		eventually(t, "target healthy again", healthy)
	}

	w.subnet("node", nil, nil) // a subnet that nothing leaves or enters
	w.peerOf(provider(1)).Subnet = "node"
	g.apply(t, &w.Gateway)
	client.open(t, serviceAt, name)
	w.peerOf(provider(1)).Subnet, w.peerOf(provider(1)).Kind = "", spec.Tunnel // the node's subnet alone is left
	g.apply(t, &w.Gateway)
	eventually(t, "target behind a tunnel unhealthy", unhealthy)
	w.subnet("node", toNode, toTarget)
	g.apply(t, &w.Gateway)
	eventually(t, "target behind a tunnel healthy", healthy)
	client.open(t, serviceAt, name)
}

// TestSecurityGroups: they judge who begins a connection, and leave those alone that have begun.
func TestSecurityGroups(t *testing.T) {
	g := run(t, config(t, t.TempDir()))
	var w world
	client, server := w.pair(t, 1)
	other := newHost("10.0.1.5")
	endpoints := w.domain(consumer(1)).TunnelEndpoints
	endpoints[0].Peers = append(endpoints[0].Peers, other.peer("other", spec.Attachment))
	clients := func(rules ...spec.GroupRule) {
		w.SecurityGroups = []spec.SecurityGroup{{Name: "clients"}, {Name: "guard", Ingress: rules}}
		g.apply(t, &w.Gateway)
	}
	byGroup := spec.GroupRule{Traffic: https, Group: "clients"}
	byPrefix := spec.GroupRule{Traffic: https, Prefix: prefix("10.0.1.5/32")}
	w.peerOf(consumer(1)).SecurityGroups = []string{"clients"}
	w.Endpoints[0].SecurityGroups = []string{"guard"}
	clients(byGroup)
	name := connectPair(t, g, 1, client, server)
	other.connect(t, g, uid("tepc", 1))

	live := client.open(t, serviceAt, name)
	other.silent(t, serviceAt)
	k := g.counters(t, consumer(1))
	if k.InDrops[link.ReasonSecurityGroup] == 0 || k.Resets != 0 {
		t.Errorf("%d dropped by the security group, %d resets", k.InDrops[link.ReasonSecurityGroup], k.Resets)
	}
	clients(byPrefix)
	other.open(t, serviceAt, name)
	client.silent(t, serviceAt)
	if err := ask(live, name); err != nil {
		t.Errorf("a connection that was admitted: %v", err)
	}
	clients()
	client.silent(t, serviceAt)
	if err := ask(live, name); err != nil {
		t.Errorf("a connection that was admitted: %v", err)
	}
	w.Endpoints[0].SecurityGroups = nil
	clients()
	client.open(t, serviceAt, name)
	other.open(t, serviceAt, name)
}

// TestSecurityGroupOverAPeering: members of a group may be attachments of another VPC.
func TestSecurityGroupOverAPeering(t *testing.T) {
	g := run(t, config(t, t.TempDir()))
	var w world
	_, server := w.pair(t, 1)
	member, stranger := newHost("10.1.0.4"), newHost("10.1.0.5")
	const peer = "accounts/x/vpcs/peer"
	w.addDomain(t, peer, "tep-peer", member.peer("member", spec.Attachment), stranger.peer("stranger", spec.Attachment))
	w.domain(peer).Exposures = []spec.Exposure{{Interface: uid("eni", 1), Via: "accounts/x/peerings/p"}}
	w.SecurityGroups = []spec.SecurityGroup{
		{Name: peer + "/securityGroups/apps"},
		{Name: "guard", Ingress: []spec.GroupRule{{Traffic: https, Group: peer + "/securityGroups/apps"}}},
	}
	w.peerOf(peer).SecurityGroups = []string{peer + "/securityGroups/apps"}
	w.Endpoints[0].SecurityGroups = []string{"guard"}
	g.apply(t, &w.Gateway)
	server.connect(t, g, uid("tepp", 1))
	answer(t, server.listen(t, 8080), "service")
	member.connect(t, g, "tep-peer")
	stranger.connect(t, g, "tep-peer")
	member.open(t, serviceAt, "service")
	stranger.silent(t, serviceAt)
	if n := g.counters(t, peer).InDrops[link.ReasonSecurityGroup]; n == 0 {
		t.Error("no packet is counted as dropped")
	}
}

// TestRulesAreCompiledOnce: what did not change is the same value in the next spec.
func TestRulesAreCompiledOnce(t *testing.T) {
	s := &spec.Gateway{
		Subnets:        []spec.Subnet{{Name: "a", NetworkACL: "x"}, {Name: "b", NetworkACL: "y"}},
		NetworkACLs:    []spec.NetworkACL{{Name: "x"}, {Name: "y"}},
		SecurityGroups: []spec.SecurityGroup{{Name: "g"}, {Name: "h"}},
	}
	first := (&rules{}).next(s)
	changed := *s
	changed.NetworkACLs = []spec.NetworkACL{{Name: "x"}, {Name: "y", Egress: []spec.ACLRule{allow(1, all)}}}
	changed.SecurityGroups = []spec.SecurityGroup{{Name: "g"}, {Name: "h", Ingress: []spec.GroupRule{{Traffic: all, Group: "g"}}}}
	second := first.next(&changed)
	if first.subnets["a"] != second.subnets["a"] || first.groups["g"].group != second.groups["g"].group {
		t.Error("what did not change was compiled again")
	}
	if first.subnets["b"] == second.subnets["b"] || first.groups["h"].group == second.groups["h"].group {
		t.Error("a change was overlooked")
	}
}
