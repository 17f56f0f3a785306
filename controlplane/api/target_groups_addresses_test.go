package api

import (
	"net/netip"
	"strings"
	"testing"
)

func TestTargetAddress(t *testing.T) {
	tests := []struct{ addr, refusal string }{
		{"10.0.1.20", ""},
		{"192.168.7.10", ""},
		{"203.0.113.9", ""},
		{"100.64.0.1", ""},
		{"192.0.1.1", ""},
		{"223.255.255.255", ""},
		{"127.0.0.1", "loopback"},
		{"127.1", "dotted decimal"},
		{"0.0.0.0", "unspecified"},
		{"0.1.2.3", "this network"},
		{"::", "IPv6"},
		{"::1", "IPv6"},
		{"::ffff:127.0.0.1", "IPv6 spelling of 127.0.0.1"},
		{"::127.0.0.1", "IPv6"},
		{"::ffff:169.254.169.254", "IPv6 spelling of 169.254.169.254"},
		{"64:ff9b::a9fe:a9fe", "IPv6"},
		{"64:ff9b:1::1", "IPv6"},
		{"2002:7f00:1::", "IPv6"},
		{"fe80::1", "IPv6"},
		{"fe80::1%eth0", "IPv6"},
		{"2001:db8::1", "IPv6"},
		{"169.254.169.254", "metadata"},
		{"169.254.169.253", "link-local"},
		{"169.254.169.123", "link-local"},
		{"fd00:ec2::254", "IPv6"},
		{"168.63.129.16", "Azure"},
		{"100.100.100.200", "metadata"},
		{"192.0.0.192", "protocol assignment"},
		{"224.0.0.1", "multicast"},
		{"239.255.255.255", "multicast"},
		{"ff02::1", "IPv6"},
		{"255.255.255.255", "broadcast"},
		{"240.0.0.1", "reserved"},
		{"010.0.0.1", "dotted decimal"},
		{"0x7f.1", "dotted decimal"},
		{"2130706433", "dotted decimal"},
		{"1", "dotted decimal"},
		{"[::1]", "not an IPv4 address"},
		{"localhost", "is a name"},
		{"localhost.", "is a name"},
		{"a.localhost", "is a name"},
		{"metadata.google.internal", "is a name"},
		{"10.0.1.0/24", "single"},
		{"10.0.1.20:80", "not an IPv4 address"},
		{" 10.0.1.20", "not an IPv4 address"},
		{"", "not an IPv4 address"},
		{"10.0.1.٢", "not an IPv4 address"},
	}
	for _, tt := range tests {
		t.Run(tt.addr, func(t *testing.T) {
			addr, refusal := targetAddress(tt.addr)
			if (refusal == "") != (tt.refusal == "") || !strings.Contains(refusal, tt.refusal) {
				t.Fatalf("refusal %q, want one with %q", refusal, tt.refusal)
			}
			if refusal == "" && addr.String() != tt.addr {
				t.Errorf("read as %s", addr)
			}
		})
	}
}

func FuzzTargetAddress(f *testing.F) {
	for _, s := range []string{"10.0.0.1", "127.0.0.1", "::ffff:1.2.3.4", "0x7f.1", "a.b", "\x00", "1e3"} {
		f.Add(s)
	}
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	f.Fuzz(func(t *testing.T, text string) {
		addr, refusal := targetAddress(text)
		switch {
		case refusal != "" && addr.IsValid():
			t.Fatalf("%q refused (%s) and read as %s", text, refusal, addr)
		case refusal != "":
		case addr.String() != text || !addr.Is4() || loopback.Contains(addr) || addr.IsMulticast() ||
			addr.IsUnspecified() || addr.IsLinkLocalUnicast():
			t.Fatalf("%q read as %s", text, addr)
		}
	})
}
