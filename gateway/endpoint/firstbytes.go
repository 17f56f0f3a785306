package endpoint

import (
	"io"

	"causeway/gateway/clienthello"
)

// firstBytes is scratch space for the beginning of a consumer's stream.
type firstBytes struct {
	bytes [clienthello.MaxSize]byte
	n     int
}

// Write implements io.Writer for Endpoint.Read. A short count must come with an error, which Read passes over.
func (b *firstBytes) Write(p []byte) (int, error) {
	n := copy(b.bytes[b.n:], p)
	b.n += n
	if n < len(p) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

// hello reads the bytes as a ClientHello. If it is not all there, need tells how many bytes have to be.
func (b *firstBytes) hello() (hello Hello, need int) {
	found, state, need := clienthello.Read(b.bytes[:b.n])
	switch state {
	case clienthello.Incomplete:
		return Hello{}, need
	case clienthello.Complete:
		return Hello{Read: true, TLS: true, ServerName: found.ServerName}, 0
	case clienthello.Malformed:
		return Hello{Read: true, Unreadable: true}, 0
	}
	return Hello{Read: true}, 0
}
