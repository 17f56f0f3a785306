package proxyproto

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

const (
	consumer = "10.0.1.4:40000"
	exposure = "10.0.1.10:443"
	uid      = "vpce-0123456789abcdef0"
	start    = "0d0a0d0a000d0a515549540a"
)

func at(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// TestGolden compares whole headers with bytes written by hand from the protocol's text.
func TestGolden(t *testing.T) {
	addresses := "0a000104" + "0a00010a" + "9c40" + "01bb"
	for name, tt := range map[string]struct {
		src, dst string
		tlvs     []TLV
		want     string
	}{
		"plain": {consumer, exposure, nil, "2111000c" + addresses},
		"endpoint": {
			consumer, exposure,
			[]TLV{Endpoint(uid)},
			"21110026" + addresses + "ea0017" + "01" + hex.EncodeToString([]byte(uid)),
		},
		"identity": {
			consumer, exposure,
			[]TLV{Identity{KeyFingerprint: "fp", Account: "acme", VPC: "accounts/acme/vpcs/prod"}.TLV()},
			"21110035" + addresses + "ec0026" + "010002" + "6670" + "020004" + "61636d65" + "030017" + hex.EncodeToString([]byte("accounts/acme/vpcs/prod")),
		},
		"mapped": {"[::ffff:10.0.1.4]:40000", "[::ffff:10.0.1.10]:443", nil, "2111000c" + addresses},
		"IPv6": {
			"[2001:db8::1]:40000", "[2001:db8::2]:443", nil,
			"21210024" + "20010db8000000000000000000000001" + "20010db8000000000000000000000002" + "9c40" + "01bb",
		},
		"mixed": {
			consumer, "[2001:db8::2]:443", nil,
			"21210024" + "00000000000000000000ffff0a000104" + "20010db8000000000000000000000002" + "9c40" + "01bb",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := AppendProxy([]byte("kept"), at(tt.src), at(tt.dst), tt.tlvs...)
			if err != nil {
				t.Fatal(err)
			}
			if want := "kept"; string(got[:4]) != want {
				t.Errorf("appended to %q, want %q", got[:4], want)
			}
			if got, want := hex.EncodeToString(got[4:]), start+tt.want; got != want {
				t.Errorf("header\n%s, want\n%s", got, want)
			}
		})
	}
}

// TestChecksum uses the check value of a header whose CRC32C was computed bit by bit.
func TestChecksum(t *testing.T) {
	got, err := AppendProxy(nil, at(consumer), at(exposure), Checksum(), Endpoint(uid))
	if err != nil {
		t.Fatal(err)
	}
	sum := got[fixedSize+12+3:][:checksumSize]
	want := bitwiseSum(got, fixedSize+12+3)
	if have := uint32(sum[0])<<24 | uint32(sum[1])<<16 | uint32(sum[2])<<8 | uint32(sum[3]); have != want || want == 0 {
		t.Errorf("checksum %#x, want %#x", have, want)
	}
}

// bitwiseSum is the CRC32C of b with the four bytes at zero taken as such.
func bitwiseSum(b []byte, zero int) uint32 {
	crc := ^uint32(0)
	for i, c := range b {
		if i >= zero && i < zero+checksumSize {
			c = 0
		}
		crc ^= uint32(c)
		for range 8 {
			crc = crc>>1 ^ 0x82f63b78*(crc&1)
		}
	}
	return ^crc
}

func TestLocal(t *testing.T) {
	if got, want := hex.EncodeToString(AppendLocal(nil)), start+"20000000"; got != want {
		t.Errorf("header %s, want %s", got, want)
	}
}

func TestTooLong(t *testing.T) {
	room := MaxSize - fixedSize - 12 - 3
	if h, err := AppendProxy(nil, at(consumer), at(exposure), TLV{Type: TypeAWS, Value: make([]byte, room)}); err != nil || len(h) != MaxSize {
		t.Errorf("%d bytes, %v; want %d", len(h), err, MaxSize)
	}
	h, err := AppendProxy([]byte("kept"), at(consumer), at(exposure), TLV{Type: TypeAWS, Value: make([]byte, room+1)})
	if !errors.Is(err, ErrTooLong) || string(h) != "kept" {
		t.Errorf("%q, %v; want ErrTooLong", h, err)
	}
}

// TestLongestNames makes the longest header that names of resources can lead to.
func TestLongestNames(t *testing.T) {
	id := strings.Repeat("x", 63)
	who := Identity{KeyFingerprint: Fingerprint([32]byte{}), Account: id, VPC: "accounts/" + id + "/vpcs/" + id}
	h, err := AppendProxy(nil, at("[2001:db8::1]:1"), at("[2001:db8::2]:2"), Endpoint(uid), who.TLV(), Checksum())
	if err != nil {
		t.Fatalf("%d bytes: %v", len(h), err)
	}
}

// TestFingerprint has the output of `base64 -d | sha256sum | xxd -r -p | base64` for a key of zeros.
func TestFingerprint(t *testing.T) {
	if got, want := Fingerprint([32]byte{}), "Zmh6rfhivXdsj8GLjp+OIAiXFIVu4jOzkCpZHQ1fKSU"; got != want {
		t.Errorf("fingerprint %s, want %s", got, want)
	}
}
