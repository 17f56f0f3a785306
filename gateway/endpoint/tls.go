package endpoint

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
)

const (
	// handshakeTimeout bounds how long a consumer may take for its part of a TLS handshake. Until its
	// end the flow counts as a dial, so that few can wait at a time.
	handshakeTimeout = 10 * time.Second
	// alertTimeout bounds how long a consumer that was refused may take to close.
	alertTimeout = 2 * time.Second
)

// terminator ends the TLS of one flow. It stands between the relay and the target: for the relay, which
// moves the consumer's bytes as always, with budget, idle timeout and resets, one end of a socket pair is
// the target; at the other end TLS is ended and the plain bytes go to the real one.
type terminator struct {
	flow     *Flow
	settings *tls.Config
	consumer *net.UnixConn
	target   targetConn
}

// targetConn is a connection to a target for blocking use.
type targetConn interface {
	net.Conn
	CloseWrite() error
	// Reset ends the connection at once.
	Reset()
}

// interpose puts a terminator between the flow and its connected leg.
func (f *Flow) interpose() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make socket pair: %w", err)
	}
	consumer, err := blocking(pair[1])
	if err != nil {
		unix.Close(pair[0])
		return err
	}
	t := &terminator{flow: f, settings: f.listener.cfg.TLS(), consumer: consumer.(*net.UnixConn)}
	if err := f.replaceLeg(t, pair[0]); err != nil {
		unix.Close(pair[0])
		return errors.Join(err, consumer.Close())
	}
	f.terminator = t
	return nil
}

// replaceLeg makes the target's connection the terminator's, and fd the flow's leg. With an error the
// flow has no leg any more.
func (f *Flow) replaceLeg(t *terminator, fd int) error {
	if f.leg.ep == nil {
		f.engine.poller.unwatch(f.leg.fd)
	}
	f.detach()
	leg := f.leg
	f.leg = Leg{fd: -1}
	target, err := leg.blocking(f.engine.cfg.keepalive())
	if err != nil {
		leg.Abort()
		return err
	}
	if err := f.attach(KernelLeg(fd)); err != nil {
		target.Reset()
		f.leg = Leg{fd: -1}
		return err
	}
	t.target = target
	return nil
}

// blocking makes a connection for blocking use of a leg, which is the connection's from then on.
func (l Leg) blocking(k keepalive) (targetConn, error) {
	if l.ep != nil {
		setKeepalive(l.ep, k)
		return stackConn{gonet.NewTCPConn(l.wq, l.ep), l}, nil
	}
	if err := keepSocketAlive(l.fd, k); err != nil {
		return nil, err
	}
	conn, err := blocking(l.fd)
	if err != nil {
		return nil, err
	}
	return kernelConn{conn.(*net.TCPConn)}, nil
}

// blocking hands a socket to the runtime's poller. The descriptor is the connection's from then on, also
// with an error.
func blocking(fd int) (net.Conn, error) {
	file := os.NewFile(uintptr(fd), "relay")
	conn, err := net.FileConn(file)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, fmt.Errorf("wrap socket: %w", err)
	}
	return conn, nil
}

type kernelConn struct{ *net.TCPConn }

// Reset implements targetConn.
func (c kernelConn) Reset() {
	_ = c.SetLinger(0) // of a socket that is gone nothing is left to reset
	_ = c.Close()
}

type stackConn struct {
	*gonet.TCPConn
	leg Leg
}

// Close implements net.Conn.
func (c stackConn) Close() error {
	c.leg.port.release()
	return c.TCPConn.Close()
}

// Reset implements targetConn.
func (c stackConn) Reset() {
	c.leg.Abort()
	_ = c.Close()
}

// start runs the terminator until the flow is over.
func (t *terminator) start() { t.flow.engine.terminators.Go(t.run) }

// run is the terminator's whole life.
func (t *terminator) run() {
	conn := tls.Server(t.consumer, t.settings)
	err := t.handshake(conn)
	t.flow.Domain().dialled(t.flow.consumer.Addr())
	if err != nil {
		t.refuse()
		return
	}
	var ingress sync.WaitGroup
	ingress.Go(func() { t.ingress(conn) })
	t.egress(conn)
	ingress.Wait()
	_ = t.target.Close()
	_ = t.consumer.Close()
}

func (t *terminator) handshake(conn *tls.Conn) error {
	if t.settings == nil {
		return errors.New("no certificate")
	}
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	return conn.HandshakeContext(ctx)
}

// refuse ends a flow without a handshake, after the consumer had a chance to read why.
func (t *terminator) refuse() {
	t.flow.ending.CompareAndSwap(uint32(ReasonNone), uint32(ReasonTLSHandshake))
	_ = t.consumer.CloseWrite()
	_ = t.consumer.SetReadDeadline(time.Now().Add(alertTimeout))
	_, _ = io.Copy(io.Discard, t.consumer)
	t.flow.endLater(ReasonTLSHandshake)
	t.target.Reset()
	_ = t.consumer.Close()
}

// ingress moves plain bytes to the target. A consumer that closes without saying so in TLS has closed
// all the same, as other load balancers have it.
func (t *terminator) ingress(conn *tls.Conn) {
	_, err := move(t.target, conn)
	if err == nil {
		err = t.target.CloseWrite()
	}
	if err != nil {
		t.targetFailed(err)
	}
}

// egress moves the target's bytes to the consumer.
func (t *terminator) egress(conn *tls.Conn) {
	readErr, writeErr := move(conn, t.target)
	switch {
	case writeErr != nil: // the flow is over
	case readErr != nil:
		t.targetFailed(readErr)
	default:
		_ = conn.CloseWrite()
		_ = t.consumer.CloseWrite()
	}
}

// targetFailed ends the flow for what the target's connection met.
func (t *terminator) targetFailed(err error) {
	why := ReasonTargetReset
	if errors.Is(err, unix.ETIMEDOUT) || errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH) {
		why = ReasonTargetTimeout
	}
	t.flow.endLater(why)
	t.target.Reset()
}

// flowEnded is told that the relay is done with the flow, before it closes its end of the socket pair. It
// resets a target that may have heard the consumer's end already and still owes its own.
func (t *terminator) flowEnded(why Reason) {
	if why != ReasonCompleted {
		t.target.Reset()
	}
}

// moveBuffers hold a TLS record, of at most 16 KB, twice.
var moveBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// move copies until the source ends, which is no error, or either side fails.
func move(to io.Writer, from io.Reader) (readErr, writeErr error) {
	buffer := moveBuffers.Get().(*[32 << 10]byte)
	defer moveBuffers.Put(buffer)
	for {
		n, err := from.Read(buffer[:])
		if n > 0 {
			if _, writeErr := to.Write(buffer[:n]); writeErr != nil {
				return nil, writeErr
			}
		}
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return err, nil
		}
	}
}
