package tunnel

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultUAPIDir is where wg and wgctrl look for the sockets of userspace devices.
const DefaultUAPIDir = "/var/run/wireguard"

const (
	// uapiTimeout bounds a client's stay, uapiClients their number at a time.
	uapiTimeout = 5 * time.Second
	uapiClients = 8
	// uapiLine bounds a line of a request; the longest that means anything has some 100 bytes.
	uapiLine = 1024
)

// serveUAPI answers `wg show` until ctx ends. Where the folder cannot be written the device does without: the socket is a
// convenience.
func (d *Device) serveUAPI(ctx context.Context) error {
	if d.cfg.UAPIDir == "" {
		return nil
	}
	path := filepath.Join(d.cfg.UAPIDir, d.cfg.Name+".sock")
	listener, err := listenUAPI(path)
	if err != nil {
		d.log.Info("no uapi socket", "path", path, "error", err)
		return nil
	}
	defer os.Remove(path)
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()

	var clients sync.WaitGroup
	defer clients.Wait()
	slots := make(chan struct{}, uapiClients)
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			d.log.Warn("uapi socket ended", "path", path, "error", err)
			return errors.Join(listener.Close())
		}
		slots <- struct{}{}
		clients.Go(func() {
			defer func() { <-slots }()
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			conn.SetDeadline(time.Now().Add(uapiTimeout))
			serveClient(conn, d.wg.IpcGetOperation)
		})
	}
}

// listenUAPI makes a socket of mode 0600. It is bound in a folder that nobody else can enter and then renamed, which is never
// open to others for a moment, replaces the socket of a process that was killed, and leaves the process's umask alone.
func listenUAPI(path string) (net.Listener, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return nil, fmt.Errorf("listen on %s: %w", path, unix.EADDRINUSE)
	}
	temp, err := os.MkdirTemp(dir, ".") // mode 0700
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	bound := filepath.Join(temp, "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: bound, Net: "unix"})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(bound, 0o600)); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	if err := os.Rename(bound, path); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// serveClient answers requests until the client goes or breaks the protocol. The device belongs to the control plane: a
// set is refused with EPERM, and a get keeps the secrets.
func serveClient(conn io.ReadWriter, get func(io.Writer) error) {
	requests := bufio.NewReaderSize(conn, uapiLine)
	for {
		request, err := readRequest(requests)
		if err != nil {
			return
		}
		var reply bytes.Buffer
		switch request {
		case "get=1":
			var state bytes.Buffer
			if err := get(&state); err != nil {
				writeErrno(&reply, unix.EIO)
				break
			}
			withoutSecrets(&reply, &state)
			writeErrno(&reply, 0)
		case "set=1":
			writeErrno(&reply, unix.EPERM)
		default:
			return
		}
		if _, err := conn.Write(reply.Bytes()); err != nil {
			return
		}
	}
}

// readRequest reads up to an empty line and returns the first one.
func readRequest(r *bufio.Reader) (first string, err error) {
	for n := 0; ; n++ {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return "", err
		}
		text := strings.TrimSuffix(string(line), "\n")
		if n == 0 {
			first = text
		}
		if text == "" {
			return first, nil
		}
	}
}

// withoutSecrets copies the answer to a get but for private and preshared keys.
func withoutSecrets(to, from *bytes.Buffer) {
	for line := range bytes.Lines(from.Bytes()) {
		if bytes.HasPrefix(line, []byte("private_key=")) || bytes.HasPrefix(line, []byte("preshared_key=")) {
			continue
		}
		to.Write(line)
	}
}

// writeErrno ends a reply. The sign is that of wireguard-go, which wg turns back into the system's error message.
func writeErrno(to *bytes.Buffer, errno unix.Errno) { fmt.Fprintf(to, "errno=%d\n\n", -int(errno)) }
