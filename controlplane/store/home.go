package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	// maxSocketPath is one less than sun_path of unix(7), which ends in a NUL.
	maxSocketPath = 107

	lockFile   = "lock"
	dataFolder = "etcd"
	runFolder  = "run"
)

// home is the directory of an embedded store while this process holds it:
//
//	lock   held with flock(2) by the process that has the store open
//	etcd/  the server's data
//	run/   its sockets, unless their paths would be too long
type home struct {
	dir     string
	lock    *os.File
	sockets string // folder for sockets, mode 0700
	private bool   // sockets is outside dir and removed at release
}

// claimDir makes dir if need be, refuses what is not a store's, and locks it.
func claimDir(dir string) (_ *home, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := recognise(dir); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, err
	}
	h := &home{dir: dir}
	if h.lock, err = lockDir(dir); err != nil {
		return nil, err
	}
	if err := h.makeSockets(); err != nil {
		return nil, errors.Join(err, h.release())
	}
	return h, nil
}

func (h *home) data() string { return filepath.Join(h.dir, dataFolder) }

// recognise refuses a directory with entries that no store makes, before anything is written there
// or its mode is changed: a mistyped path must not turn somebody's home into a data directory.
func recognise(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch e.Name() {
		case lockFile, dataFolder, runFolder, "lost+found":
		default:
			return fmt.Errorf("%w: it holds %q", ErrForeign, e.Name())
		}
	}
	return nil
}

func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, errors.Join(ErrLocked, f.Close())
	case err != nil:
		return nil, errors.Join(fmt.Errorf("lock %q: %w", f.Name(), err), f.Close())
	}
	return f, nil
}

func (h *home) makeSockets() error {
	h.sockets = filepath.Join(h.dir, runFolder)
	if len(filepath.Join(h.sockets, "client.sock")) > maxSocketPath {
		folder, err := os.MkdirTemp("", "causeway-")
		if err != nil {
			return fmt.Errorf("make folder for sockets: %w", err)
		}
		h.sockets, h.private = folder, true
		return nil
	}
	if err := os.Mkdir(h.sockets, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Chmod(h.sockets, 0o700)
}

// release gives the directory up. The lock file stays: removing it would race with the next holder.
func (h *home) release() error {
	var err error
	if h.private {
		err = os.RemoveAll(h.sockets)
	}
	return errors.Join(err, h.lock.Close())
}
