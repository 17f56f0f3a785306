package tunnel

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

const keyLen = 32

// Key is a WireGuard public key (a Curve25519 point, RFC 7748).
type Key [keyLen]byte

// ErrWeakKey is returned for a public key of low order: with it every shared secret would be zero (RFC 7748 section 6.1),
// so that anybody could read the tunnel.
var ErrWeakKey = errors.New("public key has low order")

// ParseKey reads a public key in the base64 form that wg prints. It refuses anything but 44 characters of canonical standard
// base64, and keys of low order, the all-zero key among them, with [ErrWeakKey].
func ParseKey(s string) (Key, error) {
	raw, err := decodeKey([]byte(s))
	if err != nil {
		return Key{}, fmt.Errorf("parse public key: %w", err)
	}
	k := Key(raw)
	if err := k.check(); err != nil {
		return Key{}, fmt.Errorf("parse public key: %w", err)
	}
	return k, nil
}

// check refuses points of low order by doing what a handshake does: multiply, and look for zero. Any scalar will do,
// since clamping makes every one a multiple of the cofactor.
func (k Key) check() error {
	scalar, err := ecdh.X25519().NewPrivateKey(bytes.Repeat([]byte{1}, keyLen))
	if err != nil {
		return err
	}
	point, err := ecdh.X25519().NewPublicKey(k[:])
	if err != nil {
		return err
	}
	if _, err := scalar.ECDH(point); err != nil {
		return ErrWeakKey
	}
	return nil
}

// String returns the key in base64, as wg prints it.
func (k Key) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// MarshalText implements encoding.TextMarshaler with [Key.String].
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler with [ParseKey].
func (k *Key) UnmarshalText(text []byte) error {
	parsed, err := ParseKey(string(text))
	if err != nil {
		return err
	}
	*k = parsed
	return nil
}

func (k Key) hex() string { return hex.EncodeToString(k[:]) }

// decodeKey reads exactly one key. Strict base64 refuses the second spelling that unused trailing bits would allow; the
// length check comes first because the decoder skips line breaks.
func decodeKey(text []byte) ([]byte, error) {
	if len(text) != base64.StdEncoding.EncodedLen(keyLen) {
		return nil, fmt.Errorf("%d characters, want %d of base64", len(text), base64.StdEncoding.EncodedLen(keyLen))
	}
	raw := make([]byte, keyLen+1) // DecodedLen of 44 characters counts the padding
	n, err := base64.StdEncoding.Strict().Decode(raw, text)
	if err != nil {
		return nil, errors.New("not base64") // the decoder's error would quote the input
	}
	if n != keyLen {
		return nil, fmt.Errorf("%d bytes, want %d", n, keyLen)
	}
	return raw[:n], nil
}

// redacted is all that a secret ever prints.
const redacted = "(redacted)"

// ErrSecret is returned when a secret would be marshalled.
var ErrSecret = errors.New("secret key is never marshalled")

// PrivateKey is a WireGuard private key. It never prints: every fmt verb and slog show "(redacted)", and marshalling is an
// error.
type PrivateKey [keyLen]byte

// NewPrivateKey makes a key from the system's randomness.
func NewPrivateKey() PrivateKey {
	var k PrivateKey
	rand.Read(k[:]) // never fails (crypto/rand)
	k.clamp()
	return k
}

// ParsePrivateKey reads a private key in the base64 form that wg prints; the all-zero key is refused.
func ParsePrivateKey(s string) (PrivateKey, error) {
	raw, err := decodeKey([]byte(s))
	if err != nil {
		return PrivateKey{}, fmt.Errorf("parse private key: %w", err)
	}
	k := PrivateKey(raw)
	if k == (PrivateKey{}) {
		return PrivateKey{}, errors.New("parse private key: all zero")
	}
	return k, nil
}

// clamp is what wg genkey does, so that the text of a key is the same everywhere (RFC 7748 section 5).
func (k *PrivateKey) clamp() {
	k[0] &= 248
	k[31] = k[31]&127 | 64
}

// Public returns the public key that belongs to k.
func (k PrivateKey) Public() Key {
	priv, err := ecdh.X25519().NewPrivateKey(k[:])
	if err != nil {
		panic(err) // only for a wrong length, which the type excludes
	}
	return Key(priv.PublicKey().Bytes())
}

// Format implements fmt.Formatter by printing "(redacted)" whatever the verb.
func (PrivateKey) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// String returns "(redacted)".
func (PrivateKey) String() string { return redacted }

// LogValue implements slog.LogValuer with "(redacted)".
func (PrivateKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText always returns [ErrSecret].
func (PrivateKey) MarshalText() ([]byte, error) { return nil, ErrSecret }

// PresharedKey is an optional symmetric secret between two peers; the zero value means none. It prints and marshals no
// more than a [PrivateKey] does.
type PresharedKey [keyLen]byte

// NewPresharedKey makes a key from the system's randomness.
func NewPresharedKey() PresharedKey {
	var k PresharedKey
	rand.Read(k[:])
	return k
}

// Format implements fmt.Formatter by printing "(redacted)" whatever the verb.
func (PresharedKey) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// String returns "(redacted)".
func (PresharedKey) String() string { return redacted }

// LogValue implements slog.LogValuer with "(redacted)".
func (PresharedKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText always returns [ErrSecret].
func (PresharedKey) MarshalText() ([]byte, error) { return nil, ErrSecret }
