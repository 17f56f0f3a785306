// Package clienthello reads the server name a consumer asks for from the first bytes of its TLS connection, without
// taking part in it (RFC 8446, section 4.1.2; RFC 5246, section 7.4.1.2; RFC 6066, section 3).
package clienthello

import (
	"encoding/binary"
	"slices"
)

// MaxSize is how many bytes of a connection are looked at. ClientHellos have some hundred bytes, and about 1,800 with
// keys for post-quantum cryptography.
const MaxSize = 16 << 10

// maxRecords bounds in how many TLS records a ClientHello may come. Few clients need two.
const maxRecords = 32

// State tells what the bytes read so far are.
type State uint8

const (
	// Incomplete bytes may become a ClientHello.
	Incomplete State = iota
	// Complete bytes begin with a ClientHello.
	Complete
	// NotTLS bytes begin with something else.
	NotTLS
	// Malformed bytes begin as TLS does, but not with a ClientHello, or with one of more than MaxSize bytes or many
	// records. Servers might disagree about what it says, so nothing is said here.
	Malformed
)

// Hello is what a ClientHello tells.
type Hello struct {
	// ServerName is in lower case and without a final dot; empty when the client names none.
	ServerName string
	// Encrypted tells that there is an encrypted ClientHello (RFC 9849) inside, or something that looks like one:
	// then ServerName is the outer one, and the server may use another.
	Encrypted bool
}

// Read reads the beginning of a connection. While it is Incomplete, need is how many bytes there have to be before it
// is of use to read again. Read keeps nothing of b.
func Read(b []byte) (hello Hello, state State, need int) {
	message, state, need := handshake(b)
	if state != Complete {
		if state == Incomplete && need > MaxSize {
			state = Malformed
		}
		return Hello{}, state, need
	}
	hello, ok := parse(message)
	if !ok {
		return Hello{}, Malformed, 0
	}
	return hello, Complete, 0
}

const (
	recordHeader    = 5
	maxRecord       = 1 << 14
	recordHandshake = 22
	// Types of records are in this range; a first byte outside it is that of another protocol.
	firstRecordType = 20
	lastRecordType  = 24
	messageHeader   = 4
	messageHello    = 1
	// smallestHello has a version, a random, no session, one cipher suite and one compression method.
	smallestHello = 2 + randomSize + 1 + 2 + 2 + 1 + 1
)

// handshake gives the body of the first handshake message, put together from its records. Servers do not look at the
// versions of records (RFC 8446, section 5.1), and some pass over alerts before a ClientHello.
func handshake(b []byte) (message []byte, state State, need int) {
	if len(b) > 0 && (b[0] < firstRecordType || b[0] > lastRecordType) {
		return nil, NotTLS, 0
	}
	at := 0
	for range maxRecords {
		rest := b[at:]
		size, ok := recordSize(rest)
		if !ok {
			return nil, Malformed, 0
		}
		if len(rest) < recordHeader {
			return nil, Incomplete, at + recordHeader
		}
		payload := rest[recordHeader:min(len(rest), recordHeader+size)]
		if at == 0 {
			message = slices.Clip(payload) // to be copied when more follows
		} else {
			message = append(message, payload...)
		}
		if len(message) > 0 && message[0] != messageHello {
			return nil, Malformed, 0
		}
		missing := messageHeader - len(message)
		if missing <= 0 {
			length := int(message[1])<<16 | int(binary.BigEndian.Uint16(message[2:]))
			if length < smallestHello || length > MaxSize {
				return nil, Malformed, 0
			}
			if missing += length; missing <= 0 {
				return message[messageHeader : messageHeader+length], Complete, 0
			}
		}
		if left := recordHeader + size - len(rest); left > 0 {
			return nil, Incomplete, len(b) + min(left, missing)
		}
		at += recordHeader + size
	}
	return nil, Malformed, 0
}

// recordSize checks as much of a record's header as there is and gives the size of what follows it.
func recordSize(b []byte) (size int, ok bool) {
	if len(b) > 0 && b[0] != recordHandshake {
		return 0, false
	}
	if len(b) < recordHeader {
		return 0, true
	}
	size = int(binary.BigEndian.Uint16(b[3:]))
	return size, size > 0 && size <= maxRecord
}
