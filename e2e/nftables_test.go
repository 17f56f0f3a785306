package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"causeway/e2e/lab"
	"causeway/gateway/filter"
	"causeway/gateway/spec"
)

// sentinel is the IP identification of the packet that ends a batch; smaller ones say by which rules to judge.
const sentinel = 65535

// TestRulesAgreeWithNftables sends random packets through the kernel's own packet filter, which has the same rules in its
// words, and compares with gateway/filter what comes out at the other end.
func TestRulesAgreeWithNftables(t *testing.T) {
	const sets, packets, batch = 400, 100_000, 250
	l := lab.New(t)
	router := l.Host("router")
	router.Sysctl("net.ipv4.ip_forward", "1")
	for _, device := range []string{"all", "default"} {
		router.Sysctl("net.ipv4.conf."+device+".rp_filter", "0")
	}
	in, out := openTUN(t, router, "in"), openTUN(t, router, "out")
	router.Run("ip", "route", "add", "default", "dev", "out")

	r := rand.New(rand.NewPCG(10, 20))
	rules := make([]ruleSet, sets)
	for i := range rules {
		rules[i] = newRuleSet(r)
	}
	if _, err := router.OutputStdin(t.Context(), nftScript(rules), "nft", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	verdicts := map[bool]int{}
	for sent := 0; sent < packets; sent += batch {
		want := make([]bool, batch)
		judged := make([]string, batch)
		for i := range batch {
			set := r.IntN(sets)
			p := randomPacket(r)
			want[i] = rules[set].admits(p)
			judged[i] = fmt.Sprintf("%+v by rules %d:\n%s", p, set, strings.Join(rules[set].nft, "\n"))
			write(t, in, encode(p, uint16(set), uint32(i)))
			verdicts[want[i]]++
		}
		write(t, in, encode(filter.Packet{Protocol: 6, Source: outside, Destination: outside}, sentinel, batch))
		got := arrivals(t, out, batch)
		for i := range batch {
			if got[i] != want[i] {
				t.Fatalf("nftables %v, we %v: %s", got[i], want[i], judged[i])
			}
		}
	}
	t.Logf("%d packets admitted, %d dropped, by %d sets of rules", verdicts[true], verdicts[false], sets)
	if verdicts[true] < packets/10 || verdicts[false] < packets/10 {
		t.Error("the test says little")
	}
}

var outside = netip.MustParseAddr("198.51.100.1")

// openTUN makes a TUN interface on a host, through which whole IP packets are written and read.
func openTUN(t *testing.T, h *lab.Host, name string) *os.File {
	t.Helper()
	var file *os.File
	err := h.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		request, err := unix.NewIfreq(name)
		if err == nil {
			request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
		}
		file = os.NewFile(uintptr(fd), name) // not before it is an interface: until then it cannot be polled
		return err
	})
	if file != nil {
		t.Cleanup(func() { file.Close() })
	}
	if err != nil {
		t.Fatalf("make TUN interface: %v", err)
	}
	h.Run("ip", "link", "set", name, "txqueuelen", "5000", "up") // a batch waits there to be read
	return file
}

func write(t *testing.T, to *os.File, packet []byte) {
	t.Helper()
	if _, err := to.Write(packet); err != nil {
		t.Fatalf("send packet: %v", err)
	}
}

// arrivals reads packets up to the sentinel and tells which have arrived.
func arrivals(t *testing.T, from *os.File, batch int) []bool {
	t.Helper()
	arrived := make([]bool, batch)
	if err := from.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2000)
	for {
		n, err := from.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the packet that ends the batch does not arrive")
		}
		if err != nil || n < packetLen {
			t.Fatalf("read packet of %d bytes: %v", n, err)
		}
		number := binary.BigEndian.Uint32(buf[packetLen-4:])
		if number == uint32(batch) {
			return arrived
		}
		if number > uint32(batch) {
			t.Fatalf("a packet that nobody sent: %x", buf[:n])
		}
		arrived[number] = true
	}
}

// packetLen is that of an IP header, the longest transport header in use, and a number.
const packetLen = 20 + 20 + 4

