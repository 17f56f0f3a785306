// Package proxyproto writes headers of the PROXY protocol, version 2, with what a service learns of its consumer. It
// reads none: what consumers send is payload. docs/proxy-protocol.md describes the result for those who parse it.
package proxyproto

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
)

// MaxSize is how long a header may be, in bytes: what fits a segment of the smallest datagram that everybody must take,
// as the protocol advises.
const MaxSize = 536

// Types of TLVs. 0xE0 to 0xEF are left to applications: 0xE0 is Google's, 0xEA Amazon's, 0xEE Azure's.
const (
	TypeChecksum byte = 0x03
	TypeAWS      byte = 0xEA
	TypeCauseway byte = 0xEC
)

// subtypeEndpoint is the only subtype that Amazon has for PrivateLink.
const subtypeEndpoint = 0x01

// Types of the TLVs inside [TypeCauseway].
const (
	subtypeKeyFingerprint = 0x01
	subtypeAccount        = 0x02
	subtypeVPC            = 0x03
)

const (
	signature = "\r\n\r\n\x00\r\nQUIT\n"
	// The upper half of the byte is the version.
	commandLocal = 0x20
	commandProxy = 0x21
	overIPv4     = 0x11 // TCP
	overIPv6     = 0x21
	unspecified  = 0x00
	// lengthAt is where a header tells how many bytes follow its fixed part.
	lengthAt     = len(signature) + 2
	fixedSize    = lengthAt + 2
	checksumSize = 4
)

// ErrTooLong is returned instead of a header longer than [MaxSize].
var ErrTooLong = errors.New("PROXY protocol header is too long")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// TLV is a piece of information in a header.
type TLV struct {
	Type  byte
	Value []byte
}

// Checksum is a TLV that [AppendProxy] puts the CRC32C of the whole header into.
func Checksum() TLV { return TLV{Type: TypeChecksum, Value: make([]byte, checksumSize)} }

// Endpoint is the TLV that tells an endpoint's uid, such as vpce-0123456789abcdef0, in Amazon's form.
func Endpoint(uid string) TLV {
	return TLV{Type: TypeAWS, Value: append([]byte{subtypeEndpoint}, uid...)}
}

// Identity is who a connection comes from, as the tunnel's key proves it. Empty fields are left out.
type Identity struct {
	// KeyFingerprint is that of the WireGuard public key of the peer, see [Fingerprint].
	KeyFingerprint string
	// Account is the ID of the account that owns the VPC.
	Account string
	// VPC is the resource name of the VPC that the connection entered the gateway in.
	VPC string
}

// TLV holds the identity as TLVs of its own.
func (i Identity) TLV() TLV {
	var v []byte
	for _, part := range []struct {
		subtype byte
		text    string
	}{{subtypeKeyFingerprint, i.KeyFingerprint}, {subtypeAccount, i.Account}, {subtypeVPC, i.VPC}} {
		if part.text != "" {
			v = appendTLV(v, TLV{Type: part.subtype, Value: []byte(part.text)})
		}
	}
	return TLV{Type: TypeCauseway, Value: v}
}

// AppendProxy appends the header of a TCP connection from src to dst. The error is ErrTooLong; b is returned as it was then.
func AppendProxy(b []byte, src, dst netip.AddrPort, tlvs ...TLV) ([]byte, error) {
	h := append(b, signature...)
	from, to := src.Addr().Unmap(), dst.Addr().Unmap()
	family := byte(overIPv6)
	if from.Is4() && to.Is4() {
		family = overIPv4
	}
	h = append(h, commandProxy, family, 0, 0)
	for _, a := range []netip.Addr{from, to} {
		if family == overIPv4 {
			h = append(h, a.AsSlice()...)
		} else {
			wide := a.As16()
			h = append(h, wide[:]...)
		}
	}
	h = binary.BigEndian.AppendUint16(h, src.Port())
	h = binary.BigEndian.AppendUint16(h, dst.Port())
	sum := -1
	for _, t := range tlvs {
		if t.Type == TypeChecksum {
			sum = len(h) + 3
			t.Value = make([]byte, checksumSize) // it is summed up as zero
		}
		h = appendTLV(h, t)
	}
	size := len(h) - len(b)
	if size > MaxSize {
		return b, fmt.Errorf("%w: %d bytes", ErrTooLong, size)
	}
	binary.BigEndian.PutUint16(h[len(b)+lengthAt:], uint16(size-fixedSize))
	if sum >= 0 {
		binary.BigEndian.PutUint32(h[sum:], crc32.Checksum(h[len(b):], castagnoli))
	}
	return h, nil
}

// AppendLocal appends the header of a connection that the gateway makes for itself, such as a health check.
func AppendLocal(b []byte) []byte {
	return append(append(b, signature...), commandLocal, unspecified, 0, 0)
}

func appendTLV(b []byte, t TLV) []byte {
	b = append(b, t.Type)
	b = binary.BigEndian.AppendUint16(b, uint16(len(t.Value)))
	return append(b, t.Value...)
}
