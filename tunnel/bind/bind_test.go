package bind

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = netip.MustParseAddr("127.0.0.1")

// open returns an open bind and its receive function.
func open(t testing.TB, b conn.Bind) (conn.ReceiveFunc, netip.AddrPort) {
	t.Helper()
	fns, port, err := b.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return fns[0], netip.AddrPortFrom(loopback, port)
}

func endpointFor(t testing.TB, b conn.Bind, addr netip.AddrPort) conn.Endpoint {
	t.Helper()
	ep, err := b.ParseEndpoint(addr.String())
	if err != nil {
		t.Fatal(err)
	}
	return ep
}

// collect receives n datagrams.
func collect(t testing.TB, receive conn.ReceiveFunc, n, batch int) (datagrams [][]byte, from []conn.Endpoint) {
	t.Helper()
	bufs, sizes, eps := buffers(batch)
	for len(datagrams) < n {
		got, err := receive(bufs, sizes, eps)
		if err != nil {
			t.Fatalf("after %d of %d datagrams: %v", len(datagrams), n, err)
		}
		for i := range got {
			datagrams = append(datagrams, bytes.Clone(bufs[i][:sizes[i]]))
			from = append(from, eps[i])
		}
	}
	return datagrams, from
}

func buffers(n int) ([][]byte, []int, []conn.Endpoint) {
	bufs := make([][]byte, n)
	for i := range bufs {
		bufs[i] = make([]byte, 65535)
	}
	return bufs, make([]int, n), make([]conn.Endpoint, n)
}

// datagrams makes one of each size, with content that tells them apart.
func datagrams(sizes ...int) [][]byte {
	d := make([][]byte, len(sizes))
	for i, n := range sizes {
		d[i] = bytes.Repeat([]byte{byte(i + 1)}, n)
	}
	return d
}

func repeat(n, size int) []int {
	sizes := make([]int, n)
	for i := range sizes {
		sizes[i] = size
	}
	return sizes
}

// withoutOffload takes the kernel's help away from an open bind.
func withoutOffload(b *Bind) {
	s := *b.socket.Load()
	s.send = false
	b.socket.Store(&s)
}

func TestSendAndReceive(t *testing.T) {
	tests := map[string][]int{
		"one":                 {148},
		"a batch":             repeat(128, 1424),
		"more than a batch":   repeat(200, 1200),
		"all sizes":           {1, 1424, 1424, 80, 1424, 1500, 1500, 32, 32, 32, 65000, 1},
		"growing":             {100, 200, 300, 400},
		"large ones":          {60000, 60000, 65507},
		"a train of 64 and 1": append(repeat(64, 500), 500),
	}
	for name, sizes := range tests {
		for _, offload := range []bool{true, false} {
			t.Run(name+"/offload="+strconv.FormatBool(offload), func(t *testing.T) {
				a, b := New(Config{Address: loopback}), New(Config{Address: loopback})
				_, addrA := open(t, a)
				receive, addrB := open(t, b)
				if !offload {
					withoutOffload(a)
				}
				want := datagrams(sizes...)
				if err := a.Send(want, endpointFor(t, a, addrB)); err != nil {
					t.Fatal(err)
				}
				got, from := collect(t, receive, len(want), 128)
				for i := range want {
					if !bytes.Equal(got[i], want[i]) {
						t.Fatalf("datagram %d: %d bytes, want %d", i, len(got[i]), len(want[i]))
					}
					if from[i].DstToString() != addrA.String() {
						t.Fatalf("datagram %d is from %v, want %v", i, from[i].DstToString(), addrA)
					}
				}
				if c := a.Counters(); c != (Counters{}) {
					t.Errorf("counters: %+v", c)
				}
			})
		}
	}
}

// Datagrams that the kernel does not join, because their sizes differ, come with one call nevertheless, and so do they
// after a train. A busy kernel may deliver some late, hence the tries.
func TestReceiveTakesManySmallOnes(t *testing.T) {
	a, b := New(Config{Address: loopback}), New(Config{Address: loopback})
	open(t, a)
	receive, addr := open(t, b)
	to := endpointFor(t, a, addr)
	small := datagrams(100, 132, 116, 148, 100, 164, 100, 132, 116, 148)
	train := datagrams(repeat(45, 1424)...)
	send := func(datagrams [][]byte) {
		t.Helper()
		if err := a.Send(datagrams, to); err != nil {
			t.Fatal(err)
		}
	}
	bufs, sizes, eps := buffers(128)
	for range 50 {
		send(train)
		collect(t, receive, len(train), 128)
		send(small[:1])
		collect(t, receive, 1, 128)
		send(small)
		n, err := receive(bufs, sizes, eps)
		if err != nil {
			t.Fatal(err)
		}
		if n == len(small) {
			return
		}
		collect(t, receive, len(small)-n, 128)
	}
	t.Errorf("one call never returned all of %d small datagrams", len(small))
}

