package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"

	"causeway/controlplane/secret"
)

// errGone says that a notification was deleted while its event was about to be sent.
var errGone = errors.New("the notification is gone")

// statusError is an answer other than 2xx.
type statusError int

// Error describes the answer in the words of its number, not in the receiver's.
func (e statusError) Error() string {
	text := fmt.Sprintf("the receiver answered %d", int(e))
	if words := http.StatusText(int(e)); words != "" {
		text += " " + words
	}
	if e/100 == 3 {
		text += "; redirects are not followed"
	}
	return text
}

// describe says why an attempt failed, as the tenant is told. It names neither addresses nor name
// servers: what a name means in the operator's network is not the tenant's to know.
func describe(err error) string {
	var (
		status  statusError
		resolve *net.DNSError
		invalid *tls.CertificateVerificationError
		record  tls.RecordHeaderError
		alert   tls.AlertError
		timeout net.Error
	)
	switch {
	case errors.As(err, &status):
		return status.Error()
	case errors.Is(err, secret.ErrUnsealed):
		return "the secret cannot be read; rotate it"
	case errors.Is(err, ErrRefused):
		return "the host has an address that no receiver may have"
	case errors.As(err, &resolve) && resolve.IsNotFound:
		return "the host's name does not resolve"
	case errors.As(err, &resolve):
		return "the host's name could not be looked up"
	case errors.As(err, &invalid), errors.As(err, &record), errors.As(err, &alert):
		return "no TLS connection: " + firstOf(err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "the receiver did not answer within " + attemptTimeout.String()
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the receiver's host refused the connection"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "the receiver's host cannot be reached"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "the receiver closed the connection without an answer"
	}
	return "the request failed, or its answer was none of HTTP"
}

// firstOf cuts an error's text to what a resource may show.
func firstOf(err error) string {
	const most = 200
	text := err.Error()
	return text[:min(len(text), most)]
}