// encode makes an IPv4 packet. Transport checksums are left out: nobody on the way looks at them.
func encode(p filter.Packet, id uint16, number uint32) []byte {
	b := make([]byte, packetLen)
	b[0] = 0x45
	binary.BigEndian.PutUint16(b[2:], packetLen)
	binary.BigEndian.PutUint16(b[4:], id)
	b[6], b[8], b[9] = 0x40, 64, p.Protocol
	copy(b[12:], p.Source.AsSlice())
	copy(b[16:], p.Destination.AsSlice())
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum))
	switch transport := b[20:]; p.Protocol {
	case 1:
		transport[0], transport[1] = p.ICMPType, p.ICMPCode
	case 6:
		binary.BigEndian.PutUint16(transport[2:], p.Port)
		transport[12] = 5 << 4
	case 17:
		binary.BigEndian.PutUint16(transport[2:], p.Port)
		binary.BigEndian.PutUint16(transport[4:], packetLen-20)
	}
	binary.BigEndian.PutUint32(b[packetLen-4:], number)
	return b
}

// ruleSet is one direction of an ACL, or a security group, in our words and in those of nftables.
type ruleSet struct {
	admits func(filter.Packet) bool
	nft    []string
}

// newRuleSet makes ingress rules, egress rules or a group.
func newRuleSet(r *rand.Rand) ruleSet {
	if r.IntN(3) == 0 {
		return newGroup(r)
	}
	acl := spec.NetworkACL{}
	number := 0
	var list []spec.ACLRule
	for range r.IntN(spec.MaxACLRules + 1) {
		number += 1 + r.IntN(800)
		list = append(list, spec.ACLRule{Number: number, Allow: r.IntN(2) == 0, Prefix: randomPrefix(r), Traffic: randomTraffic(r)})
	}
	address := "saddr"
	rules := func(a *filter.ACL) *filter.Rules { return &a.Ingress }
	if r.IntN(2) == 0 {
		acl.Egress, address = list, "daddr"
		rules = func(a *filter.ACL) *filter.Rules { return &a.Egress }
	} else {
		acl.Ingress = list
	}
	if err := acl.Validate(); err != nil {
		panic(err)
	}
	compiled := rules(filter.CompileACL(&acl))
	set := ruleSet{admits: func(p filter.Packet) bool { return compiled.Decide(&p).Allow }}
	for _, rule := range list {
		verdict := "drop"
		if rule.Allow {
			verdict = "accept"
		}
		set.nft = append(set.nft, nftPrefix(address, rule.Prefix)+nftTraffic(rule.Traffic)+verdict)
	}
	return set
}

// members says of which groups the attachments at these addresses are members.
var members = map[netip.Addr][]string{
	netip.MustParseAddr("10.0.0.1"): {"a"}, netip.MustParseAddr("10.0.0.2"): {"a", "b"}, netip.MustParseAddr("10.0.1.3"): {"b"},
}

var nftMembers = map[string]string{"a": "ip saddr { 10.0.0.1, 10.0.0.2 } ", "b": "ip saddr { 10.0.0.2, 10.0.1.3 } "}

func newGroup(r *rand.Rand) ruleSet {
	group := spec.SecurityGroup{}
	set := ruleSet{}
	for range r.IntN(20) {
		rule := spec.GroupRule{Traffic: randomTraffic(r)}
		source := ""
		if r.IntN(2) == 0 {
			rule.Group = []string{"a", "b"}[r.IntN(2)]
			source = nftMembers[rule.Group]
		} else {
			rule.Prefix = randomPrefix(r)
			source = nftPrefix("saddr", rule.Prefix)
		}
		group.Ingress = append(group.Ingress, rule)
		set.nft = append(set.nft, source+nftTraffic(rule.Traffic)+"accept")
	}
	if err := group.Validate(); err != nil {
		panic(err)
	}
	compiled := filter.CompileGroup(&group)
	set.admits = func(p filter.Packet) bool {
		_, ok := compiled.Admits(&p, members[p.Source])
		return ok
	}
	return set
}

