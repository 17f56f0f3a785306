package tunnel

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
)

// ask sends a request to a UAPI socket and returns all of the answer.
func ask(t testing.TB, path, request string) string {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil && !errors.Is(err, unix.ECONNRESET) { // which is how the server's end shows when it has not read all
		t.Fatal(err)
	}
	return string(answer)
}

func waitForSocket(t testing.TB, path string) {
	t.Helper()
	eventually(t, 5*time.Second, "there is a uapi socket", func() bool {
		conn, err := net.Dial("unix", path)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func TestUAPI(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "wireguard")
	path := filepath.Join(dir, "wg0.sock")
	key, psk, peer := NewPrivateKey(), NewPresharedKey(), NewPrivateKey().Public()
	n := startNode(t, Config{PrivateKey: key, UAPIDir: dir})
	setPeers(t, n.Device, Peer{PublicKey: peer, PresharedKey: psk, AllowedIPs: prefixes("10.0.0.1/32")})
	waitForSocket(t, path)

	if info, err := os.Stat(path); err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the socket has mode %v (%v)", info.Mode(), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("the folder has %d entries (%v), want only the socket", len(entries), err)
	}

	answer := ask(t, path, "get=1\n\n")
	for _, want := range []string{"public_key=" + peer.hex(), "allowed_ip=10.0.0.1/32", fmt.Sprintf("listen_port=%d", n.addr(t).Port())} {
		if !strings.Contains(answer, want+"\n") {
			t.Errorf("answer lacks %q:\n%s", want, answer)
		}
	}
	if !strings.HasSuffix(answer, "\nerrno=0\n\n") {
		t.Errorf("answer ends with %q", answer[max(0, len(answer)-20):])
	}
	for _, secret := range []string{"private_key", "preshared_key", hex.EncodeToString(key[:]), hex.EncodeToString(psk[:])} {
		if strings.Contains(answer, secret) {
			t.Errorf("answer shows %s", secret)
		}
	}
	if got := ask(t, path, "get=1\n\nget=1\n\n"); strings.Count(got, "errno=0") != 2 {
		t.Errorf("two requests on one connection: %q", got)
	}

	refused := fmt.Sprintf("errno=%d\n\n", -int(unix.EPERM))
	if got := ask(t, path, "set=1\nreplace_peers=true\n\n"); got != refused {
		t.Errorf("set was answered with %q", got)
	}
	if peers := status(t, n.Device).Peers; len(peers) != 1 {
		t.Errorf("set has changed the peers: %+v", peers)
	}
	for _, bad := range []string{"", "\n", "get=2\n\n", "get=1", "set", strings.Repeat("x", 10*uapiLine) + "\n\n"} {
		if got := ask(t, path, bad); got != "" {
			t.Errorf("%.10q was answered with %q", bad, got)
		}
	}

	n.end()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// What a killed process leaves behind is replaced; what belongs to a living one is not.
func TestUAPIStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wg0.sock")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	live, err := listenUAPI(path)
	if err != nil {
		t.Fatalf("stale socket: %v", err)
	}
	defer live.Close()
	if _, err := listenUAPI(path); err == nil {
		t.Error("the socket of a living process was replaced")
	}
}

// A device does without its socket where it cannot have one.
func TestUAPIUnwritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n := startNode(t, Config{UAPIDir: file})
	setPeers(t, n.Device, Peer{PublicKey: testKeys(1)[0]})
}

