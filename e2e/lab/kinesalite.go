package lab

import (
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Kinesalite starts the Kinesis work-alike of npm in the host, over TLS, and waits until it listens. It shows
// a certificate, both texts being PEM, keeps its streams in memory and logs the operation of every request.
// The first run on a machine installs it with npm.
func (h *Host) Kinesalite(listen netip.AddrPort, certificate, key string) *Process {
	h.lab.report.Helper()
	program, err := npmInstall("e2e/kinesalite")
	if err != nil {
		h.lab.report.Fatalf("%v", err)
	}
	dir, err := os.MkdirTemp(h.lab.dir, "kinesalite-")
	if err != nil {
		h.lab.report.Fatalf("configure Kinesalite: %v", err)
	}
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for path, text := range map[string]string{certFile: certificate, keyFile: key} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			h.lab.report.Fatalf("configure Kinesalite: %v", err)
		}
	}
	p := h.Start("node", filepath.Join(program, "server.js"), listen.Addr().String(), strconv.Itoa(int(listen.Port())), certFile, keyFile)
	p.WaitListening(listen, 20*time.Second)
	return p
}
