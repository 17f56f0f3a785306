package endpoint

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// cpuTime is what the process has used.
func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// naiveRelay is what most programs do: gonet connections and io.Copy.
func naiveRelay(b *testing.B, r *rig, target netip.AddrPort) {
	l, err := gonet.ListenTCP(r.gateway, tcpip.FullAddress{NIC: dialNIC, Port: servicePort}, ipv4.ProtocolNumber)
	if err != nil {
		b.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { naiveFlow(c.(*gonet.TCPConn), target) })
		}
	})
	b.Cleanup(func() {
		l.Close()
		running.Wait()
	})
}

func naiveFlow(c *gonet.TCPConn, target netip.AddrPort) {
	t, err := net.Dial("tcp4", target.String())
	if err != nil {
		c.Close()
		return
	}
	var both sync.WaitGroup
	both.Go(func() { io.Copy(t, c); t.(*net.TCPConn).CloseWrite() })
	both.Go(func() { io.Copy(c, t); c.CloseWrite() })
	both.Wait()
	c.Close()
	t.Close()
}

// BenchmarkThroughput moves bytes over one flow. Consumer, gateway and target
// share the process and so the CPU figure, which serves for comparison only.
func BenchmarkThroughput(b *testing.B) {
	for _, relay := range []string{"engine", "naive"} {
		for _, up := range []bool{true, false} {
			way := map[bool]string{true: "up", false: "down"}[up]
			b.Run(way+"/"+relay, func(b *testing.B) { throughput(b, relay == "engine", up) })
		}
	}
}

func throughput(b *testing.B, engine, up bool) {
	const piece = 1 << 20
	total := int64(b.N) * piece
	received := make(chan struct{}, 1)
	receive := func(c net.Conn) {
		buf := make([]byte, 256<<10)
		for left := total; left > 0; {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			left -= int64(n)
		}
		received <- struct{}{}
	}
	send := func(c net.Conn) {
		buf := make([]byte, piece)
		for range b.N {
			if _, err := c.Write(buf); err != nil {
				return
			}
		}
	}
	target := backend(b, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 1))
		if up {
			receive(c)
		} else {
			send(c)
		}
		io.Copy(io.Discard, c)
	})
	r := newRig(b, rigOptions{gso: true, delay: 100 * time.Microsecond})
	if engine {
		r.listen(&fixedTargets{addrs: []netip.AddrPort{target}}, nil)
	} else {
		naiveRelay(b, r, target)
	}
	c := r.dial()
	defer c.Close()
	if _, err := c.Write([]byte{1}); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(piece)
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime()
	if up {
		go send(c)
	} else {
		go receive(c)
	}
	<-received
	b.ReportMetric((cpuTime()-before).Seconds()/(float64(total)/1e9), "cpu-s/GB")
}

// BenchmarkConnections opens, uses and closes connections, 32 at a time. The
// CPU is that of all three parties.
func BenchmarkConnections(b *testing.B) {
	for _, relay := range []string{"engine", "naive"} {
		b.Run(relay, func(b *testing.B) {
			targets := &fixedTargets{addrs: []netip.AddrPort{backend(b, echo)}}
			r := newRig(b, rigOptions{delay: 100 * time.Microsecond})
			if relay == "engine" {
				r.listen(targets, nil)
			} else {
				naiveRelay(b, r, targets.addrs[0])
			}
			b.ResetTimer()
			before := cpuTime()
			var all sync.WaitGroup
			work := make(chan struct{})
			for range 32 {
				all.Go(func() {
					for range work {
						if err := request(r, exposureAddr, 100); err != nil {
							b.Error(err)
						}
					}
				})
			}
			for range b.N {
				work <- struct{}{}
			}
			close(work)
			all.Wait()
			b.ReportMetric(float64((cpuTime()-before).Microseconds())/float64(b.N), "cpu-us/op")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "conn/s")
		})
	}
}

// request connects, has size bytes echoed and closes in order.
func request(r *rig, to netip.Addr, size int) error {
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	c, err := gonet.DialContextTCP(ctx, r.consumer, tcpip.FullAddress{NIC: dialNIC, Addr: address(to), Port: servicePort}, ipv4.ProtocolNumber)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(waitLimit))
	if _, err := c.Write(make([]byte, size)); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if err := c.CloseWrite(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	n, err := io.Copy(io.Discard, c)
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	if n != int64(size) {
		return fmt.Errorf("received %d bytes of %d", n, size)
	}
	return nil
}

const idleEnv = "CAUSEWAY_IDLE_CONNECTIONS"

// BenchmarkIdleConnection measures the memory of a connection on which nothing
// moves, in a fresh process: memory that another benchmark has used is reused
// and hides what is needed. The consumers' stack lives in the same process; its
// part, half of what connections between two bare stacks take, is taken off.
// The targets' side is in the kernel and not counted.
func BenchmarkIdleConnection(b *testing.B) {
	if mode := os.Getenv(idleEnv); mode != "" {
		idleChild(b, mode == "relayed")
		return
	}
	measure := func(mode string) float64 {
		cmd := exec.Command(os.Args[0], "-test.run=^$", "-test.bench=^BenchmarkIdleConnection$", "-test.benchtime=1x")
		cmd.Env = append(os.Environ(), idleEnv+"="+mode)
		out, err := cmd.CombinedOutput()
		if err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		_, rest, _ := strings.Cut(string(out), idleEnv+" ")
		kb, err := strconv.ParseFloat(strings.Fields(rest + " none")[0], 64)
		if err != nil {
			b.Fatalf("no figure in %q", out)
		}
		return kb
	}
	var relayed, bare float64
	for b.Loop() {
		relayed, bare = measure("relayed"), measure("bare")
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(relayed-bare/2, "kB/conn")
	b.ReportMetric(bare/2, "kB/endpoint")
}

const idleConns = 4000

// idleChild holds connections and prints their kB of resident memory each.
func idleChild(b *testing.B, relayed bool) {
	r := newRig(b, rigOptions{delay: 100 * time.Microsecond})
	listener := r.listen(&fixedTargets{addrs: []netip.AddrPort{acceptingNothing(b)}}, nil)
	if !relayed {
		listener.Close()
		ep, err := r.gateway.NewEndpoint(tcp.ProtocolNumber, ipv4.ProtocolNumber, &waiter.Queue{})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(ep.Close)
		if err := ep.Bind(tcpip.FullAddress{Port: servicePort}); err != nil {
			b.Fatal(err)
		}
		if err := ep.Listen(idleConns); err != nil {
			b.Fatal(err)
		}
	}
	var held []tcpip.Endpoint
	before := resident(b)
	for len(held) < idleConns {
		held = append(held, r.dialEndpoint())
	}
	if relayed {
		eventually(b, "all are connected", func() bool { return r.engine.Stats().Opened == idleConns })
	}
	fmt.Println(idleEnv, float64(resident(b)-before)/idleConns/1000)
	for _, ep := range held {
		ep.Abort()
	}
}

// acceptingNothing returns a loopback port whose connections stay in the
// kernel.
func acceptingNothing(b *testing.B) netip.AddrPort {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		b.Fatal(err)
	}
	if err := unix.Listen(fd, idleConns+1); err != nil {
		b.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		b.Fatal(err)
	}
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(sa.(*unix.SockaddrInet4).Port))
}

// resident returns the process's memory in bytes, after collection.
func resident(b *testing.B) int {
	runtime.GC()
	s, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(s))[1])
	if err != nil {
		b.Fatal(err)
	}
	return pages * os.Getpagesize()
}
