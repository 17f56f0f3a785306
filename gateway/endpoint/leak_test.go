package endpoint

import (
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
)

// openFiles returns how many descriptors the process has.
func openFiles(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// TestManyFlowsLeaveNothing opens and ends many flows at once in each way
// there is, then looks for what they left. Packet references are checked at
// the end of all tests.
func TestManyFlowsLeaveNothing(t *testing.T) {
	flows := 3_000
	if raceEnabled || testing.Short() {
		flows = 600
	}
	// Several backends, so that the kernel's ports suffice.
	targets := &spreadTargets{}
	for range 4 {
		targets.addrs = append(targets.addrs, backend(t, echo))
	}
	r := newRig(t, rigOptions{engine: Config{OnEnd: func(Record) {}}})
	r.listen(targets, nil)
	if err := request(r, exposureAddr, 10); err != nil { // all is up and running
		t.Fatal(err)
	}
	eventually(t, "the first flow has ended", func() bool { return r.engine.Stats().Active == 0 })
	goroutines, files := runtime.NumGoroutine(), openFiles(t)

	var all sync.WaitGroup
	work := make(chan int)
	for range 64 {
		all.Go(func() {
			for i := range work {
				switch i % 4 {
				case 0: // reset by the consumer, while the target is dialled or later
					r.dialEndpoint().Abort()
				case 1: // ended from outside
					c := r.dial()
					c.Write([]byte("hello"))
					r.engine.CloseWhere(func(f *Flow) bool { return f.Consumer().String() == c.LocalAddr().String() }, ReasonPeerRemoved)
					c.Close()
				default:
					if err := request(r, exposureAddr, 1000); err != nil {
						t.Errorf("flow %d: %v", i, err)
					}
				}
			}
		})
	}
	for i := range flows {
		work <- i
	}
	close(work)
	all.Wait()
	eventually(t, "no flow is left", func() bool { return r.engine.Stats().Active == 0 })
	eventually(t, "no descriptor is left", func() bool { return openFiles(t) <= files })
	eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
	s := r.engine.Stats()
	var ended uint64
	for _, n := range s.Ended {
		ended += n
	}
	if s.Dialling != 0 || s.Ended[ReasonCompleted] < uint64(flows/2) || s.Ended[ReasonInternal] != 0 {
		t.Errorf("stats = %+v", s)
	}
	if i := s.Interfaces["eni-1"]; i.Active != 0 || i.Opened != s.Opened || i.Opened+i.Refused > ended {
		t.Errorf("interface = %+v, engine = %+v", i, s)
	}
	eventually(t, "the stack has forgotten all connections", func() bool {
		return r.gateway.Stats().TCP.CurrentEstablished.Value() == 0
	})
}

// spreadTargets spreads flows over targets.
type spreadTargets struct{ addrs []netip.AddrPort }

func (x *spreadTargets) Pick(f FlowKey, tried []netip.AddrPort) (Target, error) {
	if len(tried) > 0 {
		return Target{}, errNoTarget
	}
	return Target{Addr: x.addrs[f.ID%uint64(len(x.addrs))]}, nil
}

func (x *spreadTargets) Report(Target, error) {}
