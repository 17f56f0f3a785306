package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"causeway/e2e/lab"
	causewayv1 "causeway/proto/causeway/v1"
)

const (
	// settle is left out at the start of a measurement: windows and queues fill then.
	settle = 2 * time.Second
	// measured is how long a budget is watched.
	measured = 10 * time.Second
	// slot is the resolution of a meter.
	slot = 50 * time.Millisecond
)

// TestZoneBudget holds budgets of 50, 200 and 800 Mbit/s against a consumer that wants more: the
// mean of ten seconds within 1 %, every window of one second within 3 %, in each direction, also
// while the other is in use.
func TestZoneBudget(t *testing.T) {
	w := newWorld(t, settings{})
	consumer := w.bulkWorld()
	for _, mbps := range []int{50, 200, 800} {
		id := fmt.Sprintf("limit-%d", mbps)
		address := w.endpoint("vpcs/prod", id, "endpointServices/bulk", fmt.Sprintf(`"bandwidth":{"baseline_mbps":%d,"maximum_mbps":%d}`, mbps, mbps))
		both := [][]string{{"up", "down"}}
		if mbps > 200 {
			both = [][]string{{"up"}, {"down"}} // two cores do not carry both at once
		}
		for _, together := range both {
			t.Run(fmt.Sprintf("%d Mbps %s", mbps, strings.Join(together, " and ")), func(t *testing.T) {
				var transfers []transfer
				for _, direction := range together {
					transfers = append(transfers, transfer{address, direction, 4})
				}
				w.limited(t, float64(mbps)*1e6, consumer, transfers...)
			})
		}
	}
}

// TestZonesAreApart uses both zones of one endpoint at once: each has a budget of its own.
func TestZonesAreApart(t *testing.T) {
	const mbps = 100
	w := newWorld(t, settings{})
	consumer := w.bulkWorld()
	w.call("Endpoints/CreateEndpoint", `{"parent":"vpcs/prod","endpoint_id":"zonal","endpoint":{"service_name":"endpointServices/bulk","subnets":["vpcs/prod/subnets/a","vpcs/prod/subnets/b"],"bandwidth":{"baseline_mbps":%d,"maximum_mbps":%d}}}`, mbps, mbps)
	var transfers []transfer
	for _, address := range w.endpointIPs("vpcs/prod/endpoints/zonal") {
		transfers = append(transfers, transfer{address, "down", 4})
	}
	w.limited(t, mbps*1e6, consumer, transfers...)
}

// TestFairShares has 64 flows want one budget: Jain's index of their shares is at least 0.95.
func TestFairShares(t *testing.T) {
	const flows, mbps = 64, 200
	w := newWorld(t, settings{})
	consumer := w.bulkWorld()
	address := w.endpoint("vpcs/prod", "fair", "endpointServices/bulk", fmt.Sprintf(`"bandwidth":{"baseline_mbps":%d,"maximum_mbps":%d}`, mbps, mbps))
	for _, m := range w.limited(t, mbps*1e6, consumer, transfer{address, "up", flows}, transfer{address, "down", flows}) {
		index := m.jain()
		t.Logf("Jain's index of %d flows is %.3f", flows, index)
		if index < 0.95 {
			t.Errorf("Jain's index of %d flows is %.3f; want at least 0.95", flows, index)
		}
	}
}

