package lab

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// readyWithin bounds the start of a daemon.
const readyWithin = 30 * time.Second

// DaemonConfig says how to run causewayd.
type DaemonConfig struct {
	// YAML is the configuration file's text.
	YAML string
	// HTTP is the address of http.listen in it; empty means the default, 127.0.0.1:7480.
	HTTP string
	// Program is a causewayd built before; empty has ./cmd/causewayd built.
	Program string
	// Args are flags that follow --config FILE.
	Args []string
}

// Daemon is a causewayd in a host. It survives being killed: Restart starts it again with the same
// configuration. Its methods are for the goroutine of the test.
type Daemon struct {
	*Process // the one that runs, or ran last

	host *Host
	cfg  DaemonConfig
	file string
}

// Daemon starts causewayd and waits until its /readyz answers 200.
func (h *Host) Daemon(cfg DaemonConfig) *Daemon {
	h.lab.report.Helper()
	if cfg.HTTP == "" {
		cfg.HTTP = "127.0.0.1:7480"
	}
	if cfg.Program == "" {
		cfg.Program = h.lab.Build("./cmd/causewayd")
	}
	file, err := os.CreateTemp(h.lab.dir, h.Name+"-*.yaml")
	if err != nil {
		h.lab.report.Fatalf("configure causewayd: %v", err)
	}
	defer file.Close()
	if _, err := file.WriteString(cfg.YAML); err != nil {
		h.lab.report.Fatalf("configure causewayd: %v", err)
	}
	d := &Daemon{host: h, cfg: cfg, file: file.Name()}
	d.start()
	return d
}

// Restart starts the daemon again, after Kill or by itself ending it orderly first, and waits
// until it is ready.
func (d *Daemon) Restart() {
	d.host.lab.report.Helper()
	if d.Exited() == nil {
		if err := d.Stop(readyWithin); err != nil {
			d.host.lab.report.Fatalf("%v", err)
		}
	}
	d.start()
}

func (d *Daemon) start() {
	h := d.host
	h.lab.report.Helper()
	d.Process = h.Start(d.cfg.Program, append([]string{"--config", d.file}, d.cfg.Args...)...)
	client := h.HTTPClient()
	defer client.CloseIdleConnections()
	d.Eventually(readyWithin, "causewayd on "+h.Name, func() error {
		_, err := get(h.lab.ctx, client, "http://"+d.cfg.HTTP+"/readyz")
		return err
	})
}

// Metrics returns what the daemon's /metrics says.
func (d *Daemon) Metrics() (string, error) {
	client := d.host.HTTPClient()
	defer client.CloseIdleConnections()
	return get(d.host.lab.ctx, client, "http://"+d.cfg.HTTP+"/metrics")
}

// HTTPClient returns a client whose connections start inside the host. URLs must hold IP
// addresses.
func (h *Host) HTTPClient() *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: h.Dial}}
}

// get returns the body of an answer of status 200.
func get(ctx context.Context, client *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("get %s: %s: %s", url, resp.Status, body)
	}
	return string(body), nil
}

// Grpcurl runs the pinned grpcurl inside the host and returns its standard output.
func (h *Host) Grpcurl(ctx context.Context, args ...string) (string, error) {
	program, err := GrpcurlProgram()
	if err != nil {
		return "", err
	}
	return h.Output(ctx, program, args...)
}

// GrpcurlProgram returns the path of the pinned grpcurl.
func GrpcurlProgram() (string, error) {
	return toolPath(".tools", "github.com/fullstorydev/grpcurl/cmd/grpcurl")
}
