package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"google.golang.org/protobuf/proto"
)

const (
	envelopeMagic   = 0xC5
	envelopeVersion = 1
	envelopeBytes   = 6

	// maxNesting bounds recursion when a stored value is decoded; no resource of ours nests deeper
	// than ten messages.
	maxNesting = 64
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode gives the stored form of m. The sum covers the message's name, so that a value copied
// below another collection does not decode there as something else.
func encode(m proto.Message) ([]byte, error) {
	out := make([]byte, envelopeBytes, envelopeBytes+proto.Size(m))
	out[0], out[1] = envelopeMagic, envelopeVersion
	out, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(out, m)
	if err != nil {
		return nil, fmt.Errorf("%w: encode %s: %w", ErrInvalid, messageName(m), err)
	}
	if len(out) > MaxValueBytes {
		return nil, fmt.Errorf("%w: %s of %d bytes, at most %d", ErrTooLarge, messageName(m), len(out), MaxValueBytes)
	}
	binary.LittleEndian.PutUint32(out[2:], checksum(m, out[envelopeBytes:]))
	return out, nil
}

// decode reads a stored form into m, which must be empty. Fields that m's type does not know are
// kept, so that a resource written by a later version survives a round trip through this one.
func decode(stored []byte, m proto.Message) error {
	switch {
	case len(stored) < envelopeBytes:
		return fmt.Errorf("%w: %d bytes", ErrCorrupt, len(stored))
	case stored[0] != envelopeMagic:
		return fmt.Errorf("%w: first byte %#02x", ErrCorrupt, stored[0])
	case stored[1] != envelopeVersion:
		return fmt.Errorf("%w: format version %d, this version reads %d", ErrCorrupt, stored[1], envelopeVersion)
	}
	payload := stored[envelopeBytes:]
	if binary.LittleEndian.Uint32(stored[2:]) != checksum(m, payload) {
		return fmt.Errorf("%w: checksum differs", ErrCorrupt)
	}
	if err := (proto.UnmarshalOptions{RecursionLimit: maxNesting}).Unmarshal(payload, m); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return nil
}

func checksum(m proto.Message, payload []byte) uint32 {
	sum := crc32.Update(0, castagnoli, []byte(messageName(m)))
	return crc32.Update(sum, castagnoli, payload)
}

func messageName(m proto.Message) string {
	return string(m.ProtoReflect().Descriptor().FullName())
}
