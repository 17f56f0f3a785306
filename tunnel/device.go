package tunnel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.zx2c4.com/wireguard/device"

	"causeway/tunnel/bind"
)

// ErrClosed is returned by methods of a closed [Device].
var ErrClosed = errors.New("tunnel device is closed")

// Device is one WireGuard device. All methods are safe for concurrent use.
type Device struct {
	cfg       Config
	log       *slog.Logger
	public    Key
	bind      *bind.Bind
	endpoints *endpointStore

	mu      sync.Mutex // serialises changes of what follows
	wg      *device.Device
	peers   map[Key]Peer // as set last
	port    uint16
	closing bool // Close has been called
	closed  bool

	running sync.WaitGroup // Run
	quit    chan struct{}  // closed by Close
}

// validName is what wg accepts as the name of an interface.
var validName = regexp.MustCompile(`^[a-zA-Z0-9_=+.-]{1,15}$`)

// New returns a device that is not started: it has no socket and no goroutine yet. Its key and configuration are checked,
// and known endpoints are read from StateDir.
func New(cfg Config) (*Device, error) {
	if !validName.MatchString(cfg.Name) || cfg.Name == "." || cfg.Name == ".." {
		return nil, fmt.Errorf("tunnel device name %q: want 1 to 15 letters, digits and any of _=+.-", cfg.Name)
	}
	if cfg.TUN == nil {
		return nil, fmt.Errorf("tunnel device %q: no tun device", cfg.Name)
	}
	if cfg.PrivateKey == (PrivateKey{}) {
		return nil, fmt.Errorf("tunnel device %q: no private key", cfg.Name)
	}
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	log = log.With("device", cfg.Name)
	d := &Device{
		cfg:    cfg,
		log:    log,
		public: cfg.PrivateKey.Public(),
		quit:   make(chan struct{}),
	}
	d.bind = bind.New(bind.Config{
		Address: cfg.Listen.Addr(),
		OnReceiveError: func(err error) {
			log.Warn("tunnel socket cannot receive", "error", err)
		},
	})
	d.endpoints = openEndpoints(cfg.StateDir, cfg.Name, log)
	return d, nil
}

// PublicKey returns the device's own public key.
func (d *Device) PublicKey() Key { return d.public }

// SocketCounters returns the counters of the device's UDP socket.
func (d *Device) SocketCounters() bind.Counters { return d.bind.Counters() }

// Start opens the UDP socket, brings the device up and calls every peer whose endpoint is known. Run does so too; Start
// apart is for those who want its error at once. Starting twice is no error.
func (d *Device) Start() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	if d.wg != nil {
		return nil
	}
	wg := device.NewDevice(d.cfg.TUN, d.bind, wireguardLogger(d.log))
	if err := d.bringUp(wg); err != nil {
		wg.Close()
		d.closed = true
		return fmt.Errorf("open tunnel device %q: %w", d.cfg.Name, err)
	}
	d.wg = wg
	return nil
}

func (d *Device) bringUp(wg *device.Device) error {
	if err := wg.IpcSet(deviceConfig(d.cfg.PrivateKey, d.cfg.Listen.Port())); err != nil {
		return err
	}
	started, err := applyPeers(wg, nil, d.peers, d.endpoints)
	if err != nil {
		return err
	}
	if err := wg.Up(); err != nil {
		return err
	}
	state, err := readState(wg)
	if err != nil {
		return err
	}
	d.port = state.port
	d.call(wg, started)
	return nil
}

// call initiates a handshake with each of peers at once, rather than when there is something to send: after a restart the peer
// still believes in its old session and would find out only after 15 seconds of silence.
func (d *Device) call(wg *device.Device, peers []Key) {
	for _, key := range peers {
		if p := wg.LookupPeer(device.NoisePublicKey(key)); p != nil {
			if err := p.SendHandshakeInitiation(false); err != nil {
				d.log.Debug("handshake not sent", "peer", key, "error", err)
			}
		}
	}
}

// SetPeers makes peers the device's peers, by difference: those that stay keep their sessions and endpoints. On a device
// that is not started they are kept for Start. If the set is not valid nothing changes. An error while it is applied may
// leave a part applied; setting the peers again repairs that.
func (d *Device) SetPeers(peers []Peer) error {
	want, err := indexPeers(peers, d.public)
	if err != nil {
		return fmt.Errorf("set peers of tunnel device %q: %w", d.cfg.Name, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	d.endpoints.keepOnly(want)
	if d.wg == nil {
		d.peers = want
		return nil
	}
	added, err := applyPeers(d.wg, d.peers, want, d.endpoints)
	if err != nil {
		return fmt.Errorf("set peers of tunnel device %q: %w", d.cfg.Name, err)
	}
	d.peers = want
	d.call(d.wg, added)
	return nil
}

// Status returns what the device knows of itself and its peers.
func (d *Device) Status() (Status, error) {
	d.mu.Lock()
	wg, peers, port := d.wg, d.peers, d.port
	d.mu.Unlock()
	status := Status{PublicKey: d.public, Port: port}
	if wg == nil {
		for key, p := range peers {
			status.Peers = append(status.Peers, PeerStatus{Name: p.Name, PublicKey: key, Endpoint: p.Endpoint})
		}
		sortPeers(status.Peers)
		return status, nil
	}
	state, err := readState(wg)
	if err != nil {
		return Status{}, fmt.Errorf("read status of tunnel device %q: %w", d.cfg.Name, err)
	}
	for key, p := range state.peers {
		p.status.Name = peers[key].Name
		status.Peers = append(status.Peers, p.status)
	}
	sortPeers(status.Peers)
	return status, nil
}

// Run starts the device if need be and serves until ctx ends or Close is called, which is no error. It keeps the endpoints
// on disk up to date and serves the UAPI socket. When it returns the device is closed. It is to be called once.
func (d *Device) Run(ctx context.Context) error {
	d.mu.Lock()
	if d.closing || d.closed {
		d.mu.Unlock()
		return ErrClosed
	}
	d.running.Add(1)
	d.mu.Unlock()
	defer d.running.Done()
	if err := d.Start(); err != nil {
		return err
	}
	defer d.shutdown()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.watch(ctx, cancel) })
	g.Go(func() error { return d.keepEndpoints(ctx) })
	g.Go(func() error { return d.serveUAPI(ctx) })
	return g.Wait()
}

// watch ends Run when the device is to close or has closed itself.
func (d *Device) watch(ctx context.Context, stop func()) error {
	defer stop()
	select {
	case <-ctx.Done():
		return nil
	case <-d.quit:
		return nil
	case <-d.wg.Wait():
		return fmt.Errorf("tunnel device %q: its tun device ended", d.cfg.Name)
	}
}

// Close ends Run, closes the socket and the tun device and waits for all of it. It is idempotent.
func (d *Device) Close() error {
	d.mu.Lock()
	if !d.closing {
		d.closing = true
		close(d.quit)
	}
	d.mu.Unlock()
	d.running.Wait()
	d.shutdown()
	return nil
}

// shutdown closes the device after its last endpoints are on disk.
func (d *Device) shutdown() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	d.closed = true
	if d.wg == nil {
		d.cfg.TUN.Close()
		return
	}
	d.saveEndpoints()
	d.wg.Close()
}
