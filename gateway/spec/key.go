package spec

import (
	"encoding/base64"
	"errors"
	"fmt"
)

// Key is a WireGuard public key.
type Key [32]byte

// ParseKey reads a key in the base64 form that `wg` prints: 44 characters.
func ParseKey(text string) (Key, error) {
	var k Key
	if err := k.UnmarshalText([]byte(text)); err != nil {
		return Key{}, err
	}
	return k, nil
}

// String is the base64 form that `wg` prints.
func (k Key) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// MarshalText is String as bytes.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText accepts exactly what MarshalText produces.
func (k *Key) UnmarshalText(text []byte) error {
	raw, err := base64.StdEncoding.Strict().DecodeString(string(text))
	if err != nil || len(raw) != len(k) || len(text) != base64.StdEncoding.EncodedLen(len(k)) {
		return fmt.Errorf("public key is not %d bytes of base64 as `wg pubkey` prints them", len(k))
	}
	copy(k[:], raw)
	if *k == (Key{}) {
		return errors.New("public key is all zero")
	}
	return nil
}