// A caller with few buffers gets the rest with its next calls.
func TestReceiveKeepsWhatIsLeft(t *testing.T) {
	a, b := New(Config{Address: loopback}), New(Config{Address: loopback})
	open(t, a)
	receive, addr := open(t, b)
	want := datagrams(repeat(40, 1000)...)
	if err := a.Send(want, endpointFor(t, a, addr)); err != nil {
		t.Fatal(err)
	}
	got, _ := collect(t, receive, len(want), 3)
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("datagram %d has changed", i)
		}
	}
}

// Where the kernel joins nothing, each datagram goes straight to its buffer.
func TestReceiveWithoutOffload(t *testing.T) {
	a, b := New(Config{Address: loopback}), New(Config{Address: loopback})
	open(t, a)
	_, addr := open(t, b)
	s := b.socket.Load()
	if err := s.raw.Control(func(fd uintptr) {
		if err := unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 0); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	s.receive = false
	r := newReceiver(b, s)
	want := datagrams(repeat(100, 700)...)
	if err := a.Send(want, endpointFor(t, a, addr)); err != nil {
		t.Fatal(err)
	}
	got, _ := collect(t, r.receive, len(want), 64)
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("datagram %d has changed", i)
		}
	}
}

func TestEndpointsAreCached(t *testing.T) {
	a, b := New(Config{Address: loopback}), New(Config{Address: loopback})
	open(t, a)
	receive, addr := open(t, b)
	ep := endpointFor(t, a, addr)
	var all []conn.Endpoint
	for range 3 {
		if err := a.Send(datagrams(100), ep); err != nil {
			t.Fatal(err)
		}
		_, from := collect(t, receive, 1, 8)
		all = append(all, from...)
	}
	if all[0] != all[1] || all[1] != all[2] {
		t.Error("one source has several endpoints")
	}
	cache := endpointCache{all: make(map[netip.AddrPort]*endpoint)}
	for port := range 3 * maxEndpoints {
		cache.get(netip.AddrPortFrom(loopback, uint16(port)))
		if len(cache.all) > maxEndpoints {
			t.Fatalf("cache has %d endpoints", len(cache.all))
		}
	}
}

func TestCloseUnblocksReceive(t *testing.T) {
	b := New(Config{Address: loopback})
	for round := range 3 { // it can be opened again
		receive, _ := open(t, b)
		var done sync.WaitGroup
		done.Go(func() {
			bufs, sizes, eps := buffers(4)
			if _, err := receive(bufs, sizes, eps); !errors.Is(err, net.ErrClosed) {
				t.Errorf("round %d: receive ended with %v", round, err)
			}
		})
		if _, _, err := b.Open(0); !errors.Is(err, conn.ErrBindAlreadyOpen) {
			t.Errorf("second Open: %v", err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		done.Wait()
		if err := b.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	}
	if err := b.Send(datagrams(1), newEndpoint(netip.MustParseAddrPort("127.0.0.1:9"))); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Send after Close: %v", err)
	}
	if c := b.Counters(); c.ReceiveErrors != 0 {
		t.Errorf("Close counted as %d errors", c.ReceiveErrors)
	}
}

// A socket that breaks must not do so silently.
func TestReceiveErrorIsVisible(t *testing.T) {
	seen := make(chan error, 1)
	b := New(Config{Address: loopback, OnReceiveError: func(err error) { seen <- err }})
	receive, _ := open(t, b)
	// A buffer the kernel cannot write to is the one error that can be had at will.
	r := newReceiver(b, b.socket.Load())
	_ = receive
	r.poll = func(uintptr) bool {
		r.errno = unix.EFAULT
		return true
	}
	bufs, sizes, eps := buffers(1)
	_, err := r.receive(bufs, sizes, eps)
	if !errors.Is(err, unix.EFAULT) || errors.Is(err, net.ErrClosed) {
		t.Errorf("receive: %v", err)
	}
	if _, permanent := err.(net.Error); permanent { //nolint:errorlint // wireguard-go asserts in the same way
		t.Error("WireGuard would take the error for permanent")
	}
	select {
	case got := <-seen:
		if !errors.Is(got, unix.EFAULT) {
			t.Errorf("callback got %v", got)
		}
	case <-time.After(5 * time.Second):
		t.Error("callback was not called")
	}
	if c := b.Counters(); c.ReceiveErrors != 1 {
		t.Errorf("counters: %+v", c)
	}
}

func TestOpenErrors(t *testing.T) {
	a := New(Config{Address: loopback})
	_, addr := open(t, a)
	b := New(Config{Address: loopback})
	if _, _, err := b.Open(addr.Port()); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("port in use: %v", err)
	}
	c := New(Config{Address: netip.MustParseAddr("192.0.2.1")})
	if _, _, err := c.Open(0); !errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Errorf("address of another host: %v", err)
	}
}

