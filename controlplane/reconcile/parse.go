package reconcile

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"

	"causeway/controlplane/resource"
	"causeway/gateway/spec"
)

func parsePrefix(field, text string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil || !prefix.Addr().Is4() || prefix != prefix.Masked() {
		return netip.Prefix{}, fmt.Errorf("%s %q is no canonical IPv4 prefix", field, text)
	}
	return prefix, nil
}

// reserved is 240.0.0.0/4 with the broadcast address (RFC 1112 section 4).
var reserved = netip.PrefixFrom(netip.AddrFrom4([4]byte{240}), 4)

// parseAddress reads an address that a host may have.
func parseAddress(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil || !addr.Is4() {
		return netip.Addr{}, fmt.Errorf("%q is no IPv4 address", text)
	}
	if addr.IsUnspecified() || addr.IsLoopback() || addr.IsMulticast() || addr.IsLinkLocalUnicast() || reserved.Contains(addr) {
		return netip.Addr{}, fmt.Errorf("%v is no address of a host", addr)
	}
	return addr, nil
}

// maxUID is how long a uid may be that names files.
const maxUID = 63

func validUID(uid string) bool { return len(uid) <= maxUID && resource.IsUID(uid) }

func parsePort(port int32) (uint16, error) {
	if port < 1 || port > 65535 {
		return 0, fmt.Errorf("port %d is outside 1 to 65535", port)
	}
	return uint16(port), nil
}

// lowOrder are the points of low order of Curve25519 (https://cr.yp.to/ecdh.html#validate), in all
// encodings but for the top bit, which X25519 ignores. With such a key anybody can read the tunnel,
// and the gateway refuses it.
var lowOrder = func() map[spec.Key]bool {
	points := map[spec.Key]bool{}
	for _, text := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	} {
		var point spec.Key
		if n, err := hex.Decode(point[:], []byte(text)); err != nil || n != len(point) {
			panic("reconcile: table of low-order points: " + text)
		}
		points[point] = true
	}
	return points
}()

func parseKey(text string) (spec.Key, error) {
	key, err := spec.ParseKey(text)
	if err != nil {
		return spec.Key{}, err
	}
	point := key
	point[len(point)-1] &= 0x7f
	if lowOrder[point] {
		return spec.Key{}, errors.New("public key has low order")
	}
	return key, nil
}
