package bind

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

const (
	// stagingSize holds the largest datagram, joined or not.
	stagingSize = 64 << 10
	// stagedMessages is how many a system call may fill when the kernel joins datagrams. Small datagrams of many sizes,
	// as acknowledgements and requests are, it does not join. Of each buffer only the pages used become resident.
	stagedMessages = 16
	// joinedMessages is how many it may fill after one that brought at least joinedBytes. Two take up to 128 datagrams;
	// more would leave the processor's cache before they are handed over.
	joinedMessages = 2
	joinedBytes    = 32 << 10
)

// receiver is the one ReceiveFunc of an open socket. WireGuard calls it from a single goroutine.
type receiver struct {
	bind   *Bind
	socket *socket
	cache  endpointCache

	messages []message
	iovecs   []unix.Iovec
	names    []sockaddr
	controls []control
	staging  []byte // stagedMessages of stagingSize; nil without receive offload

	poll  func(fd uintptr) bool // a field so that a call does not allocate it
	room  int                   // messages that the next system call may fill
	got   int
	errno unix.Errno

	current int    // the message whose rest is being handed over
	rest    []byte // of it
	segment int    // size of its datagrams
}

func newReceiver(b *Bind, s *socket) *receiver {
	n := batchSize
	r := &receiver{bind: b, socket: s}
	if s.receive {
		n = stagedMessages
		r.staging = make([]byte, n*stagingSize)
	}
	r.room = n
	r.messages = make([]message, n)
	r.iovecs = make([]unix.Iovec, n)
	r.names = make([]sockaddr, n)
	r.controls = make([]control, n)
	r.cache.all = make(map[netip.AddrPort]*endpoint)
	r.poll = r.recvmmsg
	return r
}

// receive implements conn.ReceiveFunc.
func (r *receiver) receive(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
	if r.staging == nil {
		return r.receiveDirect(bufs, sizes, eps)
	}
	if !r.pending() {
		if err := r.stage(); err != nil {
			return 0, err
		}
	}
	n := 0
	for n < len(bufs) && r.pending() {
		if len(r.rest) == 0 {
			r.advance()
			continue
		}
		size := min(r.segment, len(r.rest))
		sizes[n] = copy(bufs[n], r.rest[:size])
		eps[n] = r.cache.get(r.names[r.current].get())
		r.rest = r.rest[size:]
		n++
	}
	return n, nil
}

// stage fills the staging buffers.
func (r *receiver) stage() error {
	for i := range r.room {
		r.prepare(i, r.staging[i*stagingSize:(i+1)*stagingSize])
	}
	if err := r.wait(); err != nil {
		return err
	}
	r.current, r.rest = -1, nil
	bytes := 0
	for i := range r.got {
		bytes += int(r.messages[i].length)
	}
	r.room = stagedMessages
	if bytes >= joinedBytes {
		r.room = joinedMessages
	}
	return nil
}

// pending reports whether staged data is left from the last system call.
func (r *receiver) pending() bool { return len(r.rest) > 0 || r.current+1 < r.got }

// advance goes on to the next message.
func (r *receiver) advance() {
	r.current++
	m := &r.messages[r.current]
	r.rest = r.staging[r.current*stagingSize:][:m.length]
	r.segment = r.controls[r.current].segmentSize(int(m.header.Controllen))
	if r.segment == 0 {
		r.segment = len(r.rest)
	}
}

// receiveDirect reads one datagram into each buffer, where the kernel joins none.
func (r *receiver) receiveDirect(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
	r.room = min(len(bufs), batchSize)
	for i := range r.room {
		r.prepare(i, bufs[i])
	}
	if err := r.wait(); err != nil {
		return 0, err
	}
	for i := range r.got {
		sizes[i] = int(r.messages[i].length)
		eps[i] = r.cache.get(r.names[i].get())
		r.iovecs[i].Base = nil
	}
	return r.got, nil
}

func (r *receiver) prepare(i int, buf []byte) {
	r.iovecs[i].Base = unsafe.SliceData(buf)
	r.iovecs[i].SetLen(len(buf))
	h := &r.messages[i].header
	h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
	h.Namelen = uint32(unsafe.Sizeof(r.names[i]))
	h.Iov = &r.iovecs[i]
	h.SetIovlen(1)
	h.Control = &r.controls[i][0]
	h.SetControllen(len(r.controls[i]))
	h.Flags = 0
	r.messages[i].length = 0
}

// wait blocks until there is at least one message. After an error WireGuard pauses before it calls again; a bare Errno it
// would take for permanent, hence the wrapping.
func (r *receiver) wait() error {
	r.got = 0
	err := r.socket.raw.Read(r.poll)
	if err == nil && r.errno != 0 {
		err = r.errno
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, net.ErrClosed) || r.bind.socket.Load() != r.socket {
		return net.ErrClosed
	}
	err = fmt.Errorf("receive udp: %w", err)
	r.bind.receiveErrors.Add(1)
	if r.bind.cfg.OnReceiveError != nil {
		r.bind.cfg.OnReceiveError(err)
	}
	return err
}

// recvmmsg is called by the runtime's poller; false makes it wait until the socket is readable.
func (r *receiver) recvmmsg(fd uintptr) bool {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.messages[0])),
			uintptr(r.room), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		}
		r.got, r.errno = int(n), errno
		if errno != 0 {
			r.got = 0
		}
		return true
	}
}
