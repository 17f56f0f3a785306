package lab

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// relayQueue bounds the datagrams under way in one direction of one client; more are lost, as in
// a router.
const relayQueue = 4096

// RelayConfig describes a stretch of network between UDP peers.
type RelayConfig struct {
	// Listen is where clients send to; port 0 lets the kernel choose.
	Listen netip.AddrPort
	// Target is where their datagrams go, each client's from a port of its own, as behind a NAT.
	Target netip.AddrPort
	// Delay is added in each direction. Order is kept.
	Delay time.Duration
	// LossPerMille datagrams of a thousand are lost in each direction, chosen by Seed.
	LossPerMille int
	Seed         uint64
}

// Relay carries datagrams between clients and a target with a delay and loss, both of which may be
// changed while it runs. Safe for concurrent use.
type Relay struct {
	// Addr is where clients send to.
	Addr netip.AddrPort

	front  *net.UDPConn
	target netip.AddrPort
	host   *Host
	delay  atomic.Int64
	loss   atomic.Int64
	wg     sync.WaitGroup

	closeOnce sync.Once
	done      chan struct{} // closed by Close

	mu      sync.Mutex
	random  *rand.Rand
	clients map[netip.AddrPort]*relayClient
}

// relayClient is what a relay holds of one client: a socket towards the target.
type relayClient struct {
	back     *net.UDPConn
	up, down chan datagram
}

type datagram struct {
	payload []byte
	due     time.Time
}

// Relay starts a relay in the host; it ends with the lab.
func (h *Host) Relay(cfg RelayConfig) *Relay {
	h.lab.report.Helper()
	front, err := h.ListenPacket(h.lab.ctx, "udp", cfg.Listen.String())
	if err != nil {
		h.lab.report.Fatalf("start relay: %v", err)
	}
	r := &Relay{
		Addr:    front.LocalAddr().(*net.UDPAddr).AddrPort(),
		front:   front.(*net.UDPConn),
		target:  cfg.Target,
		host:    h,
		random:  rand.New(rand.NewPCG(cfg.Seed, 0)),
		clients: make(map[netip.AddrPort]*relayClient),
		done:    make(chan struct{}),
	}
	r.SetDelay(cfg.Delay)
	r.SetLoss(cfg.LossPerMille)
	h.lab.report.Cleanup(r.Close)
	r.wg.Go(r.receive)
	return r
}

// SetDelay changes the delay of datagrams received from now on.
func (r *Relay) SetDelay(d time.Duration) { r.delay.Store(int64(d)) }

// SetLoss changes how many datagrams of a thousand are lost; 1000 cuts the path.
func (r *Relay) SetLoss(perMille int) { r.loss.Store(int64(perMille)) }

// Rebind forgets all clients, so that the target sees each at a new port, as after a NAT has lost
// its state. Datagrams under way are lost.
func (r *Relay) Rebind() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropClients()
}

// Close stops the relay and waits until it has. Datagrams under way are lost.
func (r *Relay) Close() {
	r.closeOnce.Do(func() {
		r.front.Close()
		close(r.done)
		r.mu.Lock()
		r.dropClients()
		r.mu.Unlock()
	})
	r.wg.Wait()
}

// dropClients closes every client's socket. The goroutines of a client end with it.
func (r *Relay) dropClients() {
	for addr, c := range r.clients {
		c.back.Close()
		close(c.up)
		delete(r.clients, addr)
	}
}

// receive takes in what clients send.
func (r *Relay) receive() {
	buf := make([]byte, 65536)
	for {
		n, from, err := r.front.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		// Any other error is an ICMP answer to something sent before.
		if err == nil {
			r.fromClient(from, buf[:n])
		}
	}
}

func (r *Relay) fromClient(from netip.AddrPort, payload []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.done:
		return
	default:
	}
	c, ok := r.clients[from]
	if !ok {
		var err error
		if c, err = r.newClient(from); err != nil {
			return // A lost datagram; the next one tries again.
		}
		r.clients[from] = c
	}
	r.enqueue(c.up, payload)
}

// newClient opens the socket for a client and starts its three goroutines.
func (r *Relay) newClient(from netip.AddrPort) (*relayClient, error) {
	back, err := r.host.ListenPacket(r.host.lab.ctx, "udp", ":0")
	if err != nil {
		return nil, err
	}
	c := &relayClient{
		back: back.(*net.UDPConn),
		up:   make(chan datagram, relayQueue),
		down: make(chan datagram, relayQueue),
	}
	r.wg.Go(func() { r.deliver(c.up, c.back, r.target) })
	r.wg.Go(func() { r.deliver(c.down, r.front, from) })
	r.wg.Go(func() { r.receiveBack(c) })
	return c, nil
}

// receiveBack takes in what the target answers to one client.
func (r *Relay) receiveBack(c *relayClient) {
	defer close(c.down)
	buf := make([]byte, 65536)
	for {
		n, from, err := c.back.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		// A socket for both families shows IPv4 addresses as IPv6 ones.
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if err != nil || from != r.target {
			continue
		}
		r.mu.Lock()
		r.enqueue(c.down, buf[:n])
		r.mu.Unlock()
	}
}

// enqueue puts a copy of a datagram on a queue, unless it is to be lost. r.mu is held.
func (r *Relay) enqueue(queue chan<- datagram, payload []byte) {
	if r.random.Int64N(1000) < r.loss.Load() {
		return
	}
	d := datagram{append([]byte(nil), payload...), time.Now().Add(time.Duration(r.delay.Load()))}
	select {
	case queue <- d:
	default:
	}
}

// deliver sends each datagram when it is due, until the queue is closed or the relay is. Errors of
// sending are lost datagrams, and stay for one whose socket has been closed.
func (r *Relay) deliver(queue <-chan datagram, from *net.UDPConn, to netip.AddrPort) {
	for d := range queue {
		if wait := time.Until(d.due); wait > 0 {
			select {
			case <-time.After(wait):
			case <-r.done:
				return
			}
		}
		_, _ = from.WriteToUDPAddrPort(d.payload, to)
	}
}
