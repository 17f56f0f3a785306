package lab

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// NginxConfig says what a web server serves.
type NginxConfig struct {
	// Listen is the address and port, such as "10.0.0.2:80".
	Listen string
	// Body is the answer to "/"; empty means the host's name and a newline.
	Body string
	// Files are served under their names, each that many zero bytes long.
	Files map[string]int64
	// ProxyProtocol makes the server expect a PROXY protocol header, and log whom it names.
	ProxyProtocol bool
}

// nginxConf keeps everything nginx writes in its own directory. The access log shows who a request
// came from.
const nginxConf = `daemon off;
worker_processes 1;
error_log stderr warn;
pid %[1]s/pid;
events { worker_connections 16384; }
http {
	log_format consumer 'consumer $proxy_protocol_addr of $proxy_protocol_server_addr:$proxy_protocol_server_port';
	access_log /dev/stdout %[4]s;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	sendfile on;
	server {
		listen %[2]s%[5]s;
		root %[1]s/files;
		location = / { default_type text/plain; return 200 %[3]q; }
	}
}
`

// Nginx starts Debian's nginx in the host and waits until it answers.
func (h *Host) Nginx(cfg NginxConfig) *Process {
	h.lab.report.Helper()
	if cfg.Body == "" {
		cfg.Body = h.Name + "\n"
	}
	conf, err := h.writeNginx(cfg)
	if err != nil {
		h.lab.report.Fatalf("configure nginx on %q: %v", h.Name, err)
	}
	p := h.Start("nginx", "-c", conf)
	if cfg.ProxyProtocol {
		p.WaitListening(netip.MustParseAddrPort(cfg.Listen), 10*time.Second)
		return p
	}
	client := h.HTTPClient()
	defer client.CloseIdleConnections()
	p.Eventually(10*time.Second, "nginx on "+h.Name, func() error {
		_, err := get(h.lab.ctx, client, "http://"+cfg.Listen+"/")
		return err
	})
	return p
}

// writeNginx writes the configuration and the files and returns the path of the first.
func (h *Host) writeNginx(cfg NginxConfig) (string, error) {
	dir, err := os.MkdirTemp(h.lab.dir, "nginx-")
	if err != nil {
		return "", err
	}
	// The worker is not root and must be able to come here.
	files := filepath.Join(dir, "files")
	for _, d := range []string{h.lab.dir, dir} {
		if err := os.Chmod(d, 0o711); err != nil {
			return "", err
		}
	}
	if err := os.Mkdir(files, 0o755); err != nil {
		return "", err
	}
	for name, size := range cfg.Files {
		path := filepath.Join(files, name)
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			return "", err
		}
		if err := os.Truncate(path, size); err != nil {
			return "", err
		}
	}
	format, option := "combined", ""
	if cfg.ProxyProtocol {
		format, option = "consumer", " proxy_protocol"
	}
	conf := filepath.Join(dir, "nginx.conf")
	return conf, os.WriteFile(conf, fmt.Appendf(nil, nginxConf, dir, cfg.Listen, cfg.Body, format, option), 0o600)
}
