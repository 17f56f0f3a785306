package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"causeway/e2e/lab"
)

// TestNoWayBack tries every TCP and UDP port of a consumer from the target and from the provider's
// attachment. Not one packet may arrive, while the endpoint works the other way.
func TestNoWayBack(t *testing.T) {
	w := newWorld(t, settings{})
	w.underlay.Nginx(lab.NginxConfig{Listen: w.underlayAddr.String() + ":8080", Body: "orders\n"})
	w.vpc("partner", "10.1.0.0/16")
	w.vpc("prod", "10.2.0.0/16")
	w.publish("vpcs/partner", "orders", 80, 8080, w.underlayAddr.String())
	consumer, provider := w.client("consumer"), w.client("provider")
	app, _ := w.attach(consumer, "vpcs/prod/subnets/a", "app")
	_, providerTunnel := w.attach(provider, "vpcs/partner/subnets/a", "workload")
	address := w.endpoint("vpcs/prod", "orders", "endpointServices/orders")
	w.peer("partner-prod", "vpcs/partner", "vpcs/prod")
	w.fetch(consumer, "http://"+address+"/", "orders")

	arrivals := countArrivals(t, consumer, address)
	consumerIP := netip.MustParseAddr(app.GetIpAddress())
	gatewayAddr := w.underlayGateway()
	w.underlay.Route(netip.MustParsePrefix("10.2.0.0/16"), gatewayAddr)
	provider.Run("ip", "route", "replace", "10.2.0.0/16", "dev", providerTunnel.Interface)
	for _, from := range []*lab.Host{w.underlay, provider} {
		if err := from.Do(func() error { return knockEverywhere(consumerIP) }); err != nil {
			t.Fatalf("send to every port of the consumer from %s: %v", from.Name, err)
		}
	}
	w.fetch(consumer, "http://"+address+"/", "orders")
	if stray, answered := arrivals(); stray != 0 || answered == 0 {
		t.Fatalf("%d packets reached the consumer from elsewhere, %d from the endpoint: want none and some", stray, answered)
	}
}

// underlayGateway is the gateway's address on the underlay.
func (w *world) underlayGateway() netip.Addr {
	return netip.MustParsePrefix(underlayPrefix).Addr().Next()
}

// countArrivals counts the packets that come out of a host's tunnel: those of the endpoint, and all
// others.
func countArrivals(t *testing.T, h *lab.Host, endpoint string) func() (stray, answered int) {
	t.Helper()
	rules := fmt.Sprintf(`table ip arrivals {
	counter answered {}
	counter stray {}
	chain input {
		type filter hook prerouting priority -300;
		iifname != %q accept
		ip saddr %s counter name answered accept
		counter name stray
	}
}`, wgInterface(h), endpoint)
	if _, err := h.OutputStdin(t.Context(), rules, "nft", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	return func() (stray, answered int) {
		var listing struct {
			Nftables []struct {
				Counter *struct {
					Name    string
					Packets int
				}
			}
		}
		if err := json.Unmarshal([]byte(h.Run("nft", "-j", "list", "counters")), &listing); err != nil {
			t.Fatal(err)
		}
		count := map[string]int{}
		for _, entry := range listing.Nftables {
			if entry.Counter != nil {
				count[entry.Counter.Name] = entry.Counter.Packets
			}
		}
		return count["stray"], count["answered"]
	}
}

// knockEverywhere sends a SYN to every TCP port and a datagram to every UDP port of an address.
func knockEverywhere(to netip.Addr) error {
	udp, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(udp)
	for port := 1; port <= 65535; port++ {
		dst := &unix.SockaddrInet4{Port: port, Addr: to.As4()}
		if err := unix.Sendto(udp, []byte("knock"), 0, dst); err != nil && !isUnreachable(err) {
			return fmt.Errorf("send to UDP port %d: %w", port, err)
		}
		tcp, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = unix.Connect(tcp, dst)
		unix.Close(tcp)
		if err == nil {
			return fmt.Errorf("TCP port %d accepted a connection", port)
		}
		if !errors.Is(err, unix.EINPROGRESS) && !isUnreachable(err) {
			return fmt.Errorf("connect to TCP port %d: %w", port, err)
		}
	}
	return nil
}

// isUnreachable tells that the sender's kernel already knows of no way, or that a queue is full.
func isUnreachable(err error) bool {
	return errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOBUFS)
}
