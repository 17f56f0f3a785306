package lab

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// netnsEtc holds, by name of the namespace, the files that "ip netns exec" shows a program in place of those in
// /etc, see ip-netns(8).
const netnsEtc = "/etc/netns"

// Nameserver makes the DNS server at address the only one that programs know that are started in the host from
// now on. Those of other hosts, and this process itself, keep theirs.
func (h *Host) Nameserver(address netip.Addr) {
	h.lab.report.Helper()
	dir := filepath.Join(netnsEtc, h.namespace)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		h.lab.report.Fatalf("set name server of %q: %v", h.Name, err)
	}
	text := fmt.Sprintf("nameserver %s\n", address)
	if err := os.WriteFile(filepath.Join(dir, "resolv.conf"), []byte(text), 0o644); err != nil {
		h.lab.report.Fatalf("set name server of %q: %v", h.Name, err)
	}
}
