package proxyproto

import (
	"crypto/sha256"
	"encoding/base64"
)

// Fingerprint names a WireGuard public key without telling it: the SHA-256 of its 32 bytes in unpadded base64, 43
// characters.
func Fingerprint(key [32]byte) string {
	sum := sha256.Sum256(key[:])
	return base64.RawStdEncoding.EncodeToString(sum[:])
}
