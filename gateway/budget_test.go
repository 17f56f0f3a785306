package gateway

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"causeway/gateway/spec"
)

// TestBudgetGrowsUnderUse uploads at the limit until it doubles, and reads of it in the status.
func TestBudgetGrowsUnderUse(t *testing.T) {
	cfg := config(t, t.TempDir())
	cfg.GrowAfter = time.Second
	g := run(t, cfg)
	var w world
	client, server := w.pair(t, 1)
	w.Endpoints[0].Bandwidth = spec.Bandwidth{BaselineBPS: 8e6, MaximumBPS: 16e6}
	g.apply(t, &w.Gateway)
	server.connect(t, g, uid("tepp", 1))
	serve(t, server.listen(t, 8080), func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	client.connect(t, g, uid("tepc", 1))
	c, err := client.dial(t, serviceAt, 0, patience)
	if err != nil {
		t.Fatal(err)
	}
	var upload sync.WaitGroup
	upload.Go(func() {
		chunk := make([]byte, 64<<10)
		for {
			if _, err := c.Write(chunk); err != nil {
				return
			}
		}
	})
	defer func() {
		c.Close()
		upload.Wait()
	}()
	var s spec.InterfaceStatus
	eventually(t, "the limit doubled", func() bool {
		s = g.Status().Interfaces[0]
		return s.Ingress.LimitBPS == 16e6
	})
	if len(s.Ingress.Steps) != 1 || s.Ingress.Steps[0].FromBPS != 8e6 || s.Ingress.Steps[0].ToBPS != 16e6 {
		t.Errorf("steps %+v", s.Ingress.Steps)
	}
	if s.Ingress.UsedBPS < 6e6 || s.Ingress.UsedBPS > 10e6 {
		t.Errorf("used %d bit/s of 8 Mbit/s", s.Ingress.UsedBPS)
	}
	if s.Egress.LimitBPS != 8e6 || len(s.Egress.Steps) != 0 || s.ActiveFlows != 1 {
		t.Errorf("the other direction: %+v, %d flows", s.Egress, s.ActiveFlows)
	}
	select {
	case <-g.Changed():
	default:
		t.Error("a step is not reported")
	}
}
