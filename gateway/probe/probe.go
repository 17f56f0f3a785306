// Package probe speaks with a target on behalf of a health check, over a connection that its user made.
//
// A target is not trusted: what it sends is bounded in size and in time, and nothing of it but the status is used.
package probe

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"causeway/gateway/proxyproto"
	"causeway/gateway/spec"
)

const (
	// maxAnswer is how much of an answer is read, its headers included.
	maxAnswer = 64 << 10
	// maxInterim is how many answers of 1xx may come before the one that counts.
	maxInterim = 8
	// farewell is how long the rest of an answer is waited for once its status is known. A target that is cut short in the
	// middle of a small page would log an error at every check.
	farewell = 250 * time.Millisecond
)

// errNotHTTP replaces what package http says of a malformed answer: it would quote the answer.
var errNotHTTP = errors.New("answer is not HTTP/1")

// Talk is one health check over a connection to the target at to. It returns when ctx ends at the latest and leaves the
// connection open, with its deadline set. Nil is a success.
type Talk func(ctx context.Context, conn net.Conn) error

// Of returns what a group's health check has to say to a target, or nil if a connection is enough.
func Of(group *spec.TargetGroup, to netip.AddrPort) Talk {
	t := talk{check: &group.HealthCheck, header: group.ProxyProtocolChecks, to: to}
	if t.check.Protocol == spec.TCP && !t.header {
		return nil
	}
	return t.run
}

// talk is a health check of one target.
type talk struct {
	check *spec.HealthCheck
	// header tells to begin with that of the PROXY protocol.
	header bool
	to     netip.AddrPort
}

func (t talk) run(ctx context.Context, conn net.Conn) error {
	stop := context.AfterFunc(ctx, func() {
		_ = conn.SetDeadline(time.Unix(1, 0)) // a connection that is gone has no one who waits
	})
	defer stop()
	err := t.speak(conn)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("check %v: %w", t.to, context.Cause(ctx))
	}
	return err
}

func (t talk) speak(conn net.Conn) error {
	if t.header {
		if _, err := conn.Write(proxyproto.AppendLocal(nil)); err != nil {
			return fmt.Errorf("send PROXY protocol header: %w", err)
		}
	}
	switch t.check.Protocol {
	case spec.HTTPS:
		return t.https(conn)
	case spec.HTTP:
		return t.http(conn)
	case spec.TCP, spec.TLS:
	}
	// What follows the header is nothing. A target that closes in turn has read it; one that does not has been given time.
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		if err := half.CloseWrite(); err != nil {
			return fmt.Errorf("end after PROXY protocol header: %w", err)
		}
	}
	rest(conn, conn)
	return nil
}

// https asks over TLS without verifying the target: as with NLB, what a certificate says is between consumers and target.
func (t talk) https(conn net.Conn) error {
	secure := tls.Client(conn, &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // see above; the answer's status is all that is used
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"http/1.1"},
	})
	if err := secure.Handshake(); err != nil { // the connection's deadline ends it
		return fmt.Errorf("tls handshake: %w", err)
	}
	return t.http(secure)
}

// http makes one request and judges the status of its answer. It follows no redirect.
func (t talk) http(conn net.Conn) error {
	request := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %v\r\nUser-Agent: Causeway-HealthChecker/1.0\r\nAccept: */*\r\nConnection: close\r\n\r\n",
		t.check.Path, t.to)
	if _, err := io.WriteString(conn, request); err != nil {
		return fmt.Errorf("send request: %w", err)
	}
	bounded := io.LimitReader(conn, maxAnswer)
	status, err := readStatus(bufio.NewReader(bounded))
	if err != nil {
		return err
	}
	if !t.succeeds(status) {
		return fmt.Errorf("answered with status %d", status)
	}
	rest(conn, bounded)
	return nil
}

// readStatus reads the header of the answer that counts.
func readStatus(r *bufio.Reader) (int, error) {
	for range maxInterim {
		answer, err := http.ReadResponse(r, nil)
		var network net.Error
		switch {
		case errors.As(err, &network):
			return 0, fmt.Errorf("read answer: %w", err)
		case errors.Is(err, io.ErrUnexpectedEOF):
			return 0, errors.New("answer ends early or its header is too long")
		case err != nil:
			return 0, errNotHTTP
		case answer.StatusCode >= http.StatusOK:
			return answer.StatusCode, nil // the body needs no closing: the connection is the caller's
		}
	}
	return 0, errors.New("answer has no final status")
}

func (t talk) succeeds(status int) bool {
	for _, r := range t.check.Codes {
		if r.First <= status && status <= r.Last {
			return true
		}
	}
	return false
}

// rest lets the target come to its end, within bounds. How that goes does not matter any more.
func rest(conn net.Conn, bounded io.Reader) {
	if conn.SetReadDeadline(time.Now().Add(farewell)) == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(bounded, maxAnswer))
	}
}
