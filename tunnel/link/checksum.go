package link

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
)

// putChecksum stores the Internet checksum (RFC 1071) of data, continued from initial, in field, a part of data.
func putChecksum(field, data []byte, initial uint16) {
	field[0], field[1] = 0, 0
	binary.BigEndian.PutUint16(field, ^checksum.Checksum(data, initial))
}

// pseudoChecksum is the sum of the pseudo-header of a segment of size bytes (RFC 9293 section 3.1, RFC 768).
func pseudoChecksum(ip []byte, protocol uint8, size int) uint16 {
	return checksum.Checksum(ip[12:20], checksum.Combine(uint16(protocol), uint16(size)))
}