// TestBudgetGrows keeps a budget in use until it has grown by itself from its baseline to its maximum,
// each step to be seen in the endpoint's status, and lets it shrink again.
func TestBudgetGrows(t *testing.T) {
	const baseline, maximum = 20, 80
	w := newWorld(t, settings{extra: "zone_budget: {grow_after: 2s, shrink_after: 3s}\n"})
	consumer := w.bulkWorld()
	address := w.endpoint("vpcs/prod", "growing", "endpointServices/bulk", fmt.Sprintf(`"bandwidth":{"baseline_mbps":%d,"maximum_mbps":%d}`, baseline, maximum))
	w.run(t, consumer, transfer{address, "down", 4})
	grown := w.bandwidth("vpcs/prod/endpoints/growing")
	var path []string
	for _, step := range grown.GetSteps() {
		path = append(path, fmt.Sprintf("%v %d to %d", step.GetDirection(), step.GetFromMbps(), step.GetToMbps()))
	}
	if want := []string{"EGRESS 20 to 40", "EGRESS 40 to 80"}; !slices.Equal(path, want) {
		t.Errorf("the limit's steps are %q; want %q", path, want)
	}
	if grown.GetEgressLimitMbps() != maximum || grown.GetIngressLimitMbps() != baseline || grown.GetLimitMbps() != maximum {
		t.Errorf("the limits are %v; want %d in the used direction and %d in the other", grown, maximum, baseline)
	}
	w.Eventually(patience, "the unused budget to shrink to its baseline", func() error {
		if now := w.bandwidth("vpcs/prod/endpoints/growing").GetEgressLimitMbps(); now != baseline {
			return fmt.Errorf("the limit is %d Mbit/s", now)
		}
		return nil
	})
}

// bandwidth is the budget of an endpoint's only interface.
func (w *world) bandwidth(name string) *causewayv1.InterfaceBandwidth {
	w.t.Helper()
	e := w.call("Endpoints/GetEndpoint", `{"name":%q}`, name).(*causewayv1.Endpoint)
	return e.GetNetworkInterfaces()[0].GetBandwidth()
}

// bulkWorld publishes a service that sends or receives without end and connects a consumer.
func (w *world) bulkWorld() *lab.Host {
	w.t.Helper()
	listener, err := w.underlay.Listen(w.Context(), "tcp", w.underlayAddr.String()+":7000")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = listener.Close() })
	go serveBulk(listener)
	w.vpc("prod", "10.0.0.0/16")
	w.publish("vpcs/prod", "bulk", 7000, 7000, w.underlayAddr.String())
	consumer := w.client("consumer")
	w.attach(consumer, "vpcs/prod/subnets/a", "app")
	return consumer
}

// currentMeter counts what the bulk service receives. Uploads are measured where they arrive.
var currentMeter atomic.Pointer[meter]

// serveBulk sends without end to who asks with 'd', and meters what comes from who says 'u'.
func serveBulk(listener net.Listener) {
	for {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			var mode [2]byte
			if _, err := io.ReadFull(c, mode[:]); err != nil {
				return
			}
			if mode[0] == 'd' {
				pump(c)
				return
			}
			currentMeter.Load().drain(c, int(mode[1]))
		}()
	}
}

// pump writes until it fails.
func pump(c net.Conn) {
	for block := make([]byte, 256<<10); ; {
		if _, err := c.Write(block); err != nil {
			return
		}
	}
}

// transfer is a measurement: a number of flows that move all they can, "up" to the service or "down"
// from it.
type transfer struct {
	address, direction string
	flows              int
}

