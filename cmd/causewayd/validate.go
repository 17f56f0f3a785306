package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"time"

	"causeway/gateway/flowlog"
)

const (
	// minMTU is what IPv6 asks of a link (RFC 8200) and IPv4 hosts use everywhere.
	minMTU = 1280
	// maxMTU is the largest packet that a gateway takes in, as AWS PrivateLink does.
	maxMTU = 8500
	// maxSocketPath is one less than sun_path of unix(7), which ends in a NUL.
	maxSocketPath = 107
	// maxSuffix leaves room for the longest name under it in the 253 characters of a domain name: two labels of 63 and
	// their dots for the endpoint and its service, 20 for the region, and "vpce.".
	maxSuffix = 100
	// maxForwarders bounds how long a question without an answer is asked around for.
	maxForwarders = 6
)

var (
	zoneName = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
	// dnsName is at least one label of RFC 1035 section 2.3.1, in lower case.
	dnsName  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)
	hostName = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,251}[a-zA-Z0-9])?$`)
)

// validate gives everything that is wrong with a configuration, each problem with its key.
func (c *config) validate() error {
	var p problems
	if c.DataDir == "" {
		p.add("data_dir", "is empty")
	}
	p.zones(c.Zones)
	p.api(&c.API)
	p.wireGuard(&c.WireGuard)
	p.prefixes("underlay.allow", c.Underlay.Allow)
	p.sources("underlay.sources", c.Underlay.Sources)
	p.dns(&c.DNS)
	p.prefixes("notifications.allow", c.Notifications.Allow)
	p.duration("zone_budget.grow_after", c.ZoneBudget.GrowAfter)
	p.duration("zone_budget.shrink_after", c.ZoneBudget.ShrinkAfter)
	p.flowLog(&c.FlowLog)
	p.store(&c.Store)
	p.address("http.listen", c.HTTP.Listen)
	if c.Log.Format != "text" && c.Log.Format != "json" {
		p.add("log.format", "%q is neither text nor json", c.Log.Format)
	}
	return errors.Join(p...)
}

// problems collects what is wrong.
type problems []error

func (p *problems) add(key, format string, args ...any) {
	*p = append(*p, fmt.Errorf("%s: "+format, append([]any{key}, args...)...))
}

// sources checks addresses of the host.
func (p *problems) sources(key string, addrs []netip.Addr) {
	seen := map[netip.Addr]bool{}
	for _, a := range addrs {
		if a.IsUnspecified() || a.IsMulticast() || a.Is4In6() || seen[a] {
			p.add(key, "%s is no address of a host or listed twice", a)
		}
		seen[a] = true
	}
}

// dns checks what the resolvers of VPCs go by. Loopback addresses are fine: the operator's own resolver may be there.
func (p *problems) dns(c *dnsConfig) {
	if len(c.Suffix) > maxSuffix || !dnsName.MatchString(c.Suffix) {
		p.add("dns.suffix", "%q is no lower-case domain name of at most %d characters without a final dot", c.Suffix, maxSuffix)
	}
	if len(c.Forwarders) > maxForwarders {
		p.add("dns.forwarders", "%d addresses, at most %d", len(c.Forwarders), maxForwarders)
	}
	seen := map[nameServer]bool{}
	for i, f := range c.Forwarders {
		key := fmt.Sprintf("dns.forwarders[%d]", i)
		if a := f.Addr(); f.Port() == 0 || a.IsUnspecified() || a.IsMulticast() || a.Is4In6() || a == broadcast {
			p.add(key, "%v is no address and port of a name server", f)
		}
		if seen[f] {
			p.add(key, "%v is listed twice", f)
		}
		seen[f] = true
	}
}

// broadcast is the limited broadcast address (RFC 919).
var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

func (p *problems) zones(zones []zoneConfig) {
	seen := map[string]bool{}
	for i, z := range zones {
		key := fmt.Sprintf("zones[%d]", i)
		if !zoneName.MatchString(z.Region) {
			p.add(key+".region", "%q is no name of lower-case letters, digits and hyphens", z.Region)
		}
		if !zoneName.MatchString(z.Zone) {
			p.add(key+".zone", "%q is no name of lower-case letters, digits and hyphens", z.Zone)
		}
		if seen[z.Zone] {
			p.add(key+".zone", "%q is listed twice; a zone belongs to one region", z.Zone)
		}
		seen[z.Zone] = true
	}
}

func (p *problems) api(c *apiConfig) {
	if c.Socket == "" && c.Listen == "" {
		p.add("api", "has neither a socket nor an address to listen on")
	}
	if len(c.Socket) > maxSocketPath {
		p.add("api.socket", "path of %d bytes, at most %d", len(c.Socket), maxSocketPath)
	}
	if c.Socket != "" && !filepath.IsAbs(c.Socket) {
		p.add("api.socket", "%q is not an absolute path", c.Socket)
	}
	if c.Listen != "" {
		p.address("api.listen", c.Listen)
	}
	for i, name := range c.Names {
		p.host(fmt.Sprintf("api.names[%d]", i), name)
	}
	if (c.TLS.Certificate == "") != (c.TLS.Key == "") {
		p.add("api.tls", "certificate and key go together")
	}
}

func (p *problems) wireGuard(c *wireGuardConfig) {
	p.host("wireguard.advertise", c.Advertise)
	if !c.Listen.IsValid() {
		p.add("wireguard.listen", "is no address")
	}
	if c.Ports.First == 0 {
		p.add("wireguard.ports", "is empty")
	}
	if c.MTU < minMTU || c.MTU > maxMTU {
		p.add("wireguard.mtu", "%d is outside %d to %d", c.MTU, minMTU, maxMTU)
	}
}

func (p *problems) flowLog(c *flowLogConfig) {
	if c.File != "" && !filepath.IsAbs(c.File) {
		p.add("flow_log.file", "%q is not an absolute path", c.File)
	}
	if _, err := flowlog.ParseFormat(c.Format); err != nil {
		p.add("flow_log.format", "%w", err)
	}
	if c.MaxSizeMB < 1 || c.MaxSizeMB > flowlog.MaxSizeMB {
		p.add("flow_log.max_size_mb", "%d is outside 1 to %d", c.MaxSizeMB, flowlog.MaxSizeMB)
	}
	if c.MaxFiles < 1 || c.MaxFiles > flowlog.MaxFiles {
		p.add("flow_log.max_files", "%d is outside 1 to %d", c.MaxFiles, flowlog.MaxFiles)
	}
}

func (p *problems) store(c *storeConfig) {
	for i, endpoint := range c.Endpoints {
		u, err := url.Parse(endpoint)
		if err != nil || u.Scheme != "https" || u.Host == "" {
			p.add(fmt.Sprintf("store.endpoints[%d]", i), "%q is no URL such as https://10.0.0.1:2379", endpoint)
		}
	}
	given := c.CA != "" && c.Certificate != "" && c.Key != ""
	none := c.CA == "" && c.Certificate == "" && c.Key == ""
	switch {
	case len(c.Endpoints) > 0 && !given:
		p.add("store", "endpoints need ca, certificate and key: the cluster is spoken to over mutual TLS")
	case len(c.Endpoints) == 0 && !none:
		p.add("store", "ca, certificate and key are for endpoints, and none is named")
	}
}

func (p *problems) address(key, value string) {
	host, port, err := net.SplitHostPort(value)
	if err != nil {
		p.add(key, "%q is no address such as 127.0.0.1:7443", value)
		return
	}
	if host != "" {
		p.host(key, host)
	}
	if _, err := parsePort(port); err != nil && port != "0" {
		p.add(key, "%w", err)
	}
}

func (p *problems) host(key, value string) {
	if _, err := netip.ParseAddr(value); err != nil && !hostName.MatchString(value) {
		p.add(key, "%q is neither an address nor a host name", value)
	}
}

func (p *problems) prefixes(key string, prefixes []netip.Prefix) {
	for i, prefix := range prefixes {
		if !prefix.IsValid() || prefix != prefix.Masked() {
			p.add(fmt.Sprintf("%s[%d]", key, i), "%v has host bits set; use %v", prefix, prefix.Masked())
		}
	}
}

func (p *problems) duration(key string, d time.Duration) {
	if d < time.Second || d > 24*time.Hour {
		p.add(key, "%v is outside 1s to 24h", d)
	}
}
