package tunnel

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// LoadOrCreateKey returns the private key in the file at path, or makes one there, with mode 0600 in a folder of mode 0700,
// if there is no such file. The content is the base64 form that wg genkey prints.
//
// It refuses a file that group or others may access, one in a folder where they could replace it, one that is not
// a regular file, and malformed content; it never overwrites a key. Several processes may call it at once: they get the same key.
func LoadOrCreateKey(path string) (PrivateKey, error) {
	key, err := loadKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := createKey(path); err != nil {
			return PrivateKey{}, fmt.Errorf("create private key: %w", err)
		}
		key, err = loadKey(path)
	}
	if err != nil {
		return PrivateKey{}, fmt.Errorf("load private key: %w", err)
	}
	return key, nil
}

func loadKey(path string) (PrivateKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return PrivateKey{}, err
	}
	defer f.Close()
	if err := checkPrivate(f, path); err != nil {
		return PrivateKey{}, err
	}
	text, err := io.ReadAll(io.LimitReader(f, 1024))
	if err != nil {
		return PrivateKey{}, err
	}
	key, err := ParsePrivateKey(string(bytes.TrimSpace(text)))
	if err != nil {
		return PrivateKey{}, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

func checkPrivate(f *os.File, path string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: not a regular file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%s: mode %04o lets others read it, want 0600", path, mode)
	}
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	if mode := dir.Mode(); mode.Perm()&0o022 != 0 && mode&fs.ModeSticky == 0 {
		return fmt.Errorf("%s: mode %04o of its folder lets others replace it, want 0700", path, mode.Perm())
	}
	return nil
}

// createKey writes a new key unless there is one by now: a hard link, unlike a rename, never replaces.
func createKey(path string) error {
	key := NewPrivateKey()
	temp, err := writeTemp(path, []byte(base64.StdEncoding.EncodeToString(key[:])+"\n"))
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	if err := os.Link(temp, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(path))
}