// run makes measurements at the same time, at most one of them up, and returns their meters.
func (w *world) run(t *testing.T, consumer *lab.Host, transfers ...transfer) []*meter {
	t.Helper()
	meters := make([]*meter, len(transfers))
	var group errgroup.Group
	for i, tr := range transfers {
		meters[i] = newMeter(tr.flows)
		if tr.direction == "up" {
			currentMeter.Store(meters[i])
		}
		group.Go(func() error { return w.transfer(consumer, tr, meters[i]) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	return meters
}

// transfer moves bytes until the meter is full.
func (w *world) transfer(consumer *lab.Host, tr transfer, m *meter) error {
	var group errgroup.Group
	var conns []net.Conn
	for flow := range tr.flows {
		c, err := consumer.Dial(w.Context(), "tcp", tr.address+":7000")
		if err != nil {
			return fmt.Errorf("dial %s: %w", tr.address, err)
		}
		conns = append(conns, c)
		if _, err := c.Write([]byte{tr.direction[0], byte(flow)}); err != nil {
			return fmt.Errorf("begin a flow to %s: %w", tr.address, err)
		}
		group.Go(func() error {
			if tr.direction == "up" {
				pump(c)
			} else {
				m.drain(c, flow)
			}
			return nil
		})
	}
	<-m.full
	for _, c := range conns {
		_ = c.Close()
	}
	return group.Wait()
}

// meter counts received bytes by slot of time and by flow.
type meter struct {
	start time.Time
	slots []atomic.Int64
	flows []atomic.Int64
	full  <-chan struct{}
}

func newMeter(flows int) *meter {
	full := make(chan struct{})
	time.AfterFunc(settle+measured+slot, func() { close(full) })
	return &meter{
		start: time.Now().Add(settle),
		slots: make([]atomic.Int64, measured/slot),
		flows: make([]atomic.Int64, flows),
		full:  full,
	}
}

// drain reads until the connection ends.
func (m *meter) drain(c net.Conn, flow int) {
	block := make([]byte, 64<<10)
	for {
		n, err := c.Read(block)
		if at := time.Since(m.start); at >= 0 && at < measured {
			m.slots[at/slot].Add(int64(n))
			m.flows[flow].Add(int64(n))
		}
		if err != nil {
			return
		}
	}
}

// limited measures until every window of a second is right, three times at most; the mean must be
// right every time. A pause of the client or of this process shifts what it receives from one window
// into the next, and nothing here tells such a pause from one of the gateway; a gateway that lets
// through too much or too little does so in each measurement.
func (w *world) limited(t *testing.T, limit float64, consumer *lab.Host, transfers ...transfer) []*meter {
	t.Helper()
	const attempts = 3
	for attempt := 1; ; attempt++ {
		meters := w.run(t, consumer, transfers...)
		var wrong error
		for _, m := range meters {
			wrong = errors.Join(wrong, m.check(t, limit))
		}
		if wrong == nil {
			return meters
		}
		if attempt == attempts {
			t.Fatalf("in %d measurements: %v", attempts, wrong)
		}
	}
}

// check compares the mean and every window of a second with a limit in bits per second. It fails the
// test for a wrong mean and returns an error for wrong windows.
func (m *meter) check(t *testing.T, limit float64) error {
	t.Helper()
	const window = int(time.Second / slot)
	var sums []float64
	total := 0.0
	for i := range m.slots {
		total += float64(m.slots[i].Load())
		if i+1 >= window {
			sum := 0.0
			for j := i + 1 - window; j <= i; j++ {
				sum += float64(m.slots[j].Load())
			}
			sums = append(sums, sum*8)
		}
	}
	mean := total * 8 / measured.Seconds()
	low, high := slices.Min(sums), slices.Max(sums)
	t.Logf("limit %.0f Mbit/s: mean %+.2f %%, windows of a second %+.2f %% to %+.2f %%", limit/1e6, (mean/limit-1)*100, (low/limit-1)*100, (high/limit-1)*100)
	if mean < limit*0.99 || mean > limit*1.01 {
		t.Errorf("the mean is %.2f Mbit/s; want %.0f within 1 %%", mean/1e6, limit/1e6)
	}
	if low < limit*0.97 || high > limit*1.03 {
		return fmt.Errorf("windows of a second are %.2f to %.2f Mbit/s; want %.0f within 3 %%", low/1e6, high/1e6, limit/1e6)
	}
	return nil
}

// jain is Jain's fairness index of the flows' bytes: 1 when all have the same.
func (m *meter) jain() float64 {
	var sum, squares float64
	for i := range m.flows {
		x := float64(m.flows[i].Load())
		sum += x
		squares += x * x
	}
	return sum * sum / (float64(len(m.flows)) * squares)
}
