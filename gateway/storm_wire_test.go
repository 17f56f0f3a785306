package gateway

import (
	"encoding/binary"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"golang.zx2c4.com/wireguard/tun"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"causeway/gateway/spec"
	"causeway/tunnel"
)

// wire is the end of the tunnel of a VPC's workload: it looks at everything that the gateway sends there, and
// goes on with a handshake now and then. It implements tun.Device.
type wire struct {
	storm  *storm
	vpc    int
	key    tunnel.PrivateKey
	events chan tun.Event
	closed chan struct{}
	close  sync.Once

	answers, data, names atomic.Int64
}

func newWire(s *storm, vpc int) *wire {
	return &wire{storm: s, vpc: vpc, key: tunnel.NewPrivateKey(), events: make(chan tun.Event), closed: make(chan struct{})}
}

func (w *wire) peer() spec.Peer {
	return spec.Peer{
		Name: stormVPC(w.vpc) + "/subnets/a/attachments/workload", Kind: spec.Attachment, PublicKey: spec.Key(w.key.Public()),
		AllowedIPs: []netip.Prefix{netip.PrefixFrom(stormWorkload, 32), prefix("10.0.1.8/29"), netip.PrefixFrom(stormOwn(w.vpc), 32)},
	}
}

func (w *wire) File() *os.File           { return nil }
func (w *wire) MTU() (int, error)        { return 1420, nil }
func (w *wire) Name() (string, error)    { return "wire", nil }
func (w *wire) Events() <-chan tun.Event { return w.events }
func (w *wire) BatchSize() int           { return 128 }

func (w *wire) Close() error {
	w.close.Do(func() { close(w.closed); close(w.events) })
	return nil
}

// Read waits for the end: whatever the workload sends is injected behind the gateway's device.
func (w *wire) Read([][]byte, []int, int) (int, error) {
	<-w.closed
	return 0, os.ErrClosed
}

func (w *wire) Write(bufs [][]byte, offset int) (int, error) {
	for _, b := range bufs {
		w.answers.Add(1)
		w.look(header.IPv4(b[offset:]))
	}
	return len(bufs), nil
}

// look holds that a packet answers one of this VPC.
func (w *wire) look(ip header.IPv4) {
	if from := addressOf(ip.SourceAddress()); from.As4()[2] == 2 && from != stormEndpoint(w.vpc) {
		w.storm.fault("VPC %d hears another's endpoint %v", w.vpc, from)
	}
	switch ip.TransportProtocol() {
	case header.TCPProtocolNumber:
		w.lookAtTCP(ip, header.TCP(ip.Payload()))
	case header.UDPProtocolNumber:
		w.lookAtDNS(header.UDP(ip.Payload()).Payload())
	case header.ICMPv4ProtocolNumber:
		if quoted := header.IPv4(header.ICMPv4(ip.Payload()).Payload()); int(quoted.ID()>>8) != w.vpc {
			w.storm.fault("VPC %d gets an ICMP error about a packet of VPC %d", w.vpc, quoted.ID()>>8)
		}
	default:
		w.storm.fault("VPC %d gets a packet of protocol %d", w.vpc, ip.TransportProtocol())
	}
}

// lookAtTCP finds the VPC's number in what a segment acknowledges, or in that of a reset without it: there it
// is what the offending segment acknowledged, unless that was one of [wire.answer].
func (w *wire) lookAtTCP(ip header.IPv4, seg header.TCP) {
	flags, stamped, known := seg.Flags(), seg.AckNumber(), true
	if !flags.Contains(header.TCPFlagAck) {
		stamped, known = seg.SequenceNumber(), !talks(seg.DestinationPort())
	}
	if known && int(stamped>>24) != w.vpc {
		w.storm.fault("VPC %d gets %v from %v in answer to VPC %d", w.vpc, flags, addressOf(ip.SourceAddress()), stamped>>24)
	}
	payload := seg.Payload()
	switch {
	case len(payload) > 0:
		w.data.Add(1)
		if want := stampOf(next(w.vpc)); string(payload) != want {
			w.storm.fault("VPC %d hears %q, want %q", w.vpc, payload, want)
		}
		w.answer(ip, seg, header.TCPFlagRst, "")
	case flags == header.TCPFlagSyn|header.TCPFlagAck && talks(seg.DestinationPort()):
		w.answer(ip, seg, header.TCPFlagAck|header.TCPFlagPsh, stamp(w.vpc))
	case flags == header.TCPFlagSyn|header.TCPFlagAck:
		w.answer(ip, seg, header.TCPFlagRst, "")
	}
}

// talks tells whether the workload finishes the handshakes that it begins from a port.
func talks(port uint16) bool { return port%8 == 0 }

// answer injects the workload's next segment.
func (w *wire) answer(ip header.IPv4, seg header.TCP, flags header.TCPFlags, payload string) {
	b := forgeTCP(nil, addressOf(ip.DestinationAddress()), addressOf(ip.SourceAddress()), w.vpc, header.TCPFields{
		SrcPort: seg.DestinationPort(), DstPort: seg.SourcePort(), Flags: flags, WindowSize: 65535,
		SeqNum: seg.AckNumber(), AckNum: seg.SequenceNumber() + 1,
	}, payload)
	_, _ = w.storm.ports[w.vpc].Device().Write([][]byte{b}, 0) // a closed port has ended the test
}

// lookAtDNS holds that an answer is to this VPC's question, and that another's name is not known here.
func (w *wire) lookAtDNS(message []byte) {
	if len(message) < 12 {
		w.storm.fault("VPC %d gets a datagram of %d bytes", w.vpc, len(message))
		return
	}
	id, answers := binary.BigEndian.Uint16(message), binary.BigEndian.Uint16(message[6:])
	if int(id>>8) != w.vpc {
		w.storm.fault("VPC %d gets the answer to a question of VPC %d", w.vpc, id>>8)
	}
	switch asked := int(id & 0xff); {
	case answers == 0:
	case asked != w.vpc:
		w.storm.fault("VPC %d is told the name of VPC %d", w.vpc, asked)
	default:
		w.names.Add(1)
	}
}

func addressOf(a tcpip.Address) netip.Addr { return netip.AddrFrom4(a.As4()) }
