package secret

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func open(t *testing.T, path string) *Box {
	t.Helper()
	box, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func TestSealAndOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.key")
	box := open(t, path)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("key file: %v, %v; want mode 0600", info.Mode(), err)
	}
	for _, secret := range []string{"", "k", strings.Repeat("long", 1000)} {
		text, err := box.Seal([]byte(secret), "accounts/a/certificates/c")
		if err != nil {
			t.Fatal(err)
		}
		if secret != "" && secret != "k" && strings.Contains(text, secret) {
			t.Errorf("sealed text %q holds the secret", text)
		}
		again := open(t, path)
		if got, err := again.Open(text, "accounts/a/certificates/c"); err != nil || string(got) != secret {
			t.Errorf("opened after a restart: %q, %v; want %q", got, err, secret)
		}
		if got, err := box.Open(text, "accounts/b/certificates/c"); !errors.Is(err, ErrUnsealed) {
			t.Errorf("opened for another owner: %q, %v", got, err)
		}
		for n := range len(text) {
			changed := []byte(text)
			changed[n] ^= 1
			if got, err := box.Open(string(changed), "accounts/a/certificates/c"); !errors.Is(err, ErrUnsealed) {
				t.Fatalf("opened with byte %d changed: %q, %v", n, got, err)
			}
		}
		if _, err := open(t, filepath.Join(t.TempDir(), "other.key")).Open(text, "accounts/a/certificates/c"); !errors.Is(err, ErrUnsealed) {
			t.Errorf("opened with another key: %v", err)
		}
	}
}

func TestKeysRotate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.key")
	old, err := open(t, path).Seal([]byte("before"), "owner")
	if err != nil {
		t.Fatal(err)
	}
	line, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "new.key")
	open(t, other)
	newest, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(newest, line...), 0o600); err != nil {
		t.Fatal(err)
	}
	box := open(t, path)
	if got, err := box.Open(old, "owner"); err != nil || string(got) != "before" {
		t.Errorf("what the old key sealed: %q, %v", got, err)
	}
	text, err := box.Seal([]byte("after"), "owner")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := open(t, other).Open(text, "owner"); err != nil || string(got) != "after" {
		t.Errorf("the first key does not seal: %q, %v", got, err)
	}
}

func TestBadKeyFiles(t *testing.T) {
	key := strings.Repeat("A", 43) + "="
	for name, content := range map[string]string{
		"bad empty":       "\n",
		"bad no id":       key + "\n",
		"bad dot in id":   "a.b " + key,
		"bad id twice":    "a " + key + "\na " + key,
		"bad short key":   "a AAAA",
		"bad base64":      "a " + strings.Repeat("?", 44),
		"bad third field": "a " + key + " x",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "secrets.key")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			box, err := OpenFile(path)
			if err == nil {
				t.Fatalf("opened: %v", box)
			}
			if strings.Contains(err.Error(), key) {
				t.Errorf("error shows the key: %v", err)
			}
		})
	}
}

func TestOneKeyOfManyMakers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.key")
	boxes := make([]*Box, 16)
	var group sync.WaitGroup
	for n := range boxes {
		group.Go(func() {
			box, err := OpenFile(path)
			if err != nil {
				t.Error(err)
			}
			boxes[n] = box
		})
	}
	group.Wait()
	text, err := boxes[0].Seal([]byte("x"), "o")
	if err != nil {
		t.Fatal(err)
	}
	for _, box := range boxes {
		if got, err := box.Open(text, "o"); err != nil || !bytes.Equal(got, []byte("x")) {
			t.Errorf("another maker's key: %q, %v", got, err)
		}
	}
}
