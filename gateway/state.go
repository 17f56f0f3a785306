package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"causeway/gateway/spec"
	"causeway/tunnel"
)

// detach validates a spec and returns it encoded, and decoded again: a copy that shares nothing with its giver.
func detach(s *spec.Gateway) ([]byte, *spec.Gateway, error) {
	if err := check(s); err != nil {
		return nil, nil, err
	}
	data, err := json.Marshal(s)
	if err != nil {
		return nil, nil, fmt.Errorf("encode: %w", err)
	}
	own, err := decode(data)
	return data, own, err
}

// decode is the way into the gateway for a spec from anywhere: strict, so that an older gateway does not serve a newer
// spec without the restrictions it does not know.
func decode(data []byte) (*spec.Gateway, error) {
	s := new(spec.Gateway)
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(s); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	if d.More() {
		return nil, errors.New("decode: more than one value")
	}
	return s, check(s)
}

// check adds to the spec's own validation what this gateway cannot serve.
func check(s *spec.Gateway) error {
	if err := s.Validate(); err != nil {
		return err
	}
	for _, e := range s.Endpoints {
		for _, n := range e.Interfaces {
			if !n.Address.Is4() {
				return fmt.Errorf("endpoint %q: network interface %q at %v: only IPv4 is served", e.Name, n.UID, n.Address)
			}
		}
	}
	for _, lb := range s.LoadBalancers {
		for _, n := range lb.Nodes {
			for _, a := range n.Addresses() {
				if !a.Is4() {
					return fmt.Errorf("load balancer %q: node %v: only IPv4 is served", lb.Name, a)
				}
			}
		}
	}
	return checkPeers(s)
}

// checkPeers refuses public keys and names that tunnel would, before anything is changed for their sake.
func checkPeers(s *spec.Gateway) error {
	names := map[string]string{}
	for _, d := range s.Domains {
		for _, t := range d.TunnelEndpoints {
			if other, taken := names[deviceName(t.UID)]; taken {
				return fmt.Errorf("domain %q: tunnel endpoint %q: begins as %q does", d.Name, t.UID, other)
			}
			names[deviceName(t.UID)] = t.UID
			for _, p := range t.Peers {
				if _, err := tunnel.ParseKey(p.PublicKey.String()); err != nil {
					return fmt.Errorf("domain %q: tunnel endpoint %q: peer %q: %w", d.Name, t.UID, p.Name, err)
				}
			}
		}
	}
	return nil
}

// specFile keeps the last good spec on disk.
type specFile struct{ path string }

// load returns the spec of the file, or nil if there is none. A file that is not usable is moved aside, so that it can be
// looked at and is not met again.
func (f specFile) load() (*spec.Gateway, error) {
	data, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read last good spec: %w", err)
	}
	s, err := decode(data)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read last good spec %s: %w", f.path, err), os.Rename(f.path, f.path+".bad"))
	}
	return s, nil
}

// store replaces the file: after a crash it holds either the old content or the new.
func (f specFile) store(data []byte) error {
	dir := filepath.Dir(f.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, ".spec-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = temp.Write(data)
	if err = errors.Join(err, temp.Sync(), temp.Close()); err == nil {
		err = os.Rename(temp.Name(), f.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return syncDir(dir)
}

// syncDir makes changes of a folder's entries durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// keyStore keeps the private keys of tunnel endpoints, one file each, named for the uid.
type keyStore struct{ dir string }

// key returns the tunnel endpoint's private key, making one on first use.
func (s keyStore) key(uid string) (tunnel.PrivateKey, error) {
	return tunnel.LoadOrCreateKey(filepath.Join(s.dir, uid))
}

// keep removes all keys but those of the tunnel endpoints for which wanted answers true.
func (s keyStore) keep(wanted func(uid string) bool) error {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if !wanted(e.Name()) {
			err = errors.Join(err, os.Remove(filepath.Join(s.dir, e.Name())))
		}
	}
	return err
}
