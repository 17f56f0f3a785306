package lab

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
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

func TestDNS(t *testing.T) {
	l := New(t)
	h := l.Host("public")
	listen := netip.MustParseAddrPort("127.0.0.1:53")
	d := h.DNS(listen)
	h.Nameserver(listen.Addr())
	many := make([]netip.Addr, 60)
	for n := range many {
		many[n] = netip.AddrFrom4([4]byte{203, 0, 113, byte(n)})
	}
	d.SetA("few.example.com", many[:2]...)
	d.SetA("many.example.com", many...)
	d.SetTXT("_proof.example.com", "vpce:abc")
	for _, test := range []struct {
		name    string
		options []string
		want    []netip.Addr
	}{
		{"few.example.com", nil, many[:2]},
		{"FEW.example.com", []string{"+tcp"}, many[:2]},
		{"many.example.com", nil, many}, // dig goes on over TCP
		{"many.example.com", []string{"+ignore"}, nil},
		{"absent.example.com", nil, nil},
		{"_proof.example.com", nil, nil},
	} {
		got, err := h.Dig(t.Context(), netip.Addr{}, test.name, test.options...)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("dig %s %v: got %v, %v; want %v", test.name, test.options, got, err, test.want)
		}
	}
	if out := h.Run("dig", "+short", "_proof.example.com", "TXT"); out != "\"vpce:abc\"\n" {
		t.Errorf("the TXT record is %q", out)
	}
	if got := d.Asked("few.example.com"); got != 2 {
		t.Errorf("the server counts %d questions for a name, want 2", got)
	}
	d.SetA("few.example.com")
	if got, err := h.Dig(t.Context(), listen.Addr(), "few.example.com"); err != nil || got != nil {
		t.Errorf("a name without records: got %v, %v", got, err)
	}
	if got, err := h.Dig(t.Context(), netip.MustParseAddr("127.0.0.2"), "few.example.com"); err == nil {
		t.Errorf("asking where nobody listens: got %v", got)
	}
}
