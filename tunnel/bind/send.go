package bind

import (
	"errors"
	"fmt"
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

const (
	// maxTrain is the kernel's limit of datagrams per segmented message (UDP_MAX_SEGMENTS, 64 before Linux 6.9).
	maxTrain = 64
	// maxTrainBytes keeps a train with its headers below the 65536 bytes (gso_max_size) up to which interfaces take it whole.
	// With 65507, which is legal, trains were cut in software and both ends paid double (datapath.md section 2).
	maxTrainBytes = 65000
)

// sender is the state of one Send; they are pooled, because every peer sends from a goroutine of its own.
type sender struct {
	messages [batchSize]message
	iovecs   [batchSize]unix.Iovec
	controls [batchSize]control
	name     sockaddr

	poll  func(fd uintptr) bool // a field so that a call does not allocate it
	from  int                   // messages[from:to] are to be sent
	to    int
	errno unix.Errno
}

func newSender() *sender {
	s := new(sender)
	s.poll = s.sendmmsg
	return s
}

// Send implements conn.Bind. All buffers go to the same peer, in order. If the way there does not support segmentation
// offload the rest is sent datagram by datagram, and so is everything to that peer from then on.
func (b *Bind) Send(bufs [][]byte, ep conn.Endpoint) error {
	to, ok := ep.(*endpoint)
	if !ok {
		return conn.ErrWrongEndpointType
	}
	socket := b.socket.Load()
	if socket == nil {
		return net.ErrClosed
	}
	if to.addr.Addr().Is4() != (socket.family == unix.AF_INET) {
		return unix.EAFNOSUPPORT
	}
	s := b.senders.Get().(*sender)
	defer b.senders.Put(s)
	for len(bufs) > 0 {
		n := min(len(bufs), batchSize)
		if err := b.sendBatch(s, socket, bufs[:n], to); err != nil {
			b.sendErrors.Add(1)
			return fmt.Errorf("send udp to %v: %w", to.addr, err)
		}
		bufs = bufs[n:]
	}
	return nil
}

func (b *Bind) sendBatch(s *sender, socket *socket, bufs [][]byte, to *endpoint) error {
	train := maxTrain
	if !bool(socket.send) || to.plain.Load() {
		train = 1
	}
	s.build(bufs, to, socket.family, train)
	sent, err := s.flush(socket)
	if err != nil && train > 1 && offloadRefused(err) {
		if !to.plain.Swap(true) {
			b.fallbacks.Add(1)
		}
		s.build(bufs[sent:], to, socket.family, 1)
		_, err = s.flush(socket)
	}
	clear(s.iovecs[:len(bufs)]) // let go of the buffers
	return err
}

// offloadRefused reports whether a train was refused as such: EIO by an interface without checksum offload (udp(7)), EINVAL or
// EMSGSIZE where a segment exceeds the path's MTU, and EINVAL by kernels around 6.6.44 (tailscale#13041).
func offloadRefused(err error) bool {
	return errors.Is(err, unix.EIO) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EMSGSIZE)
}

// build makes messages of bufs, each a train of up to max datagrams of the same size but for the last, which may be
// shorter.
func (s *sender) build(bufs [][]byte, to *endpoint, family uint16, max int) {
	nameLen := s.name.set(to.addr, family)
	s.from, s.to = 0, 0
	for i := 0; i < len(bufs); {
		n := trainLen(bufs[i:], max)
		for j, buf := range bufs[i : i+n] {
			s.iovecs[i+j].Base = unsafe.SliceData(buf)
			s.iovecs[i+j].SetLen(len(buf))
		}
		h := &s.messages[s.to].header
		*h = unix.Msghdr{Name: (*byte)(unsafe.Pointer(&s.name)), Namelen: nameLen, Iov: &s.iovecs[i]}
		h.SetIovlen(n)
		if n > 1 {
			c := &s.controls[s.to]
			c.setSegmentSize(len(bufs[i]))
			h.Control = &c[0]
			h.SetControllen(unix.CmsgSpace(2))
		}
		s.to++
		i += n
	}
}

// trainLen returns how many of bufs, at least one, can be sent as one train.
func trainLen(bufs [][]byte, max int) int {
	size := len(bufs[0])
	total := size
	for n := 1; n < len(bufs); n++ {
		next := len(bufs[n])
		if n >= max || next > size || next == 0 || total+next > maxTrainBytes || len(bufs[n-1]) < size {
			return n
		}
		total += next
	}
	return len(bufs)
}

// flush sends what was built. On an error it returns how many datagrams had been sent before.
func (s *sender) flush(socket *socket) (datagrams int, err error) {
	for s.from < s.to {
		before := s.from
		if err := socket.raw.Write(s.poll); err != nil {
			return datagrams, err
		}
		for i := before; i < s.from; i++ {
			datagrams += int(s.messages[i].header.Iovlen)
		}
		if s.errno != 0 {
			return datagrams, s.errno
		}
	}
	return datagrams, nil
}

// sendmmsg is called by the runtime's poller; false makes it wait until the socket is writable.
func (s *sender) sendmmsg(fd uintptr) bool {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&s.messages[s.from])),
			uintptr(s.to-s.from), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		}
		s.errno = errno
		if errno == 0 {
			s.from += int(n)
		}
		return true
	}
}
