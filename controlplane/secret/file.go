package secret

import (
	"bufio"
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const keyBytes = 32 // AES-256

// OpenFile reads the keys in a file, or makes it, with one new key, where there is none. The file has a
// key per line, an id and 32 bytes in base64; the first seals and all open. To change the key, put a
// new line first; daemons that share a store share the file.
func OpenFile(path string) (*Box, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		content, err = create(path)
	}
	if err != nil {
		return nil, fmt.Errorf("open the key of secrets: %w", err)
	}
	box, err := parse(content)
	if err != nil {
		return nil, fmt.Errorf("open the key of secrets %q: %w", path, err)
	}
	return box, nil
}

// parse reads key lines. Errors do not quote them.
func parse(content []byte) (*Box, error) {
	box := &Box{keys: map[string]cipher.AEAD{}}
	lines := bufio.NewScanner(bytes.NewReader(content))
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 {
			continue
		}
		id := fields[0]
		if len(fields) != 2 || strings.Contains(id, ".") || box.keys[id] != nil {
			return nil, fmt.Errorf("line %d is not a new id without dots and a key", n)
		}
		key, err := base64.StdEncoding.Strict().DecodeString(fields[1])
		if err != nil || len(key) != keyBytes {
			return nil, fmt.Errorf("line %d: the key is not %d bytes in base64", n, keyBytes)
		}
		if box.keys[id], err = newAEAD(key); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if box.newest == "" {
			box.newest = id
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if box.newest == "" {
		return nil, errors.New("it has no key")
	}
	return box, nil
}

// create writes a file with one new key, whole or not at all. Of two that do so at once both use the key
// of the one that was first.
func create(path string) ([]byte, error) {
	raw := make([]byte, keyBytes+4)
	if _, err := rand.Read(raw); err != nil {
		return nil, err
	}
	line := hex.EncodeToString(raw[keyBytes:]) + " " + base64.StdEncoding.EncodeToString(raw[:keyBytes]) + "\n"
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // 0600
	if err != nil {
		return nil, err
	}
	_, err = tmp.WriteString(line)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Link(tmp.Name(), path)
	}
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if err = errors.Join(err, os.Remove(tmp.Name())); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}
