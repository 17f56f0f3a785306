package endpoint

import (
	"errors"
	"fmt"
	"io"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// writeParts writes gathered bytes to a socket in one call. It returns zero
// and no error when the socket takes nothing.
func (g *gather) writeParts(fd int) (int, error) {
	for i, p := range g.parts[:g.n] {
		g.iov[i].Base = &p[0]
		g.iov[i].SetLen(len(p))
	}
	for {
		// unix.Writev would allocate the vector.
		n, _, errno := unix.Syscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&g.iov[0])), uintptr(g.n))
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
		n, err := unix.Read(p.fd, b[:min(len(b), p.left)])
		switch {
		case n > 0:
			p.left -= n
			p.read += n
			return n, nil
		case errors.Is(err, unix.EINTR):
			continue
		case err == nil:
			err = io.ErrUnexpectedEOF
		}
		p.err = err
		return 0, err
	}
}

// readable returns how many bytes a socket's receive queue holds.
func readable(fd int) (int, error) { return unix.IoctlGetInt(fd, unix.SIOCINQ) }

// atEOF reports whether an empty socket will never be readable again because
// the other side closed its direction, or the error that ended it.
func atEOF(fd int) (bool, error) {
	var b [1]byte
	n, _, err := unix.Recvfrom(fd, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return false, nil
	case err != nil:
		return false, err
	}
	return n == 0, nil
}

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
func setSocket(fd int, k keepalive) error {
	options := [...]struct{ level, name, value int }{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		// Urgent data stays in the stream: it would make the readable
		// count differ from what a read returns.
		{unix.SOL_SOCKET, unix.SO_OOBINLINE, 1},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds(k.idle)},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, seconds(k.interval)},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, k.count},
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("set socket option %d/%d: %w", o.level, o.name, err)
		}
	}
	return nil
}

// seconds rounds up, to what the kernel takes at least.
func seconds(d time.Duration) int { return max(1, int((d+time.Second-1)/time.Second)) }
