package domain

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"causeway/gateway/filter"
	"causeway/gateway/spec"
	"causeway/tunnel/link"
)

// bordered is a domain with one endpoint in a subnet of its own and one attachment in another, whose packets are
// carried by wire.
type bordered struct {
	*Domain
	client *Domain
	table  Table
}

func newBordered(t *testing.T) *bordered {
	t.Helper()
	b := &bordered{Domain: newDomain(t, Config{Name: "vpc"})}
	c, uplink := client(t, "10.0.0.5")
	b.client = c
	port := b.NewPort("device")
	wire(t, port, uplink)
	serve(t, b.Domain, port, "10.0.1.5:443")
	b.table = Table{
		Peers:     []Peer{{Name: "app", Port: port, Prefixes: prefixes("10.0.0.5/32")}},
		Exposures: []Exposure{{Address: addr("10.0.1.5"), Services: []Service{{443, always(true)}}}},
	}
	return b
}

// between puts consumer and exposure into subnets.
func (b *bordered) between(consumer, exposure *Subnet) {
	b.table.Peers[0].Subnet, b.table.Exposures[0].Subnet = consumer, exposure
	b.Publish(b.table)
}

func (b *bordered) connects(t *testing.T) bool {
	t.Helper()
	err := probe(t, b.client, "10.0.0.5", "10.0.1.5:443", 300*time.Millisecond)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("connect: %v, want silence", err)
	}
	return err == nil
}

// balance checks that what came in was delivered or is counted as dropped.
func (b *bordered) balance(t *testing.T) link.Counters {
	t.Helper()
	k := b.Counters()
	sum := k.DeliveredPackets
	for _, n := range k.InDrops {
		sum += n
	}
	if k.InPackets != sum {
		t.Errorf("%d packets in, %d delivered or dropped", k.InPackets, sum)
	}
	return k
}

func TestNetworkACLs(t *testing.T) {
	open := &Subnet{Name: "open", ACL: allowing("acl-open", allTraffic, allTraffic)}
	service := &Subnet{Name: "service", ACL: allowing("acl-service", tcpPorts(443, 443), tcpPorts(1024, 65535))}
	oneWay := &Subnet{Name: "one-way", ACL: allowing("acl-one-way", tcpPorts(443, 443), tcpPorts(443, 443))}
	consumer := &Subnet{Name: "consumer", ACL: allowing("acl-consumer", tcpPorts(1024, 65535), tcpPorts(443, 443))}
	deaf := &Subnet{Name: "deaf", ACL: allowing("acl-deaf", tcpPorts(443, 443), tcpPorts(443, 443))}
	closed := &Subnet{Name: "closed", ACL: allowing("acl-closed", tcpPorts(22, 22), allTraffic)}
	mute := &Subnet{Name: "mute", ACL: allowing("acl-mute", allTraffic, spec.Traffic{Protocol: link.ProtocolUDP, LastPort: 65535})}
	for _, tt := range []struct {
		name            string
		from, to        *Subnet
		connects        bool
		inDrop, outDrop bool
	}{
		{"OK no subnets", nil, nil, true, false, false},
		{"OK open", open, open, true, false, false},
		{"OK both", consumer, service, true, false, false},
		{"OK one", nil, service, true, false, false},
		{"OK within one subnet", mute, mute, true, false, false},
		{"bad SYN out of the consumer's subnet", mute, open, false, true, false},
		{"bad SYN into the exposure's subnet", open, closed, false, true, false},
		{"bad answer out of the exposure's subnet", consumer, oneWay, false, false, true},
		{"bad answer into the consumer's subnet", deaf, service, false, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBordered(t)
			b.between(tt.from, tt.to)
			if got := b.connects(t); got != tt.connects {
				t.Errorf("connects: %v", got)
			}
			k := b.balance(t)
			if (k.InDrops[link.ReasonNetworkACL] > 0) != tt.inDrop || (k.OutDrops[link.ReasonNetworkACL] > 0) != tt.outDrop {
				t.Errorf("%d dropped in, %d out", k.InDrops[link.ReasonNetworkACL], k.OutDrops[link.ReasonNetworkACL])
			}
			if tt.outDrop && k.DeliveredPackets == 0 {
				t.Error("the SYN was not delivered: what was dropped is no answer")
			}
		})
	}
}

// BenchmarkBorder judges a packet of a live connection among 1,000 peers and exposures, by ACLs of 40 rules of which the last
// matches.
func BenchmarkBorder(b *testing.B) {
	d := newDomain(b, Config{Name: "d"})
	port := d.NewPort("p")
	var rules []spec.ACLRule
	for i := range spec.MaxACLRules - 1 {
		rules = append(rules, spec.ACLRule{Number: i + 1, Prefix: prefixes("10.0.0.0/8")[0], Traffic: tcpPorts(uint16(i), uint16(i))})
	}
	rules = append(rules, spec.ACLRule{Number: 100, Allow: true, Prefix: prefixes("0.0.0.0/0")[0], Traffic: allTraffic})
	acl := filter.CompileACL(&spec.NetworkACL{Ingress: rules, Egress: rules})
	from, to := &Subnet{Name: "from", ACL: acl}, &Subnet{Name: "to", ACL: acl}
	var t Table
	for i := range 1000 {
		consumer, exposure := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		t.Peers = append(t.Peers, Peer{Name: "p", Port: port, Prefixes: []netip.Prefix{netip.PrefixFrom(consumer, 32)}, Subnet: from})
		t.Exposures = append(t.Exposures, Exposure{Address: exposure, Subnet: to, Services: []Service{{443, always(true)}}})
	}
	d.Publish(t)
	p := link.Packet{Protocol: link.ProtocolTCP, Source: addrPort("10.0.1.1:1000"), Destination: addrPort("10.1.1.1:443"), Port: port}
	b.ReportAllocs()
	for b.Loop() {
		if !(border{d}).Inbound(p).Accepted() {
			b.Fatal("refused")
		}
	}
}
