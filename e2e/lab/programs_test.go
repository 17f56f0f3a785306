package lab

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"causeway/gateway/spec/spectest"
)

func TestNameserverOfOneHost(t *testing.T) {
	l := New(t)
	a, b := l.Host("a"), l.Host("b")
	before := b.Run("cat", "/etc/resolv.conf")
	a.Nameserver(netip.MustParseAddr("10.0.0.2"))
	if got := a.Run("cat", "/etc/resolv.conf"); got != "nameserver 10.0.0.2\n" {
		t.Errorf("the host's programs read %q in resolv.conf", got)
	}
	if got := b.Run("cat", "/etc/resolv.conf"); got != before {
		t.Errorf("another host's programs read %q in resolv.conf, %q before", got, before)
	}
}

func TestKinesalite(t *testing.T) {
	l := New(t)
	h := l.Host("service")
	certificate, key := spectest.Certificate(t, "kinesis.us-east-1.amazonaws.com")
	listen := netip.MustParseAddrPort("127.0.0.1:4567")
	p := h.Kinesalite(listen, certificate, key)
	ca := filepath.Join(l.Dir(), "ca.crt")
	if err := os.WriteFile(ca, []byte(certificate), 0o600); err != nil {
		t.Fatal(err)
	}
	out := h.Run("curl", "-sS", "--max-time", "10", "--cacert", ca, "--resolve", "kinesis.us-east-1.amazonaws.com:4567:127.0.0.1",
		"-H", "content-type: application/x-amz-json-1.1", "-H", "x-amz-target: Kinesis_20131202.ListStreams", "-d", "{}",
		"https://kinesis.us-east-1.amazonaws.com:4567/")
	if !strings.Contains(out, "MissingAuthenticationTokenException") {
		t.Errorf("a request without a signature is answered %q", out)
	}
	if want := "Kinesis_20131202.ListStreams at kinesis.us-east-1.amazonaws.com:4567"; !strings.Contains(p.Log(), want) {
		t.Errorf("want %q in the log:\n%s", want, p.Log())
	}
}
