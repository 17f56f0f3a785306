package gateway

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"causeway/gateway/endpoint"
	"causeway/gateway/proxyproto"
	"causeway/gateway/spec"
)

// mark ends what a target says back: a header has any bytes but hardly these.
const mark = "<end of it>"

// sayBegin answers each connection with what it began with, up to a mark.
func sayBegin(c net.Conn) {
	var got []byte
	for r := bufio.NewReader(c); !bytes.HasSuffix(got, []byte(mark)); {
		b, err := r.ReadByte()
		if err != nil {
			return
		}
		got = append(got, b)
	}
	io.WriteString(c, fmt.Sprintf("%05d%s", len(got), got))
}

// begin opens a connection and returns what its target got before the mark.
func begin(t *testing.T, client *host) (string, net.Addr) {
	t.Helper()
	c, err := client.dial(t, serviceAt, 0, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	size := make([]byte, 5)
	if _, err := c.Write([]byte(mark)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, size); err != nil {
		t.Fatal(err)
	}
	var n int
	if _, err := fmt.Sscanf(string(size), "%d", &n); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, n)
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(string(got), mark), c.LocalAddr()
}

// TestProxyProtocol switches the header on and off without touching what is served.
func TestProxyProtocol(t *testing.T) {
	g := run(t, config(t, t.TempDir()))
	var w world
	client, server := w.pair(t, 1)
	g.apply(t, &w.Gateway)
	server.connect(t, g, uid("tepp", 1))
	serve(t, server.listen(t, 8080), sayBegin)
	client.connect(t, g, uid("tepc", 1))
	if got, _ := begin(t, client); got != "" {
		t.Errorf("connection begins with %q, want nothing", got)
	}

	w.TargetGroups[0].ProxyProtocol = true
	g.apply(t, &w.Gateway)
	got, local := begin(t, client)
	peer := proxyproto.Identity{
		KeyFingerprint: proxyproto.Fingerprint(spec.Key(client.key.Public())), Account: "c1", VPC: consumer(1),
	}
	want, err := proxyproto.AppendProxy(nil, local.(*net.TCPAddr).AddrPort(), netip.MustParseAddrPort(serviceAt),
		proxyproto.Endpoint("vpce-"+uid("eni", 1)), peer.TLV(), proxyproto.Checksum())
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("connection begins with\n%q, want\n%q", got, want)
	}

	w.TargetGroups[0].ProxyProtocol = false
	g.apply(t, &w.Gateway)
	if got, _ := begin(t, client); got != "" {
		t.Errorf("connection begins with %q, want nothing", got)
	}
	if n := g.stats().Ended[endpoint.ReasonServiceDeleted]; n != 0 {
		t.Errorf("%d flows ended by the change", n)
	}
}
