package store

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

const (
	tokenVersion  = 1
	tokenMACBytes = 16
)

// tokenArgs are the arguments of a list that its page tokens are bound to.
type tokenArgs struct{ collection, parent, bind string }

// cursor is what a page token carries: where the next page begins and in which state.
type cursor struct {
	revision int64
	last     string // name of the last resource of the page before
}

// A token is base64url without padding of: version (1 byte), MAC (16 bytes), revision (uvarint),
// last name. The MAC, HMAC-SHA-256 cut to 16 bytes, covers the arguments too, so a token is worth
// nothing with others; it is no secret, and names only what its receiver was shown.
func encodeToken(key []byte, args tokenArgs, cur cursor) string {
	body := binary.AppendUvarint(nil, uint64(cur.revision))
	body = append(body, cur.last...)
	raw := append([]byte{tokenVersion}, tokenMAC(key, args, body)...)
	return base64.RawURLEncoding.EncodeToString(append(raw, body...))
}

func decodeToken(key []byte, args tokenArgs, token string) (cursor, error) {
	if len(token) > 4*maxNameBytes {
		return cursor{}, fmt.Errorf("%w: %d characters", ErrPageToken, len(token))
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) < 1+tokenMACBytes || raw[0] != tokenVersion {
		return cursor{}, fmt.Errorf("%w: malformed", ErrPageToken)
	}
	mac, body := raw[1:1+tokenMACBytes], raw[1+tokenMACBytes:]
	if !hmac.Equal(mac, tokenMAC(key, args, body)) {
		return cursor{}, fmt.Errorf("%w: not issued for this list", ErrPageToken)
	}
	revision, n := binary.Uvarint(body)
	if n <= 0 || int64(revision) <= 0 {
		return cursor{}, fmt.Errorf("%w: malformed", ErrPageToken)
	}
	return cursor{revision: int64(revision), last: string(body[n:])}, nil
}

func tokenMAC(key []byte, args tokenArgs, body []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte{tokenVersion})
	for _, part := range []string{args.collection, args.parent, args.bind} {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:])
		h.Write([]byte(part))
	}
	h.Write(body)
	return h.Sum(nil)[:tokenMACBytes]
}
