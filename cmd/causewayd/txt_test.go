package main

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// nameServerFor answers questions for TXT records of one name over UDP: with a value, or with a code.
func nameServerFor(t *testing.T, name, value string, code dnsmessage.RCode) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buffer[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			m.Response, m.RCode, m.Additionals = true, code, nil
			if code == dnsmessage.RCodeSuccess && m.Questions[0].Name.String() == name {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Type: dnsmessage.TypeTXT, Class: dnsmessage.ClassINET},
					Body:   &dnsmessage.TXTResource{TXT: []string{value[:2], value[2:]}},
				}}
			}
			if reply, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(reply, from)
			}
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

func TestTXTServers(t *testing.T) {
	const name, value = "_proof.orders.example.com.", "vpce:ABC"
	fails := nameServerFor(t, name, value, dnsmessage.RCodeServerFailure)
	absent := nameServerFor(t, name, value, dnsmessage.RCodeNameError)
	good := nameServerFor(t, name, value, dnsmessage.RCodeSuccess)
	got, err := newTXTServers([]netip.AddrPort{fails, good, absent}).LookupTXT(t.Context(), name)
	if err != nil || !slices.Equal(got, []string{value}) {
		t.Errorf("got %q, %v; want the next server's answer in one piece", got, err)
	}
	_, err = newTXTServers([]netip.AddrPort{absent, good}).LookupTXT(t.Context(), name)
	if failed, ok := errors.AsType[*net.DNSError](err); !ok || !failed.IsNotFound {
		t.Errorf("absent at the first server: %v", err)
	}
	_, err = newTXTServers([]netip.AddrPort{fails}).LookupTXT(t.Context(), name)
	if failed, ok := errors.AsType[*net.DNSError](err); !ok || failed.IsNotFound {
		t.Errorf("all servers fail: %v", err)
	}
}
