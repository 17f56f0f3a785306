// Package secret seals what the store keeps and nobody may read there: private keys of certificates
// and the like. A sealed text opens only with the installation's key, which is not in the store, and
// only under the name it was sealed for, so that two of them cannot be exchanged.
package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// ErrUnsealed says that a text does not open: it was sealed with another key or for another owner, or
// it was changed.
var ErrUnsealed = errors.New("sealed text does not open with this installation's key")

// version begins every sealed text: AES-256-GCM with a random nonce (NIST SP 800-38D), the owner's name
// as additional data. Some four billion texts may be sealed with one key.
const version = "sealed1"

// Box seals and opens. It is safe for concurrent use.
type Box struct {
	// newest is the id of the key that seals.
	newest string
	keys   map[string]cipher.AEAD
}

// Seal gives the text to store for a secret of owner, a resource name.
func (b *Box) Seal(secret []byte, owner string) (string, error) {
	aead := b.keys[b.newest]
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(secret)+aead.Overhead())
	if _, err := rand.Read(nonce); err != nil {
		return "", fmt.Errorf("seal a secret of %q: %w", owner, err)
	}
	sealed := aead.Seal(nonce, nonce, secret, []byte(owner))
	return strings.Join([]string{version, b.newest, base64.RawStdEncoding.EncodeToString(sealed)}, "."), nil
}

// Open gives the secret that was sealed for owner. The error wraps ErrUnsealed.
func (b *Box) Open(text, owner string) ([]byte, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 || parts[0] != version {
		return nil, fmt.Errorf("open a secret of %q: %w", owner, ErrUnsealed)
	}
	aead, known := b.keys[parts[1]]
	if !known {
		return nil, fmt.Errorf("open a secret of %q: key %q is not in the key file: %w", owner, parts[1], ErrUnsealed)
	}
	sealed, err := base64.RawStdEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(sealed) < aead.NonceSize() {
		return nil, fmt.Errorf("open a secret of %q: %w", owner, ErrUnsealed)
	}
	secret, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], []byte(owner))
	if err != nil {
		return nil, fmt.Errorf("open a secret of %q: %w", owner, ErrUnsealed)
	}
	return secret, nil
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
