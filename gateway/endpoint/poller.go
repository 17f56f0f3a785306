package endpoint

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// noSlot is the slot of a flow whose socket is not watched.
const noSlot = ^uint32(0)

// poller watches the kernel sockets of all flows with one edge-triggered epoll
// descriptor, which itself waits in the Go runtime's poller: no thread blocks.
type poller struct {
	file *os.File
	conn syscall.RawConn
	fd   int

	closed atomic.Bool

	mu    sync.Mutex
	slots []pollSlot
	free  []uint32
}

// pollSlot is where an event finds its flow. The generation tells events of a
// socket closed meanwhile from those of its successor.
type pollSlot struct {
	flow       *Flow
	generation uint32
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll descriptor: %w", err)
	}
	// os.NewFile hands only non-blocking descriptors to the runtime's poller.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make epoll descriptor non-blocking: %w", err)
	}
	p := &poller{fd: fd, file: os.NewFile(uintptr(fd), "epoll")}
	if p.conn, err = p.file.SyscallConn(); err != nil {
		p.file.Close()
		return nil, fmt.Errorf("poll epoll descriptor: %w", err)
	}
	return p, nil
}

// add watches fd for f and returns the slot to be given to remove.
func (p *poller) add(fd int, f *Flow) (uint32, error) {
	p.mu.Lock()
	var slot uint32
	if n := len(p.free); n > 0 {
		slot, p.free = p.free[n-1], p.free[:n-1]
	} else {
		slot = uint32(len(p.slots))
		p.slots = append(p.slots, pollSlot{})
	}
	p.slots[slot].flow = f
	generation := p.slots[slot].generation
	p.mu.Unlock()

	ev := unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET&(1<<32-1),
		Fd:     int32(slot),
		Pad:    int32(generation),
	}
	if err := unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		p.remove(slot)
		return 0, fmt.Errorf("watch socket: %w", err)
	}
	return slot, nil
}

// unwatch takes a socket that goes on living out of the set. Its slot is still to be removed.
func (p *poller) unwatch(fd int) {
	// It is in the set, and so nothing can fail.
	_ = unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, fd, nil)
}

// remove forgets a slot. The socket leaves the epoll set when it is closed.
func (p *poller) remove(slot uint32) {
	p.mu.Lock()
	p.slots[slot].flow = nil
	p.slots[slot].generation++
	p.free = append(p.free, slot)
	p.mu.Unlock()
}

// run delivers events until the poller is closed.
func (p *poller) run() error {
	events := make([]unix.EpollEvent, 256)
	for {
		var n int
		var waitErr error
		err := p.conn.Read(func(fd uintptr) bool {
			n, waitErr = unix.EpollWait(int(fd), events, 0)
			return n != 0 && waitErr != unix.EINTR
		})
		switch {
		case err != nil && p.closed.Load():
			return nil
		case err != nil:
			return fmt.Errorf("wait for sockets: %w", err)
		case waitErr != nil:
			return fmt.Errorf("wait for sockets: %w", waitErr)
		}
		p.deliver(events[:n])
	}
}

func (p *poller) deliver(events []unix.EpollEvent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, ev := range events {
		s := p.slots[uint32(ev.Fd)]
		if s.flow == nil || s.generation != uint32(ev.Pad) {
			continue
		}
		var kick uint32
		if ev.Events&unix.EPOLLIN != 0 {
			kick |= evTargetReadable
		}
		if ev.Events&unix.EPOLLOUT != 0 {
			kick |= evTargetWritable
		}
		if ev.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP) != 0 {
			kick |= evTargetHup
		}
		if ev.Events&unix.EPOLLERR != 0 {
			kick |= evTargetError
		}
		s.flow.kick(&s.flow.engine.queue, kick)
	}
}

// close makes run return.
func (p *poller) close() error {
	p.closed.Store(true)
	return p.file.Close()
}
