package bind

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// message is the kernel's struct mmsghdr.
type message struct {
	header unix.Msghdr
	length uint32
	_      [4]byte
}

// control is room for one control message with the 2 bytes of UDP_SEGMENT or the 4 bytes of UDP_GRO.
type control [24]byte

// setSegmentSize asks the kernel to cut the message into datagrams of size bytes.
func (c *control) setSegmentSize(size int) {
	h := (*unix.Cmsghdr)(unsafe.Pointer(c))
	h.Level, h.Type = unix.SOL_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(c[unix.CmsgLen(0):], uint16(size))
}

// segmentSize returns the size of the datagrams that the kernel joined, or 0 if it did not. Only UDP_GRO is ever asked for.
func (c *control) segmentSize(length int) int {
	h := (*unix.Cmsghdr)(unsafe.Pointer(c))
	if length < unix.CmsgLen(4) || h.Level != unix.SOL_UDP || h.Type != unix.UDP_GRO {
		return 0
	}
	return int(binary.NativeEndian.Uint32(c[unix.CmsgLen(0):]))
}
