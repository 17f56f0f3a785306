package link

import (
	"fmt"
	"time"
)

// Bounds and defaults of [Config].
const (
	// DefaultMTU is WireGuard's usual MTU: 1500 less 80 bytes of headers on the way.
	DefaultMTU = 1420
	// MinMTU is the smallest datagram that every IPv4 host must accept (RFC 791 section 3.1).
	MinMTU = 576
	// MaxMTU is the largest packet taken in. It is that of AWS PrivateLink ("AWS PrivateLink concepts": 8500 bytes).
	MaxMTU = 8500

	defaultQueueBytes   = 2 << 20
	defaultQueuePackets = 4096
	// defaultQueueWait is what urnetwork/connect#209 settled on: long enough to ride out a busy reader, short enough that a
	// stopped one is a loss and not a standstill.
	defaultQueueWait = 250 * time.Millisecond
)

// Config configures a [Link]. The zero Config is valid and admits nothing.
type Config struct {
	// MTU of the stack's interface in bytes, which also governs the MSS it announces; MinMTU to MaxMTU. 0 is DefaultMTU.
	MTU int

	// Admit decides about every inbound packet that could start something: a TCP segment with SYN and without ACK, and a
	// UDP datagram. What follows is a matter of the stack, and of the [Filter]. Nil denies all of them. It is called concurrently from the receive goroutines of all ports, must not
	// block, and must not keep hold of anything slow: every tunnel of the device waits for it.
	Admit func(Packet) Verdict

	// QueueBytes and QueuePackets bound each port's outbound queue. 0 is 2 MiB and 4096.
	QueueBytes, QueuePackets int

	// QueueWait bounds how long the stack waits for room in a port's queue before its segment is dropped; at most 250 ms,
	// which is also what 0 means. Only TCP segments with payload ever wait.
	QueueWait time.Duration
}

func (c Config) withDefaults() (Config, error) {
	if c.MTU == 0 {
		c.MTU = DefaultMTU
	}
	if c.MTU < MinMTU || c.MTU > MaxMTU {
		return c, fmt.Errorf("link: mtu %d is outside %d to %d", c.MTU, MinMTU, MaxMTU)
	}
	if c.QueueBytes < 0 || c.QueuePackets < 0 || c.QueueWait < 0 || c.QueueWait > defaultQueueWait {
		return c, fmt.Errorf("link: queue of %d bytes, %d packets, %v wait is out of range", c.QueueBytes, c.QueuePackets, c.QueueWait)
	}
	if c.QueueBytes == 0 {
		c.QueueBytes = defaultQueueBytes
	}
	if c.QueuePackets == 0 {
		c.QueuePackets = defaultQueuePackets
	}
	if c.QueueWait == 0 {
		c.QueueWait = defaultQueueWait
	}
	return c, nil
}
