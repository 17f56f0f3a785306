package bind

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// endpoint is the address of a peer. It is shared by everything that came from there; only plain changes, and only once.
type endpoint struct {
	addr netip.AddrPort
	// plain is set when segmentation offload turned out not to work on the way to this peer. It is kept per peer because
	// it depends on the interface and its MTU, not on the socket.
	plain atomic.Bool
}

var _ conn.Endpoint = (*endpoint)(nil)

func newEndpoint(addr netip.AddrPort) *endpoint {
	return &endpoint{addr: netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())}
}

// ClearSrc, SrcToString and SrcIP have nothing to tell: the socket's own address is the source.
func (*endpoint) ClearSrc()           {}
func (*endpoint) SrcToString() string { return "" }
func (*endpoint) SrcIP() netip.Addr   { return netip.Addr{} }

func (e *endpoint) DstToString() string { return e.addr.String() }
func (e *endpoint) DstIP() netip.Addr   { return e.addr.Addr() }

func (e *endpoint) DstToBytes() []byte {
	b, _ := e.addr.MarshalBinary() // never fails
	return b
}

// sockaddr is a socket address of either family.
type sockaddr struct {
	unix.RawSockaddrInet6 // the larger of the two
}

// set stores addr as a socket of the given family takes it, and returns its length.
func (s *sockaddr) set(addr netip.AddrPort, family uint16) uint32 {
	s.Family = family
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&s.Port))[:], addr.Port())
	if family == unix.AF_INET {
		in4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(s))
		in4.Addr = addr.Addr().As4()
		return unix.SizeofSockaddrInet4
	}
	s.Addr = addr.Addr().As16()
	return unix.SizeofSockaddrInet6
}

// get returns the address that the kernel stored, or the zero value if it is of no known family.
func (s *sockaddr) get() netip.AddrPort {
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&s.Port))[:])
	switch s.Family {
	case unix.AF_INET:
		in4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(s))
		return netip.AddrPortFrom(netip.AddrFrom4(in4.Addr), port)
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(s.Addr).Unmap(), port)
	}
	return netip.AddrPort{}
}

// maxEndpoints bounds the cache, because sources of unauthenticated datagrams cost a sender nothing.
const maxEndpoints = 1024

// endpointCache keeps one endpoint per source. It belongs to one receiver.
type endpointCache struct {
	last *endpoint
	all  map[netip.AddrPort]*endpoint
}

func (c *endpointCache) get(addr netip.AddrPort) *endpoint {
	if c.last != nil && c.last.addr == addr {
		return c.last
	}
	e := c.all[addr]
	if e == nil {
		if len(c.all) >= maxEndpoints {
			clear(c.all)
		}
		e = newEndpoint(addr)
		c.all[addr] = e
	}
	c.last = e
	return e
}