// nftScript has a chain for each set of rules, chosen by the packet's identification.
func nftScript(rules []ruleSet) string {
	var s, choice strings.Builder
	s.WriteString("table ip rules {\n")
	for i, set := range rules {
		fmt.Fprintf(&s, "chain set%d {\n%s\ndrop\n}\n", i, strings.Join(set.nft, "\n"))
		fmt.Fprintf(&choice, "%d : jump set%d, ", i, i)
	}
	fmt.Fprintf(&s, "chain in {\ntype filter hook prerouting priority raw; policy drop;\niifname != \"in\" accept\n")
	fmt.Fprintf(&s, "ip id vmap { %s%d : accept }\n}\n}\n", choice.String(), sentinel)
	return s.String()
}

func nftPrefix(field string, p netip.Prefix) string {
	if p.Bits() == 0 {
		return ""
	}
	return fmt.Sprintf("ip %s %v ", field, p)
}

func nftTraffic(t spec.Traffic) string {
	name := map[int]string{6: "tcp", 17: "udp"}[t.Protocol]
	switch {
	case t.Protocol == spec.AllProtocols:
		return ""
	case name == "" && (t.Protocol != 1 || t.ICMPType == spec.Any), t.FirstPort == 0 && t.LastPort == 65535:
		return fmt.Sprintf("ip protocol %d ", t.Protocol)
	case t.Protocol == 1 && t.ICMPCode == spec.Any:
		return fmt.Sprintf("icmp type %d ", t.ICMPType)
	case t.Protocol == 1:
		return fmt.Sprintf("icmp type %d icmp code %d ", t.ICMPType, t.ICMPCode)
	case t.FirstPort == t.LastPort:
		return fmt.Sprintf("%s dport %d ", name, t.FirstPort)
	}
	return fmt.Sprintf("%s dport %d-%d ", name, t.FirstPort, t.LastPort)
}

// What is random comes from few values, so that everything overlaps with everything.
var (
	someProtocols = []int{spec.AllProtocols, 6, 6, 6, 17, 17, 1, 47, 255}
	somePorts     = []uint16{0, 1, 22, 80, 443, 1023, 1024, 32768, 65534, 65535}
	someTypes     = []int{spec.Any, 0, 3, 8, 255}
)

// randomAddr is one that the kernel forwards to.
func randomAddr(r *rand.Rand) netip.Addr {
	if r.IntN(8) == 0 {
		return netip.AddrFrom4([4]byte{byte(1 + r.IntN(126)), byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256))})
	}
	return netip.AddrFrom4([4]byte{10, 0, byte(r.IntN(2)), byte(r.IntN(4))})
}

func randomPrefix(r *rand.Rand) netip.Prefix {
	p, _ := randomAddr(r).Prefix([]int{0, 0, 1, 8, 16, 24, 30, 31, 32}[r.IntN(9)])
	return p
}

func randomTraffic(r *rand.Rand) spec.Traffic {
	t := spec.Traffic{Protocol: someProtocols[r.IntN(len(someProtocols))]}
	switch t.Protocol {
	case 6, 17:
		a, b := somePorts[r.IntN(len(somePorts))], somePorts[r.IntN(len(somePorts))]
		t.FirstPort, t.LastPort = min(a, b), max(a, b)
	case 1:
		t.ICMPType, t.ICMPCode = someTypes[r.IntN(len(someTypes))], someTypes[r.IntN(len(someTypes))]
		if t.ICMPType == spec.Any {
			t.ICMPCode = spec.Any
		}
	}
	return t
}

func randomPacket(r *rand.Rand) filter.Packet {
	p := filter.Packet{Protocol: uint8(someProtocols[1+r.IntN(len(someProtocols)-1)]), Source: randomAddr(r), Destination: randomAddr(r)}
	switch p.Protocol {
	case 6, 17:
		p.Port = somePorts[r.IntN(len(somePorts))] + uint16(r.IntN(3)) - 1
	case 1:
		p.ICMPType, p.ICMPCode = uint8(max(0, someTypes[r.IntN(len(someTypes))])), uint8(r.IntN(10))
	}
	return p
}
