package endpoint

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Relayed sockets never block, so the calls that make the kernel do a packet's
// work, tens of microseconds, are raw ones. The runtime takes the processor away
// from an ordinary call that lasts so long, wakes a thread for it, and goes on
// watching every 20 us.

// writeParts writes gathered bytes to a socket in one call. It returns zero
// and no error when the socket takes nothing.
func (g *gather) writeParts(fd int) (int, error) {
	for i, p := range g.parts[:g.n] {
		g.iov[i].Base = &p[0]
		g.iov[i].SetLen(len(p))
	}
	for {
		// unix.Writev would allocate the vector.
		n, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&g.iov[0])), uintptr(g.n))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EAGAIN:
			return 0, nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// fdPayload lets Endpoint.Write read a socket straight into the view it sends
// from. The socket must hold at least left bytes: Write has no use for less.
type fdPayload struct {
	fd   int
	left int
	read int
	err  error
}

// Len implements tcpip.Payloader.
func (p *fdPayload) Len() int { return p.left }

// Read implements io.Reader. It never returns io.EOF, after which
// Endpoint.Write would ask for ever.
func (p *fdPayload) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		r, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(p.fd), uintptr(unsafe.Pointer(&b[0])),
			uintptr(min(len(b), p.left)))
		switch n := int(r); {
		case errno == unix.EINTR:
			continue
		case errno != 0:
			p.err = errno
		case n > 0:
			p.left -= n
			p.read += n
			return n, nil
		default:
			p.err = io.ErrUnexpectedEOF
		}
		return 0, p.err
	}
}

// readable returns how many bytes a socket's receive queue holds.
func readable(fd int) (int, error) { return unix.IoctlGetInt(fd, unix.SIOCINQ) }

// endOf looks whether a socket that said so has nothing left but the end of its
// stream; moreLeft means that there are bytes.
func endOf(fd int) outcome {
	var b [1]byte
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b)), 1,
		unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
	switch {
	case errno == unix.EAGAIN:
		return sourceEmpty
	case errno != 0 && errno != unix.EINTR:
		return sourceFailed
	case errno == 0 && n == 0:
		return streamEnded
	default:
		return moreLeft
	}
}

// connectSocket starts a connection of a non-blocking socket.
func connectSocket(fd int, to netip.AddrPort) error {
	var errno unix.Errno
	if to.Addr().Is4() {
		sa := unix.RawSockaddrInet4{Family: unix.AF_INET, Port: networkOrder(to.Port()), Addr: to.Addr().As4()}
		_, _, errno = unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&sa)), unsafe.Sizeof(sa))
	} else {
		sa := unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: networkOrder(to.Port()), Addr: to.Addr().As16()}
		_, _, errno = unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&sa)), unsafe.Sizeof(sa))
	}
	if errno != 0 && errno != unix.EINPROGRESS {
		return errno
	}
	return nil
}

func networkOrder(port uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], port)
	return binary.NativeEndian.Uint16(b[:])
}

// shutdownWrite closes the direction towards the target.
func shutdownWrite(fd int) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0); errno != 0 {
		return errno
	}
	return nil
}

// closeSocket cannot fail for a reason that matters.
func closeSocket(fd int) { _, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// socketError returns and clears a socket's pending error.
func socketError(fd int) error {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	if n != 0 {
		return unix.Errno(n)
	}
	return nil
}

// keepalive is the probing of a peer that is silent.
type keepalive struct {
	idle     time.Duration
	interval time.Duration
	count    int
}

// setSocket prepares a connected socket for relaying.
func setSocket(fd int) error {
	return setOptions(fd, []socketOption{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		// Urgent data stays in the stream: it would make the readable
		// count differ from what a read returns.
		{unix.SOL_SOCKET, unix.SO_OOBINLINE, 1},
	})
}

// keepSocketAlive has the kernel probe a silent target.
func keepSocketAlive(fd int, k keepalive) error {
	return setOptions(fd, []socketOption{
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds(k.idle)},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, seconds(k.interval)},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, k.count},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
	})
}

type socketOption struct{ level, name, value int }

func setOptions(fd int, options []socketOption) error {
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("set socket option %d/%d: %w", o.level, o.name, err)
		}
	}
	return nil
}

// seconds rounds up, to what the kernel takes at least.
func seconds(d time.Duration) int { return max(1, int((d+time.Second-1)/time.Second)) }