// wgctrl, and so what wg does, reads the device.
func TestUAPIWithWgctrl(t *testing.T) {
	name := fmt.Sprintf("cw%d", os.Getpid())
	if err := os.MkdirAll(DefaultUAPIDir, 0o755); err != nil {
		t.Skipf("wgctrl looks only in %s: %v", DefaultUAPIDir, err)
	}
	if err := unix.Access(DefaultUAPIDir, unix.W_OK); err != nil {
		t.Skipf("wgctrl looks only in %s: %v", DefaultUAPIDir, err)
	}
	n := startNode(t, Config{Name: name, UAPIDir: DefaultUAPIDir})
	peer := Peer{PublicKey: testKeys(1)[0], AllowedIPs: prefixes("10.0.0.0/24"), Keepalive: 25 * time.Second,
		Endpoint: netip.MustParseAddrPort("127.0.0.1:9")}
	setPeers(t, n.Device, peer)
	waitForSocket(t, filepath.Join(DefaultUAPIDir, name+".sock"))
	client, err := wgctrl.New()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	dev, err := client.Device(name)
	if err != nil {
		t.Fatal(err)
	}
	if len(dev.Peers) != 1 || Key(dev.Peers[0].PublicKey) != peer.PublicKey || dev.Peers[0].PersistentKeepaliveInterval != peer.Keepalive ||
		dev.Peers[0].Endpoint.String() != peer.Endpoint.String() || dev.ListenPort != int(n.addr(t).Port()) {
		t.Errorf("wgctrl sees %+v", dev)
	}
	if [32]byte(dev.PrivateKey) != [32]byte{} {
		t.Error("wgctrl sees the private key")
	}
}

// FuzzUAPI talks arbitrary bytes to the socket's server. It must end, and never show a secret.
func FuzzUAPI(f *testing.F) {
	for _, s := range []string{"get=1\n\n", "set=1\nprivate_key=00\n\n", "get=1\n\nset=1\n\nget=1\n\n", "\n\n\n"} {
		f.Add([]byte(s))
	}
	const secret = "0123456789abcdef"
	get := func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "private_key=%s\npublic_key=aa\npreshared_key=%s\nrx_bytes=1\n", secret, secret)
		return err
	}
	f.Fuzz(func(t *testing.T, request []byte) {
		var answer bytes.Buffer
		serveClient(struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(request), &answer}, get)
		if bytes.Contains(answer.Bytes(), []byte(secret)) {
			t.Fatalf("secret in the answer to %q: %q", request, answer.Bytes())
		}
		if answer.Len() > 0 && !bytes.HasSuffix(answer.Bytes(), []byte("\n\n")) {
			t.Fatalf("answer to %q is not complete: %q", request, answer.Bytes())
		}
	})
}

// FuzzState reads arbitrary answers to a get: no panic, and keys stay whole.
func FuzzState(f *testing.F) {
	f.Add("listen_port=1\npublic_key=" + strings.Repeat("ab", 32) + "\nendpoint=192.0.2.1:1\nlast_handshake_time_sec=1\n" +
		"last_handshake_time_nsec=5\nrx_bytes=1\ntx_bytes=2\npersistent_keepalive_interval=25\nallowed_ip=10.0.0.0/8\nnew_key=x\n")
	f.Fuzz(func(t *testing.T, text string) {
		state, err := parseState(strings.NewReader(text))
		if (state == nil) == (err == nil) {
			t.Fatalf("state %v with error %v", state, err)
		}
	})
}

func TestParseState(t *testing.T) {
	key := testKeys(1)[0]
	state, err := parseState(strings.NewReader("private_key=xx\nlisten_port=51820\npublic_key=" + key.hex() +
		"\nendpoint=192.0.2.1:7\nlast_handshake_time_sec=1700000000\nlast_handshake_time_nsec=5\nrx_bytes=3\ntx_bytes=4\n" +
		"persistent_keepalive_interval=25\nallowed_ip=10.0.0.0/8\nallowed_ip=2001:db8::/32\n"))
	if err != nil {
		t.Fatal(err)
	}
	p := state.peers[key]
	want := PeerStatus{PublicKey: key, Endpoint: netip.MustParseAddrPort("192.0.2.1:7"), LastHandshake: time.Unix(1700000000, 5),
		ReceivedBytes: 3, SentBytes: 4}
	if state.port != 51820 || p.status != want || p.keepalive != 25*time.Second || len(p.allowedIPs) != 2 {
		t.Errorf("state: port %d, peer %+v", state.port, p)
	}
	for _, bad := range []string{"nonsense", "listen_port=x", "public_key=12", "public_key=" + key.hex() + "\nendpoint=host:1",
		"public_key=" + key.hex() + "\nallowed_ip=10.0.0.0", "public_key=" + key.hex() + "\nrx_bytes=-1"} {
		if _, err := parseState(strings.NewReader(bad)); err == nil {
			t.Errorf("bad: %q was read", bad)
		}
	}
}
