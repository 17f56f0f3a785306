package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// pingTimes runs ping and returns the round trip of each answer.
func pingTimes(t *testing.T, h *Host, addr netip.Addr, count int) []time.Duration {
	t.Helper()
	// ping exits with 1 when nothing came back, which is an answer here.
	out, err := h.Output(t.Context(), "ping", "-n", "-i0.01", "-W1", "-c"+strconv.Itoa(count), addr.String())
	matches := regexp.MustCompile(`time=([0-9.]+) ms`).FindAllStringSubmatch(out, -1)
	if err != nil && len(matches) > 0 {
		t.Fatal(err)
	}
	times := make([]time.Duration, len(matches))
	for i, m := range matches {
		ms, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		times[i] = time.Duration(ms * float64(time.Millisecond))
	}
	return times
}

func TestDropLosesPackets(t *testing.T) {
	l := New(t)
	a, b := l.Host("a"), l.Host("b")
	_, addr := l.Connect(a, b, underlay)

	stop := b.Drop(Drop{Direction: "input", Match: "ip protocol icmp", PerMille: 1000})
	if got := pingTimes(t, a, addr, 1); len(got) != 0 {
		t.Errorf("a ping passed a path that is cut: %v", got)
	}
	stop()
	stop()
	if got := pingTimes(t, a, addr, 1); len(got) != 1 {
		t.Error("no ping passed after the end of the cut")
	}
	stop = a.Drop(Drop{Direction: "output", PerMille: 500})
	defer stop()
	// 100 fair coins show fewer than 20 or more than 80 heads once in a billion times.
	if got := len(pingTimes(t, a, addr, 100)); got < 20 || got > 80 {
		t.Errorf("of 100 packets with 50 %% loss %d passed", got)
	}
}

func TestRelayDelaysLosesAndRebinds(t *testing.T) {
	l := New(t)
	client, server := l.Host("client"), l.Host("server")
	var relay *Relay
	_, s := tunnel(l, client, server, func(target netip.AddrPort) netip.AddrPort {
		relay = client.Relay(RelayConfig{Listen: netip.MustParseAddrPort("127.0.0.1:0"), Target: target, Seed: 1})
		return relay.Addr
	})
	target := serverEnd.Addr()
	if got := pingTimes(t, client, target, 1); len(got) != 1 {
		t.Fatal("no ping passed the relay")
	}
	const delay = 30 * time.Millisecond
	relay.SetDelay(delay)
	if got := pingTimes(t, client, target, 1); len(got) != 1 || got[0] < 2*delay {
		t.Errorf("with a delay of %v each way the round trip was %v", delay, got)
	}
	relay.SetDelay(0)
	relay.SetLoss(1000)
	if got := pingTimes(t, client, target, 1); len(got) != 0 {
		t.Errorf("a ping passed a relay that loses everything: %v", got)
	}
	relay.SetLoss(0)
	before := server.Run("wg", "show", s.Interface, "endpoints")
	relay.Rebind()
	l.Eventually(10*time.Second, "roaming to the new port", func() error {
		if len(pingTimes(t, client, target, 1)) == 0 {
			return errors.New("no ping passed")
		}
		if after := server.Run("wg", "show", s.Interface, "endpoints"); after == before {
			return fmt.Errorf("the server still sees %s", after)
		}
		return nil
	})
}

func TestIperfMeasuresBothDirections(t *testing.T) {
	l := New(t)
	a, b := l.Host("a"), l.Host("b")
	_, addr := l.Connect(a, b, underlay)
	server := netip.AddrPortFrom(addr, 5201)
	if _, err := a.Iperf(t.Context(), IperfConfig{Server: server, Duration: time.Second}); err == nil {
		t.Error("measured without a server")
	}
	b.IperfServer(server)
	for _, download := range []bool{false, true} {
		got, err := a.Iperf(t.Context(), IperfConfig{
			Server: server, Duration: time.Second, Streams: 2, Download: download, Interval: 500 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		var sum int64
		for _, n := range got.Streams {
			sum += n
		}
		if got.Bytes == 0 || sum != got.Bytes || len(got.Streams) != 2 || len(got.Intervals) < 2 {
			t.Errorf("download %v: %+v", download, got)
		}
		// The rate is that of the receiver, so the bytes must have taken about the time asked for.
		if took := float64(got.Bytes) * 8 / got.BitsPerSecond; took < 0.9 || took > 2 {
			t.Errorf("download %v: %d bytes at %.0f bit/s take %.2f s", download, got.Bytes, got.BitsPerSecond, took)
		}
	}
}

func TestGrpcurlRuns(t *testing.T) {
	l := New(t)
	h := l.Host("a")
	if _, err := h.Grpcurl(t.Context(), "-help"); err != nil {
		t.Error(err)
	}
	if _, err := h.Grpcurl(t.Context(), "-plaintext", "-connect-timeout", "1", "127.0.0.1:1", "list"); err == nil {
		t.Error("grpcurl listed the services of nobody")
	}
}
