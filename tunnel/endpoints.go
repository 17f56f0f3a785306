package tunnel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// endpointStore remembers on disk where peers were last heard from. Its content is a hint: what is lost costs a peer the time
// until it calls by itself.
type endpointStore struct {
	path string // empty: nothing is kept

	mu    sync.Mutex
	addrs map[Key]netip.AddrPort
	saved map[Key]netip.AddrPort
}

// endpointFile is the store's form on disk.
type endpointFile struct {
	Endpoints map[Key]netip.AddrPort `json:"endpoints"`
}

// openEndpoints reads the store of a device. One that cannot be read is reported and begun anew.
func openEndpoints(dir, name string, log *slog.Logger) *endpointStore {
	s := &endpointStore{addrs: make(map[Key]netip.AddrPort)}
	if dir == "" {
		return s
	}
	s.path = filepath.Join(dir, name+".endpoints.json")
	addrs, err := readEndpoints(s.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("known endpoints of peers are lost", "error", err)
	}
	maps.Copy(s.addrs, addrs)
	s.saved = addrs
	return s
}

func readEndpoints(path string) (map[Key]netip.AddrPort, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file endpointFile
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	maps.DeleteFunc(file.Endpoints, func(_ Key, a netip.AddrPort) bool { return !a.IsValid() || a.Port() == 0 })
	return file.Endpoints, nil
}

// get returns the endpoint of a peer, or the zero value.
func (s *endpointStore) get(key Key) netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addrs[key]
}

// keepOnly forgets peers that are not in want.
func (s *endpointStore) keepOnly(want map[Key]Peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.addrs, func(key Key, _ netip.AddrPort) bool {
		_, ok := want[key]
		return !ok
	})
}

// save takes over the endpoints that state shows and writes the file if anything has changed.
func (s *endpointStore) save(state *deviceState) error {
	s.mu.Lock()
	for key, p := range state.peers {
		if p.status.Endpoint.IsValid() {
			s.addrs[key] = p.status.Endpoint
		}
	}
	if s.path == "" || maps.Equal(s.addrs, s.saved) {
		s.mu.Unlock()
		return nil
	}
	addrs := maps.Clone(s.addrs)
	s.mu.Unlock()

	data, err := json.MarshalIndent(endpointFile{addrs}, "", "  ")
	if err != nil {
		return fmt.Errorf("write endpoints: %w", err)
	}
	if err := writeFile(s.path, append(data, '\n')); err != nil {
		return fmt.Errorf("write endpoints: %w", err)
	}
	s.mu.Lock()
	s.saved = addrs
	s.mu.Unlock()
	return nil
}

const (
	// saveInterval is how soon a changed endpoint is on disk.
	saveInterval = 250 * time.Millisecond
	// saveShare bounds what looking for changes may cost: one part in so many of the time.
	saveShare = 200
)

// keepEndpoints saves changed endpoints until ctx ends. WireGuard tells nobody of a change, so it has to look.
func (d *Device) keepEndpoints(ctx context.Context) error {
	if d.endpoints.path == "" {
		return nil
	}
	timer := time.NewTimer(saveInterval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		start := time.Now()
		d.saveEndpoints()
		timer.Reset(max(saveInterval, saveShare*time.Since(start)))
	}
}

func (d *Device) saveEndpoints() {
	state, err := readState(d.wg)
	if err == nil {
		err = d.endpoints.save(state)
	}
	if err != nil {
		d.log.Warn("endpoints of peers are not saved", "error", err)
	}
}
