package gateway

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"causeway/gateway/spec"
)

// healthPage is an HTTP or HTTPS server that answers a path with a status, and counts where it is asked from.
type healthPage struct {
	status atomic.Int32
	from   atomic.Pointer[string]
}

func (h *healthPage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	h.from.Store(&host)
	if r.URL.Path != "/health" {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.WriteHeader(int(h.status.Load()))
}

func (h *healthPage) serve(t *testing.T, l net.Listener, protocol spec.Protocol) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Listener.Close()
	s.Listener = l
	if protocol == spec.HTTPS {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
}

// TestHTTPHealthChecks checks a target on the underlay and one behind a tunnel, which must see the node's address.
func TestHTTPHealthChecks(t *testing.T) {
	g := run(t, config(t, t.TempDir()))
	var w world
	_, server := w.pair(t, 1)
	l, at := underlay(t)
	group := &w.TargetGroups[0]
	group.Targets = append(group.Targets, registration(at.Addr(), at.Port()))
	group.HealthCheck.Path, group.HealthCheck.Codes = "/health", []spec.CodeRange{{First: 200, Last: 299}}
	group.HealthCheck.Protocol = spec.HTTP
	g.apply(t, &w.Gateway)
	server.connect(t, g, uid("tepp", 1))
	pages := map[netip.Addr]*healthPage{server.addr: {}, at.Addr(): {}}
	for a, p := range pages {
		p.status.Store(http.StatusOK)
		if a == at.Addr() {
			p.serve(t, l, spec.HTTP)
		} else {
			p.serve(t, server.listen(t, 8080), spec.HTTP)
		}
	}
	all := func(want spec.TargetState, why string) func() bool {
		return func() bool {
			n := 0
			for _, s := range g.Status().TargetGroups[0].Targets {
				if s.State == want && strings.Contains(s.Description, why) {
					n++
				}
			}
			return n == 2
		}
	}
	eventually(t, "healthy", all(spec.TargetHealthy, ""))
	if from := pages[server.addr].from.Load(); *from != nodeIP {
		t.Errorf("the target behind the tunnel is checked from %s, want the node's address", *from)
	}
	for _, p := range pages {
		p.status.Store(http.StatusServiceUnavailable)
	}
	eventually(t, "unhealthy", all(spec.TargetUnhealthy, "answered with status 503"))
	for _, p := range pages {
		p.status.Store(http.StatusNoContent)
	}
	eventually(t, "healthy again", all(spec.TargetHealthy, ""))
	group.HealthCheck.Protocol = spec.HTTPS
	g.apply(t, &w.Gateway)
	eventually(t, "unhealthy without TLS", all(spec.TargetUnhealthy, "tls handshake"))
}

// TestHTTPSHealthCheckBehindATunnel ends TLS in the provider's domain.
func TestHTTPSHealthCheckBehindATunnel(t *testing.T) {
	g := run(t, config(t, t.TempDir()))
	var w world
	_, server := w.pair(t, 1)
	check := &w.TargetGroups[0].HealthCheck
	check.Protocol, check.Path, check.Codes = spec.HTTPS, "/health", []spec.CodeRange{{First: 200, Last: 299}}
	g.apply(t, &w.Gateway)
	server.connect(t, g, uid("tepp", 1))
	page := &healthPage{}
	page.status.Store(http.StatusOK)
	page.serve(t, server.listen(t, 8080), spec.HTTPS)
	eventually(t, "healthy", func() bool { return g.Status().TargetGroups[0].Targets[0].State == spec.TargetHealthy })
}
