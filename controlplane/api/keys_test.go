package api

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"testing"
)

// newKey gives the public key of a fresh key pair.
func newKey() string {
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(private.PublicKey().Bytes())
}

// Points of low order from https://cr.yp.to/ecdh.html#validate.
var lowOrder = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

// Coordinates of 2^255-19 and above are second spellings of others.
var unreduced = []string{
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"f6ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"0900000000000000000000000000000000000000000000000000000000000080",
}

func fromHex(text string) string {
	raw, err := hex.DecodeString(text)
	if err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(raw)
}

func TestCheckPublicKey(t *testing.T) {
	good := newKey()
	cases := []struct {
		name, key string
		want      error
	}{
		{"OK", good, nil},
		{"OK base point", fromHex("0900000000000000000000000000000000000000000000000000000000000000"), nil},
		{"bad empty", "", errKeyForm},
		{"bad 31 bytes", base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{9}, 31)), errKeyForm},
		{"bad 33 bytes", base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{9}, 33)), errKeyForm},
		{"bad line break", good[:20] + "\n" + good[20:], errKeyForm},
		{"bad space", " " + good, errKeyForm},
		{"bad no padding", good[:43], errKeyForm},
		{"bad loose bits", fromHex("0900000000000000000000000000000000000000000000000000000000000000")[:42] + "B=", errKeyForm},
		{"bad hexadecimal", lowOrder[2], errKeyForm},
	}
	for _, text := range lowOrder {
		cases = append(cases, struct {
			name, key string
			want      error
		}{"bad low order " + text[:8], fromHex(text), errKeyOfNone})
	}
	for _, text := range unreduced {
		cases = append(cases, struct {
			name, key string
			want      error
		}{"bad unreduced " + text[:8], fromHex(text), errKeyForm})
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			if err := checkPublicKey(tc.key); !errors.Is(err, tc.want) {
				t.Errorf("checkPublicKey(%q) = %v, want %v", tc.key, err, tc.want)
			}
		})
	}
}

// FuzzCheckPublicKey holds that an accepted key has one spelling.
func FuzzCheckPublicKey(f *testing.F) {
	f.Add(newKey())
	f.Add(fromHex(lowOrder[3]))
	f.Fuzz(func(t *testing.T, key string) {
		if checkPublicKey(key) != nil {
			return
		}
		raw, err := base64.StdEncoding.DecodeString(key)
		if err != nil || base64.StdEncoding.EncodeToString(raw) != key {
			t.Errorf("accepted %q, which is not the spelling of %x", key, raw)
		}
	})
}
