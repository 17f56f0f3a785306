package store

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestOpenOpensNoReachableSocket: the server asks nobody for a password, so nothing but its folder's
// mode keeps other users of the machine out. A TCP port and an abstract UNIX socket have no mode.
func TestOpenOpensNoReachableSocket(t *testing.T) {
	own := openSockets(t)
	dir := filepath.Join(t.TempDir(), "store")
	s := openDir(t, dir)
	create(t, s, things, "a", "b")
	var listeners []string
	for _, socket := range openSockets(t) {
		path, bound := strings.CutPrefix(socket, "unix ")
		switch {
		case slices.Contains(own, socket):
		case !bound:
			t.Errorf("opened %s", socket)
		case filepath.Dir(path) != filepath.Join(dir, runFolder):
			t.Errorf("opened a UNIX socket %q outside its folder", path)
		default:
			listeners = append(listeners, filepath.Base(path))
		}
	}
	slices.Sort(listeners)
	if want := []string{"client.sock", "peer.sock"}; !slices.Equal(listeners, want) {
		t.Errorf("found the sockets %q, want %q", listeners, want)
	}
}

// TestOpenSocketsSeesThem has what the test above must not find.
func TestOpenSocketsSeesThem(t *testing.T) {
	const abstract = "@causeway-store-test"
	for network, address := range map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0", "unix": abstract} {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Skip(err)
		}
		defer l.Close()
	}
	var tcp int
	found := openSockets(t)
	for _, socket := range found {
		if strings.HasPrefix(socket, "tcp") {
			tcp++
		}
	}
	if tcp < 2 || !slices.Contains(found, "unix "+abstract) {
		t.Errorf("found %q", found)
	}
}

// openSockets gives this process' TCP sockets ("tcp" and the local address in hexadecimal) and named
// UNIX sockets ("unix" and the path, with "@" first if it is abstract), see proc_pid_net(5).
func openSockets(t *testing.T) []string {
	t.Helper()
	inodes := make(map[string]bool)
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	for _, fd := range fds {
		link, _ := os.Readlink("/proc/self/fd/" + fd.Name())
		if inode, ok := strings.CutPrefix(link, "socket:["); ok {
			inodes[strings.TrimSuffix(inode, "]")] = true
		}
	}
	var open []string
	for table, column := range map[string]struct{ name, inode int }{
		"tcp": {1, 9}, "tcp6": {1, 9}, "unix": {7, 6},
	} {
		lines, _ := os.ReadFile("/proc/self/net/" + table)
		for line := range strings.Lines(string(lines)) {
			f := strings.Fields(line)
			if len(f) > max(column.name, column.inode) && inodes[f[column.inode]] {
				open = append(open, strings.TrimSuffix(table, "6")+" "+f[column.name])
			}
		}
	}
	return open
}
