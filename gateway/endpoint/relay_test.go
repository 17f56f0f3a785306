package endpoint

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
)

// randomStream writes size bytes made from seed in pieces of random sizes, and
// returns their hash.
func randomStream(w io.Writer, seed uint64, size int) ([]byte, error) {
	rng := rand.New(rand.NewPCG(seed, 1))
	src := rand.NewChaCha8([32]byte{byte(seed)})
	h := sha256.New()
	buf := make([]byte, 300_000)
	for size > 0 {
		n := min(size, 1+rng.IntN(1<<(4+rng.IntN(15))))
		src.Read(buf[:n])
		h.Write(buf[:n])
		if _, err := w.Write(buf[:n]); err != nil {
			return nil, err
		}
		size -= n
	}
	return h.Sum(nil), nil
}

func TestDataIntegrityBothWays(t *testing.T) {
	for name, o := range map[string]rigOptions{
		"segments of 1380":  {},
		"segments of 64 KB": {gso: true},
		"one worker":        {engine: Config{Workers: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			size := 12 << 20
			if testing.Short() {
				size = 3 << 20
			}
			serverSum := make(chan []byte, 2)
			target := backend(t, func(c *net.TCPConn) {
				var both sync.WaitGroup
				both.Go(func() {
					h := sha256.New()
					io.Copy(h, c)
					serverSum <- h.Sum(nil)
				})
				both.Go(func() {
					sum, err := randomStream(c, 2, size)
					if err != nil {
						t.Error(err)
					}
					c.CloseWrite()
					serverSum <- sum
				})
				both.Wait()
			})
			r := newRig(t, o)
			r.listen(&fixedTargets{addrs: []netip.AddrPort{target}}, nil)
			c := r.dial()
			var both sync.WaitGroup
			var sent, received []byte
			both.Go(func() {
				var err error
				if sent, err = randomStream(c, 1, size); err != nil {
					t.Error(err)
				}
				c.CloseWrite()
			})
			both.Go(func() {
				h := sha256.New()
				if _, err := io.Copy(h, c); err != nil {
					t.Error(err)
				}
				received = h.Sum(nil)
			})
			both.Wait()
			a, b := <-serverSum, <-serverSum
			if !bytes.Equal(sent, a) && !bytes.Equal(sent, b) {
				t.Error("bytes from consumer to target differ")
			}
			if !bytes.Equal(received, a) && !bytes.Equal(received, b) {
				t.Error("bytes from target to consumer differ")
			}
			rec := r.ended(1)[0]
			if rec.Reason != ReasonCompleted || rec.IngressBytes != uint64(size) || rec.EgressBytes != uint64(size) || rec.Target != target {
				t.Errorf("record = %+v, want completed with %d bytes each way to %v", rec, size, target)
			}
		})
	}
}

// TestPacketsArriveTwice duplicates every packet of the consumers. A second SYN
// that waits at the listener beside the first, as one sent again during a
// pause of the machine does, is what gVisor's warning "handleListenSegment
// failed: port is in use" tells of: the connection that the first one began is
// there already, and nothing is lost.
func TestPacketsArriveTwice(t *testing.T) {
	const flows = 200
	r := newRig(t, rigOptions{})
	r.listen(&fixedTargets{addrs: []netip.AddrPort{backend(t, echo)}}, nil)
	r.wire.ends[0].setTwice(true)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range flows / 8 {
				if err := request(r, exposureAddr, 1000); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	r.ended(flows)
	if s := r.engine.Stats(); s.Opened != flows || s.Ended[ReasonCompleted] != flows || s.IngressBytes != flows*1000 {
		t.Errorf("stats = %+v, want %d flows completed, 1000 bytes each", s, flows)
	}
	if r.gateway.Stats().TCP.FailedConnectionAttempts.Value() == 0 {
		t.Error("no second SYN met the first: nothing was tested")
	}
}

func TestConsumerHalfClose(t *testing.T) {
	target := backend(t, func(c *net.TCPConn) {
		got, _ := io.ReadAll(c) // until the consumer's FIN
		c.Write(append([]byte("after FIN: "), got...))
	})
	r := newRig(t, rigOptions{})
	r.listen(&fixedTargets{addrs: []netip.AddrPort{target}}, nil)
	c := r.dial()
	deadline(c)
	c.Write([]byte("hello"))
	c.CloseWrite()
	got, err := io.ReadAll(c)
	if err != nil || string(got) != "after FIN: hello" {
		t.Fatalf("read %q, %v", got, err)
	}
	if why := r.endReason(); why != ReasonCompleted {
		t.Errorf("ended because %v", why)
	}
}

func TestTargetHalfClose(t *testing.T) {
	got := make(chan string, 1)
	target := backend(t, func(c *net.TCPConn) {
		c.Write([]byte("hello"))
		c.CloseWrite()
		b, _ := io.ReadAll(c)
		got <- string(b)
	})
	r := newRig(t, rigOptions{})
	r.listen(&fixedTargets{addrs: []netip.AddrPort{target}}, nil)
	c := r.dial()
	deadline(c)
	b, err := io.ReadAll(c) // until the target's FIN
	if err != nil || string(b) != "hello" {
		t.Fatalf("read %q, %v", b, err)
	}
	if _, err := c.Write([]byte("after FIN")); err != nil {
		t.Fatal(err)
	}
	c.CloseWrite()
	if s := <-got; s != "after FIN" {
		t.Errorf("target read %q", s)
	}
	if why := r.endReason(); why != ReasonCompleted {
		t.Errorf("ended because %v", why)
	}
}

func TestTargetReset(t *testing.T) {
	target := backend(t, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 5))
		c.SetLinger(0) // Close resets
	})
	r := newRig(t, rigOptions{})
	r.listen(&fixedTargets{addrs: []netip.AddrPort{target}}, nil)
	c := r.dial()
	deadline(c)
	c.Write([]byte("hello"))
	if _, err := c.Read(make([]byte, 1)); !isReset(err) {
		t.Errorf("consumer read: %v, want a reset", err)
	}
	if why := r.endReason(); why != ReasonTargetReset {
		t.Errorf("ended because %v", why)
	}
}

func TestConsumerReset(t *testing.T) {
	result := make(chan error, 1)
	target := backend(t, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 5))
		_, err := c.Read(make([]byte, 1))
		result <- err
	})
	r := newRig(t, rigOptions{})
	r.listen(&fixedTargets{addrs: []netip.AddrPort{target}}, nil)
	ep := r.dialEndpoint()
	if _, err := ep.Write(bytes.NewReader([]byte("hello")), writeOptions); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the target got it", func() bool { return r.engine.Stats().IngressBytes == 5 })
	ep.Abort()
	if err := <-result; !isReset(err) {
		t.Errorf("target read: %v, want a reset", err)
	}
	if why := r.endReason(); why != ReasonConsumerReset {
		t.Errorf("ended because %v", why)
	}
}
