package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
)

// parsed is a header as a service sees it.
type parsed struct {
	local    bool
	src, dst netip.AddrPort
	tlvs     []TLV
	rest     []byte
}

var errHeader = errors.New("not a PROXY protocol header")

// parse is what a careful service does. It is of these tests, not of the gateway.
func parse(b []byte) (p parsed, err error) {
	if len(b) < fixedSize || string(b[:len(signature)]) != signature || b[len(signature)]>>4 != 2 {
		return p, errHeader
	}
	command, family := b[len(signature)]&0xf, b[len(signature)+1]
	body := b[fixedSize:]
	size := int(binary.BigEndian.Uint16(b[lengthAt:]))
	if size > len(body) || command > 1 {
		return p, errHeader
	}
	p.rest, body = body[size:], body[:size]
	if command == 0 {
		p.local = true
		return p, nil
	}
	width := map[byte]int{overIPv4: 4, overIPv6: 16}[family]
	if width == 0 || len(body) < 2*width+4 {
		return p, errHeader
	}
	src, _ := netip.AddrFromSlice(body[:width])
	dst, _ := netip.AddrFromSlice(body[width : 2*width])
	p.src = netip.AddrPortFrom(src, binary.BigEndian.Uint16(body[2*width:]))
	p.dst = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(body[2*width+2:]))
	p.tlvs, err = parseTLVs(body[2*width+4:])
	return p, err
}

func parseTLVs(b []byte) (list []TLV, err error) {
	for len(b) > 0 {
		if len(b) < 3 || int(binary.BigEndian.Uint16(b[1:])) > len(b)-3 {
			return nil, errHeader
		}
		end := 3 + int(binary.BigEndian.Uint16(b[1:]))
		list = append(list, TLV{b[0], b[3:end]})
		b = b[end:]
	}
	return list, nil
}

// FuzzAppend checks that whatever goes into a header comes out of it, and nothing of the payload with it.
func FuzzAppend(f *testing.F) {
	f.Add([]byte{10, 0, 1, 4}, []byte{10, 0, 1, 10}, uint16(40000), uint16(443), uid, "acme", []byte("GET /"))
	f.Add([]byte{10, 0, 1, 4}, make([]byte, 16), uint16(0), uint16(0), "", "", []byte(signature))
	f.Fuzz(func(t *testing.T, from, to []byte, fromPort, toPort uint16, endpoint, account string, payload []byte) {
		src, ok := netip.AddrFromSlice(from)
		dst, ok2 := netip.AddrFromSlice(to)
		if !ok || !ok2 {
			t.Skip("no addresses")
		}
		identity := Identity{Account: account, KeyFingerprint: endpoint}.TLV()
		h, err := AppendProxy(nil, netip.AddrPortFrom(src, fromPort), netip.AddrPortFrom(dst, toPort), Endpoint(endpoint), identity, Checksum())
		if err != nil {
			if len(h) != 0 || len(endpoint)*2+len(account) < MaxSize/2 {
				t.Fatalf("%v with %d bytes", err, len(endpoint)+len(account))
			}
			return
		}
		p, err := parse(append(h, payload...))
		if err != nil {
			t.Fatal(err)
		}
		if len(h) > MaxSize || p.local || !bytes.Equal(p.rest, payload) {
			t.Errorf("%d bytes, local %t, payload %q, want %q", len(h), p.local, p.rest, payload)
		}
		if p.src.Addr().Unmap() != src.Unmap() || p.dst.Addr().Unmap() != dst.Unmap() || p.src.Port() != fromPort || p.dst.Port() != toPort {
			t.Errorf("from %v to %v", p.src, p.dst)
		}
		if len(p.tlvs) != 3 || string(p.tlvs[0].Value) != "\x01"+endpoint || !bytes.Equal(p.tlvs[1].Value, identity.Value) {
			t.Fatalf("TLVs %v", p.tlvs)
		}
		if inner, err := parseTLVs(p.tlvs[1].Value); err != nil || len(inner) > 2 {
			t.Errorf("inner TLVs %v, %v", inner, err)
		}
		if sum := binary.BigEndian.Uint32(p.tlvs[2].Value); sum != bitwiseSum(h, len(h)-checksumSize) {
			t.Errorf("checksum %#x", sum)
		}
	})
}

// FuzzParse keeps the tests' own parser honest.
func FuzzParse(f *testing.F) {
	f.Add(AppendLocal(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := parse(b); err == nil && len(p.rest) > len(b)-fixedSize {
			t.Errorf("%d bytes left of %d", len(p.rest), len(b))
		}
	})
}
