package e2e

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// TestIdleTimeout leaves a connection idle for its listener's shortest idle timeout, beside one that says
// something now and then: the first is reset, and so is what its consumer still sends; the other lives.
func TestIdleTimeout(t *testing.T) {
	const timeout, lateness = 60 * time.Second, 15 * time.Second
	w := newWorld(t, settings{})
	listener, err := w.underlay.Listen(w.Context(), "tcp", w.underlayAddr.String()+":9000")
	if err != nil {
		t.Fatal(err)
	}
	echo(t, listener)
	w.vpc("partner", "10.0.0.0/16")
	w.publish("vpcs/partner", "orders", 80, 9000, w.underlayAddr.String())
	w.call("LoadBalancers/UpdateListener", `{"listener":{"name":"loadBalancers/orders/listeners/tcp-80","idle_timeout":"60s"}}`)
	w.vpc("prod", "10.0.0.0/16")
	host := w.client("app")
	w.attach(host, "vpcs/prod/subnets/a", "app")
	address := w.endpoint("vpcs/prod", "orders", "endpointServices/orders") + ":80"

	open := func() net.Conn {
		c, err := host.Dial(w.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		// The kernel's keepalive, on in Go's connections, would count as movement.
		if err := c.(*net.TCPConn).SetKeepAlive(false); err != nil {
			t.Fatal(err)
		}
		say(t, c)
		return c
	}
	idle, busy := open(), open()
	begun := time.Now()
	ended := make(chan error, 1)
	go func() {
		_, err := idle.Read(make([]byte, 1))
		ended <- err
	}()
	speak := time.NewTicker(20 * time.Second)
	defer speak.Stop()
	late := time.After(timeout + lateness)
	for over := false; !over; {
		select {
		case <-speak.C:
			say(t, busy)
		case <-late:
			t.Fatalf("still open %v after its last byte", time.Since(begun))
		case err := <-ended:
			took := time.Since(begun)
			if !errors.Is(err, syscall.ECONNRESET) || took < timeout-time.Second {
				t.Fatalf("ended after %v with %v, want a reset after %v", took, err, timeout)
			}
			over = true
		}
	}
	if _, err := idle.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the next packet met %v", err)
	}
	say(t, busy)
}

// say sends a byte and waits for its echo.
func say(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
}
