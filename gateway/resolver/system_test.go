package resolver

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestSystemForwarders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	write := func(text string, changed time.Time) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, changed, changed); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		s := &SystemForwarders{Path: path}
		want := func(step string, list ...string) {
			t.Helper()
			var servers []netip.AddrPort
			for _, a := range list {
				servers = append(servers, netip.MustParseAddrPort(a))
			}
			if got := s.List(); !slices.Equal(got, servers) {
				t.Errorf("%s: %v, want %v", step, got, servers)
			}
		}
		begin := time.Now()
		want("no file")
		write("search example\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\nnameserver rubbish\n", begin)
		want("looked a moment ago")
		time.Sleep(lookAgain)
		want("a file", "127.0.0.53:53", "[fe80::1%eth0]:53")
		write("nameserver 192.0.2.1\n", begin.Add(time.Second))
		want("changed a moment ago", "127.0.0.53:53", "[fe80::1%eth0]:53")
		time.Sleep(lookAgain)
		want("changed", "192.0.2.1:53")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lookAgain)
		want("gone", "192.0.2.1:53")
	})
}
