package link

import (
	"os"
	"sync"

	"golang.zx2c4.com/wireguard/tun"
)

// Port is a link's side towards one WireGuard device. Ports are compared by identity. All methods are safe for
// concurrent use.
type Port struct {
	link     *Link
	name     string
	counters portCounters
	queue    queue

	readMu sync.Mutex // held by the device's only reader; close takes it to release what the reader still holds
	cutter cutter

	// life is held for reading by each Write, so that close can wait for those under way: afterwards nothing more is
	// delivered, and the counters stand still. Writes never wait for each other.
	life   sync.RWMutex
	closed bool

	device device
}

func newPort(l *Link, name string) *Port {
	p := &Port{link: l, name: name}
	p.queue.init(l.cfg)
	p.device = device{port: p, events: make(chan tun.Event)}
	return p
}

// Name returns the name given to [Link.NewPort].
func (p *Port) Name() string { return p.name }

// Device returns the port as a tun.Device for a WireGuard device; the same on every call. Its Write never blocks. Its
// Close detaches this port alone: queued packets are released, what the stack still sends there is dropped as
// [ReasonDetached], and Read and Write return os.ErrClosed. Once it has returned, nothing more is delivered. It must not be
// called from [Config.Admit]. Routes that name the port should be replaced by the caller.
func (p *Port) Device() tun.Device { return &p.device }

// Counters returns what passed this port.
func (p *Port) Counters() Counters { return p.counters.snapshot() }

// close detaches the port from its link.
func (p *Port) close() {
	if p.shut() {
		p.link.retire(p)
	}
}

// shut ends the port and reports whether it was open.
func (p *Port) shut() bool {
	p.life.Lock()
	open := !p.closed
	p.closed = true
	p.life.Unlock()
	if !open {
		return false
	}
	close(p.device.events)
	p.queue.close()
	p.readMu.Lock() // the reader has been woken
	p.cutter.release()
	p.readMu.Unlock()
	return true
}

// device is the tun.Device of a Port; a type of its own because tun.Device and stack.LinkEndpoint disagree about the
// signatures of MTU and Close.
type device struct {
	port   *Port
	events chan tun.Event
}

var _ tun.Device = (*device)(nil)

// batchSize matches tunnel/bind; WireGuard takes the larger of the two.
const batchSize = 128

func (d *device) File() *os.File           { return nil }
func (d *device) MTU() (int, error)        { return int(d.port.link.mtu.Load()), nil }
func (d *device) Name() (string, error)    { return d.port.name, nil }
func (d *device) Events() <-chan tun.Event { return d.events }
func (d *device) BatchSize() int           { return batchSize }

func (d *device) Close() error {
	d.port.close()
	return nil
}

func (d *device) Write(bufs [][]byte, offset int) (int, error) {
	return d.port.receive(bufs, offset)
}

func (d *device) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	return d.port.read(bufs, sizes, offset)
}
