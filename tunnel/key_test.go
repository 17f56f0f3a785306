package tunnel

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Points of low order on Curve25519 (https://cr.yp.to/ecdh.html#validate), little endian.
var lowOrder = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"0000000000000000000000000000000000000000000000000000000000000080",
}

func TestParseKey(t *testing.T) {
	good := NewPrivateKey().Public()
	got, err := ParseKey(good.String())
	if err != nil || got != good {
		t.Errorf("ParseKey(%v) = %v, %v", good, got, err)
	}
	for _, h := range lowOrder {
		raw, _ := hex.DecodeString(h)
		if _, err := ParseKey(base64.StdEncoding.EncodeToString(raw)); !errors.Is(err, ErrWeakKey) {
			t.Errorf("low order point %s: %v", h, err)
		}
	}
	text := good.String()
	for name, bad := range map[string]string{
		"empty":         "",
		"short":         text[:43],
		"long":          text + "A",
		"line break":    text + "\n",
		"inner break":   text[:20] + "\n" + text[20:43],
		"url alphabet":  strings.Repeat("-", 43) + "=",
		"not canonical": strings.Repeat("A", 42) + "B=",
		"no padding":    strings.Repeat("A", 44),
		"hex":           hex.EncodeToString(good[:]),
	} {
		if k, err := ParseKey(bad); err == nil {
			t.Errorf("bad: %s: parsed as %v", name, k)
		} else if strings.Contains(err.Error(), "AAAA") {
			t.Errorf("bad: %s: the error quotes the input: %v", name, err)
		}
	}
}

// The key pair of Alice in RFC 7748 section 6.1.
func TestPublic(t *testing.T) {
	private, err := parseHex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
	if err != nil {
		t.Fatal(err)
	}
	const want = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
	if got := PrivateKey(private).Public().hex(); got != want {
		t.Errorf("public key is %s, want %s", got, want)
	}
}

func TestSecretsNeverPrint(t *testing.T) {
	key, psk := NewPrivateKey(), NewPresharedKey()
	type holder struct {
		Key *PrivateKey
		PSK PresharedKey
	}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%b", "%o"} {
		fmt.Fprintf(&out, verb+verb+verb, key, psk, holder{&key, psk})
		fmt.Fprintf(&out, verb+verb, &key, []PrivateKey{key})
	}
	log := slog.New(slog.NewTextHandler(&out, nil))
	log.Info("x", "key", key, "psk", psk, "both", holder{&key, psk})
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "key", key, "psk", psk, "both", holder{&key, psk})
	fmt.Fprint(&out, key.String(), psk.String(), Peer{PresharedKey: psk}, Config{PrivateKey: key})
	for name, secret := range map[string][]byte{"private": key[:], "preshared": psk[:]} {
		for form, text := range map[string]string{
			"base64":  base64.StdEncoding.EncodeToString(secret),
			"hex":     hex.EncodeToString(secret[:8]),
			"HEX":     strings.ToUpper(hex.EncodeToString(secret[:8])),
			"decimal": strings.Trim(fmt.Sprint(string(secret[:8])), "[]"),
			"commas":  strings.ReplaceAll(strings.Trim(fmt.Sprint(string(secret[:8])), "[]"), " ", ","),
			"raw":     string(secret),
		} {
			if strings.Contains(out.String(), text) {
				t.Errorf("the %s key is printed in %s", name, form)
			}
		}
	}
	for _, v := range []any{key, &key, psk, holder{&key, psk}} {
		if b, err := json.Marshal(v); !errors.Is(err, ErrSecret) {
			t.Errorf("%T marshals to %s, %v", v, b, err)
		}
	}
}

func TestLoadOrCreateKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	path := filepath.Join(dir, "wg0.key")
	first, err := LoadOrCreateKey(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadOrCreateKey(path)
	if err != nil || again != first {
		t.Errorf("the second time: %v, same key: %v", err, again == first)
	}
	for p, want := range map[string]fs.FileMode{dir: fs.ModeDir | 0o700, path: 0o600} {
		info, err := os.Stat(p)
		if err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v (%v), want %v", p, info.Mode(), err, want)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("the folder has %d entries (%v), want only the key", len(entries), err)
	}
}

func TestLoadOrCreateKeyAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys", "wg0.key")
	var keys [8]PrivateKey
	var done sync.WaitGroup
	for i := range keys {
		done.Go(func() {
			var err error
			if keys[i], err = LoadOrCreateKey(path); err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	for _, k := range keys {
		if k != keys[0] {
			t.Error("two callers got different keys")
		}
	}
}

func TestLoadKeyRefuses(t *testing.T) {
	key := NewPrivateKey()
	good := base64.StdEncoding.EncodeToString(key[:])
	tests := []struct {
		name, content string
		mode, dir     fs.FileMode
		want          string
	}{
		{"bad: group may read", good, 0o640, 0o700, "mode 0640"},
		{"bad: others may read", good, 0o604, 0o700, "mode 0604"},
		{"bad: folder open to group", good, 0o600, 0o770, "mode 0770"},
		{"bad: empty", "", 0o600, 0o700, "0 characters"},
		{"bad: garbage", strings.Repeat("!", 44), 0o600, 0o700, "not base64"},
		{"bad: two keys", good + "\n" + good, 0o600, 0o700, "89 characters"},
		{"bad: all zero", strings.Repeat("A", 43) + "=", 0o600, 0o700, "all zero"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "keys")
			path := filepath.Join(dir, "key")
			if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(path, []byte(tt.content), 0o600),
				os.Chmod(path, tt.mode), os.Chmod(dir, tt.dir)); err != nil {
				t.Fatal(err)
			}
			_, err := LoadOrCreateKey(path)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error is %v, want one with %q and the path", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), good) {
				t.Errorf("the error quotes the key: %v", err)
			}
			if after, _ := os.ReadFile(path); string(after) != tt.content {
				t.Error("the file was overwritten")
			}
		})
	}
	dir := t.TempDir()
	if _, err := LoadOrCreateKey(dir); err == nil {
		t.Error("a folder was taken for a key")
	}
}
