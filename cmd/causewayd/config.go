package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/goccy/go-yaml"

	"causeway/gateway/flowlog"
)

// config is the daemon's configuration file; docs/causewayd.yaml describes every key.
type config struct {
	DataDir       string              `yaml:"data_dir"`
	Zones         []zoneConfig        `yaml:"zones"`
	API           apiConfig           `yaml:"api"`
	WireGuard     wireGuardConfig     `yaml:"wireguard"`
	Underlay      underlayConfig      `yaml:"underlay"`
	DNS           dnsConfig           `yaml:"dns"`
	Notifications notificationsConfig `yaml:"notifications"`
	ZoneBudget    zoneBudgetConfig    `yaml:"zone_budget"`
	FlowLog       flowLogConfig       `yaml:"flow_log"`
	Store         storeConfig         `yaml:"store"`
	HTTP          httpConfig          `yaml:"http"`
	Log           logConfig           `yaml:"log"`
}

type zoneConfig struct {
	Region string `yaml:"region"`
	Zone   string `yaml:"zone"`
}

type apiConfig struct {
	Socket string     `yaml:"socket"`
	Listen string     `yaml:"listen"`
	Names  []string   `yaml:"names"`
	TLS    pairConfig `yaml:"tls"`
}

// pairConfig names the PEM files of a certificate and its private key.
type pairConfig struct {
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
}

type wireGuardConfig struct {
	Advertise string     `yaml:"advertise"`
	Listen    netip.Addr `yaml:"listen"`
	Ports     portRange  `yaml:"ports"`
	MTU       int        `yaml:"mtu"`
}

type underlayConfig struct {
	Allow   []netip.Prefix `yaml:"allow"`
	Sources []netip.Addr   `yaml:"sources"`
}

type dnsConfig struct {
	Suffix     string       `yaml:"suffix"`
	Forwarders []nameServer `yaml:"forwarders"`
}

type notificationsConfig struct {
	Allow []netip.Prefix `yaml:"allow"`
}

type zoneBudgetConfig struct {
	GrowAfter   time.Duration `yaml:"grow_after"`
	ShrinkAfter time.Duration `yaml:"shrink_after"`
}

type flowLogConfig struct {
	File      string `yaml:"file"`
	Format    string `yaml:"format"`
	MaxSizeMB int    `yaml:"max_size_mb"`
	MaxFiles  int    `yaml:"max_files"`
}

type storeConfig struct {
	Endpoints   []string `yaml:"endpoints"`
	CA          string   `yaml:"ca"`
	Certificate string   `yaml:"certificate"`
	Key         string   `yaml:"key"`
	SecretsKey  string   `yaml:"secrets_key"`
}

type httpConfig struct {
	Listen string `yaml:"listen"`
}

type logConfig struct {
	Level  slog.Level `yaml:"level"`
	Format string     `yaml:"format"`
}

// defaultConfig serves one machine.
func defaultConfig() config {
	return config{
		DataDir: "/var/lib/causeway",
		API: apiConfig{
			Socket: "/run/causeway/api.sock",
			Listen: "127.0.0.1:7443",
		},
		WireGuard: wireGuardConfig{
			Advertise: "127.0.0.1",
			Listen:    netip.IPv4Unspecified(),
			Ports:     portRange{First: 51820, Last: 52819},
			MTU:       1420,
		},
		DNS:        dnsConfig{Suffix: "causeway.internal"},
		ZoneBudget: zoneBudgetConfig{GrowAfter: time.Minute, ShrinkAfter: 15 * time.Minute},
		FlowLog:    flowLogConfig{Format: flowlog.DefaultFormat, MaxSizeMB: flowlog.DefaultMaxSizeMB, MaxFiles: flowlog.DefaultMaxFiles},
		HTTP:       httpConfig{Listen: "127.0.0.1:7480"},
		Log:        logConfig{Level: slog.LevelInfo, Format: "text"},
	}
}

// secretsKey is the file of the key that seals secrets in the store.
func (c *config) secretsKey() string {
	return cmp.Or(c.Store.SecretsKey, filepath.Join(c.DataDir, "secrets.key"))
}

// loadConfig reads a configuration file. An empty name is the default configuration.
func loadConfig(name string) (config, error) {
	if name == "" {
		return parseConfig(nil)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return config{}, fmt.Errorf("read configuration: %w", err)
	}
	cfg, err := parseConfig(text)
	if err != nil {
		return config{}, fmt.Errorf("read configuration %q: %w", name, err)
	}
	return cfg, nil
}

// parseConfig decodes a configuration over the default one. Unknown and repeated keys are errors
// that show the line. The result is not validated yet: flags may still change it.
func parseConfig(text []byte) (config, error) {
	cfg := defaultConfig()
	var keys map[string]any
	if err := yaml.Unmarshal(text, &keys); err != nil && !errors.Is(err, io.EOF) {
		return config{}, err
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if keys[key] == nil {
			return config{}, fmt.Errorf("%s: has no value; leave the key out for its default", key)
		}
	}
	if len(keys) > 0 { // decoding an empty document would clear the defaults
		if err := yaml.UnmarshalWithOptions(text, &cfg, yaml.Strict()); err != nil {
			return config{}, err
		}
	}
	if len(cfg.Zones) == 0 {
		cfg.Zones = []zoneConfig{{Region: "us-east-1", Zone: "us-east-1a"}}
	}
	return cfg, nil
}
