package api

import (
	"crypto/ecdh"
	"encoding/base64"
	"errors"
)

var (
	errKeyForm   = errors.New("is not a WireGuard public key: 44 characters of base64 as `wg pubkey` prints them")
	errKeyOfNone = errors.New("is a key that no private key belongs to (all zero or of low order)")
)

// checkPublicKey says what is wrong with a peer's public key. Strict base64 makes its spelling
// unique, so that it can be claimed by it. A point of low order gives everyone the same shared
// secret (RFC 7748 section 6.1): an exchange with any private key shows it.
func checkPublicKey(text string) error {
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	// The decoder skips line breaks, hence the first length.
	if err != nil || len(text) != 44 || len(raw) != 32 || !reduced(raw) {
		return errKeyForm
	}
	public, err := ecdh.X25519().NewPublicKey(raw)
	if err != nil {
		return errKeyForm
	}
	private, err := ecdh.X25519().NewPrivateKey(probeKey[:])
	if err != nil {
		return err
	}
	if _, err := private.ECDH(public); err != nil {
		return errKeyOfNone
	}
	return nil
}

// probeKey is any private key; it protects nothing.
var probeKey = [32]byte{1}

// reduced says whether a coordinate is below 2^255-19. X25519 takes others (RFC 7748 section 5) and
// reads them as one below, which would give one key two spellings.
func reduced(u []byte) bool {
	if u[31] != 0x7f {
		return u[31] < 0x7f
	}
	for _, b := range u[1:31] {
		if b != 0xff {
			return true
		}
	}
	return u[0] < 0xed
}
