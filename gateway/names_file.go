package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// storedName is a published name on disk.
type storedName struct {
	Domain   string `json:"domain"`
	Name     string `json:"name"`
	Endpoint string `json:"endpoint"`
}

func (n storedName) key() nameKey { return nameKey{n.Domain, n.Name, n.Endpoint} }

// restoreNames reads which names were published when the gateway last ran. Without that they are published by a probe.
func (g *Gateway) restoreNames() {
	data, err := os.ReadFile(g.probed.file)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var list []storedName
	if err == nil {
		err = json.Unmarshal(data, &list)
	}
	if err != nil {
		g.log.Error("published names are not known from before", "error", err)
		return
	}
	g.probed.mu.Lock()
	defer g.probed.mu.Unlock()
	for _, n := range list {
		g.probed.before[n.key()] = true
	}
}

// keepNames writes which names are published, if that changed. What could not be written is tried again the next time.
func (g *Gateway) keepNames() {
	data, err := g.probed.encode()
	if err == nil && !bytes.Equal(data, g.probed.kept) {
		if err = (specFile{path: g.probed.file}).store(data); err == nil {
			g.probed.kept = data
		}
	}
	if err != nil {
		g.log.Error("published names are not kept", "error", err)
	}
}

// encode gives the published names as the file shall have them.
func (p *probedNames) encode() ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := []storedName{}
	for k, n := range p.names {
		if n.published.Load() {
			list = append(list, storedName{k.domain, k.name, k.endpoint})
		}
	}
	slices.SortFunc(list, func(a, b storedName) int { return strings.Compare(a.Domain+"\x00"+a.Name, b.Domain+"\x00"+b.Name) })
	return json.Marshal(list)
}
