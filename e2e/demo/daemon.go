package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// readyTimeout is how long the daemon may take to start.
const readyTimeout = 30 * time.Second

// daemon is a running causewayd.
type daemon struct {
	socket string
	cmd    *exec.Cmd
	exited chan error
}

const configText = `data_dir: %s
zones:
  - {region: us-east-1, zone: us-east-1a}
  - {region: us-east-1, zone: us-east-1b}
api:
  socket: %s
  listen: 127.0.0.1:%d
wireguard:
  advertise: 127.0.0.1
  ports: %d-%d
http:
  listen: 127.0.0.1:%d
log:
  level: warn
`

func startDaemon(ctx context.Context, dir string) (*daemon, error) {
	program, err := buildDaemon(ctx, dir)
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	d := &daemon{socket: filepath.Join(dir, "api.sock"), exited: make(chan error, 1)}
	const firstUDP, lastUDP = 42820, 42899
	text := fmt.Sprintf(configText, filepath.Join(dir, "data"), d.socket, ports[0], firstUDP, lastUDP, ports[1])
	config := filepath.Join(dir, "causewayd.yaml")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("write the daemon's configuration: %w", err)
	}
	d.cmd = exec.Command(program, "--config", config)
	var output bytes.Buffer
	d.cmd.Stdout, d.cmd.Stderr = &output, &output
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start causewayd: %w", err)
	}
	go func() { d.exited <- d.cmd.Wait() }()
	if err := d.waitReady(ctx, fmt.Sprintf("http://127.0.0.1:%d/readyz", ports[1])); err != nil {
		d.stop()
		return nil, fmt.Errorf("%w\n%s", err, output.String())
	}
	return d, nil
}

func buildDaemon(ctx context.Context, dir string) (string, error) {
	if built := os.Getenv("CAUSEWAYD"); built != "" {
		return built, nil
	}
	program := filepath.Join(dir, "causewayd")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "causeway/cmd/causewayd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build causewayd: %w\n%s", err, out)
	}
	return program, nil
}

func (d *daemon) waitReady(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if resp, err := http.Get(url); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-tick.C:
		case err := <-d.exited:
			d.exited <- err
			return fmt.Errorf("causewayd ended while starting: %w", err)
		case <-ctx.Done():
			return errors.New("causewayd is not ready in time")
		}
	}
}

// stop ends the daemon and waits for it.
func (d *daemon) stop() {
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.exited:
	case <-time.After(15 * time.Second):
		_ = d.cmd.Process.Kill()
		<-d.exited
	}
}

// freePorts finds TCP ports of the loopback address that nothing listens on.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}