func TestAddresses(t *testing.T) {
	for _, addr := range []netip.Addr{{}, netip.IPv4Unspecified(), loopback} {
		b := New(Config{Address: addr})
		receive, at := open(t, b)
		if err := b.Send(datagrams(10), endpointFor(t, b, at)); err != nil {
			t.Fatalf("%v: %v", addr, err)
		}
		collect(t, receive, 1, 1)
		if err := b.Send(datagrams(10), newEndpoint(netip.MustParseAddrPort("[::1]:9"))); !errors.Is(err, unix.EAFNOSUPPORT) {
			t.Errorf("%v: IPv6 from an IPv4 socket: %v", addr, err)
		}
	}
	b := New(Config{Address: netip.IPv6Loopback()})
	fns, port, err := b.Open(0)
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Skip("no IPv6 here")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	at := netip.AddrPortFrom(netip.IPv6Loopback(), port)
	if err := b.Send(datagrams(10, 10, 10), endpointFor(t, b, at)); err != nil {
		t.Fatal(err)
	}
	if _, from := collect(t, fns[0], 3, 8); from[0].DstToString() != at.String() {
		t.Errorf("from %v, want %v", from[0].DstToString(), at)
	}
}

func TestSendRefusesForeignEndpoints(t *testing.T) {
	b := New(Config{Address: loopback})
	open(t, b)
	if err := b.Send(datagrams(1), &conn.StdNetEndpoint{}); !errors.Is(err, conn.ErrWrongEndpointType) {
		t.Errorf("Send: %v", err)
	}
	for _, s := range []string{"", "127.0.0.1", "host:1", "127.0.0.1:99999"} {
		if _, err := b.ParseEndpoint(s); err == nil {
			t.Errorf("endpoint %q was accepted", s)
		}
	}
}

func TestTrainLen(t *testing.T) {
	tests := []struct {
		name  string
		sizes []int
		want  int
	}{
		{"one", []int{100}, 1},
		{"equal", repeat(10, 100), 10},
		{"at most 64", repeat(100, 100), 64},
		{"at most 65000 bytes", repeat(64, 1424), 45},
		{"a shorter one ends it", []int{100, 100, 50, 50}, 3},
		{"a longer one does not belong", []int{100, 100, 101}, 2},
		{"an empty one does not belong", []int{100, 0}, 1},
		{"too large for a second", []int{65000, 1}, 1},
	}
	for _, tt := range tests {
		if got := trainLen(datagrams(tt.sizes...), maxTrain); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

// Where trains are refused the datagrams must arrive all the same, each once, and the next ones must not try again.
func TestOffloadFallback(t *testing.T) {
	for _, refused := range []unix.Errno{unix.EIO, unix.EINVAL, unix.EMSGSIZE} {
		a, b := New(Config{Address: loopback}), New(Config{Address: loopback})
		open(t, a)
		receive, addr := open(t, b)
		trains := 0
		a.senders.New = func() any {
			s := newSender()
			s.poll = func(fd uintptr) bool {
				all := s.to
				for s.to = s.from; s.to < all && s.messages[s.to].header.Iovlen == 1; s.to++ {
				}
				if s.to == s.from { // a train is next: refuse it as udp_send_skb does
					trains++
					s.to, s.errno = all, refused
					return true
				}
				done := s.sendmmsg(fd)
				s.to = all
				return done
			}
			return s
		}
		// The first message is single, so part of the batch is sent before the refusal.
		want := datagrams(append([]int{50}, repeat(30, 1000)...)...)
		ep := endpointFor(t, a, addr)
		for range 2 {
			if err := a.Send(want, ep); err != nil {
				t.Fatalf("%v: %v", refused, err)
			}
			got, _ := collect(t, receive, len(want), 128)
			for i := range want {
				if !bytes.Equal(got[i], want[i]) {
					t.Fatalf("%v: datagram %d has %d bytes, want %d", refused, i, len(got[i]), len(want[i]))
				}
			}
		}
		if c := a.Counters(); c.OffloadFallbacks != 1 || c.SendErrors != 0 || trains != 1 {
			t.Errorf("%v: %d trains tried, counters %+v", refused, trains, c)
		}
	}
}
