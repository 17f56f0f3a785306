package lab

import (
	"fmt"
	"strings"
)

// Drop describes packets that a host loses. The kernels this runs on have no netem, so loss is an
// nftables rule; it also cuts a path, one way or both, and lets it flap.
type Drop struct {
	// Direction is the hook: "input", "output" or "forward".
	Direction string
	// Match is an nftables expression, such as "udp dport 51820"; empty matches every packet.
	Match string
	// PerMille is how many of a thousand packets, chosen at random, are lost: 1000 cuts the path.
	PerMille int
}

// Drop starts losing packets. The returned function ends it; calling it twice does nothing more.
func (h *Host) Drop(d Drop) (stop func()) {
	h.lab.report.Helper()
	if d.PerMille < 1 || d.PerMille > 1000 {
		h.lab.report.Fatalf("drop on %q: %d per mille is not between 1 and 1000", h.Name, d.PerMille)
	}
	table := fmt.Sprintf("lab%d", serial.Add(1))
	rule := d.Match + " drop"
	if d.PerMille < 1000 {
		rule = fmt.Sprintf("%s numgen random mod 1000 < %d drop", d.Match, d.PerMille)
	}
	h.nft(fmt.Sprintf("add table inet %[1]s\n"+
		"add chain inet %[1]s loss { type filter hook %[2]s priority 0; }\n"+
		"add rule inet %[1]s loss %[3]s\n", table, d.Direction, strings.TrimSpace(rule)))
	stopped := false
	return func() {
		if !stopped {
			stopped = true
			h.nft("delete table inet " + table + "\n")
		}
	}
}

// nft applies a script at once.
func (h *Host) nft(script string) {
	h.lab.report.Helper()
	if _, err := h.OutputStdin(h.lab.ctx, script, "nft", "--file", "-"); err != nil {
		h.lab.report.Fatalf("%v\nscript:\n%s", err, script)
	}
}
