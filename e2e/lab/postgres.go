package lab

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// asNobody runs a program without root, which PostgreSQL insists on.
var asNobody = []string{"setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"}

// Postgres starts Debian's PostgreSQL in the host and waits until it listens. Everybody may connect
// as user postgres.
func (h *Host) Postgres(listen netip.AddrPort) *Process {
	h.lab.report.Helper()
	bin, err := postgresBin()
	if err != nil {
		h.lab.report.Fatalf("find PostgreSQL: %v", err)
	}
	dir := filepath.Join(h.lab.dir, "postgres-"+h.Name)
	for _, d := range []string{h.lab.dir, dir} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			h.lab.report.Fatalf("make directory for PostgreSQL: %v", err)
		}
		if err := os.Chmod(d, 0o711); err != nil {
			h.lab.report.Fatalf("open directory for PostgreSQL: %v", err)
		}
	}
	h.Run("chown", "nobody:nogroup", dir)
	data := filepath.Join(dir, "data")
	initdb := append(slices.Clone(asNobody), filepath.Join(bin, "initdb"), "--no-sync", "--auth=trust", "--username=postgres", "-D", data)
	h.Run(initdb[0], initdb[1:]...)
	hba := "host all postgres 0.0.0.0/0 trust\n"
	if err := os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte(hba), 0o644); err != nil {
		h.lab.report.Fatalf("configure PostgreSQL: %v", err)
	}
	server := append(slices.Clone(asNobody), filepath.Join(bin, "postgres"), "-D", data, "-h", listen.Addr().String(),
		"-p", fmt.Sprint(listen.Port()), "-c", "unix_socket_directories=", "-c", "fsync=off")
	p := h.Start(server[0], server[1:]...)
	p.WaitListening(listen, 30*time.Second)
	return p
}

// postgresBin gives the newest installed version's directory of server programs, which is not in PATH.
func postgresBin() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", fmt.Errorf("no /usr/lib/postgresql/*/bin: %w", os.ErrNotExist)
	}
	return found[len(found)-1], nil
}
