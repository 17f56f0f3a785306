package gateway

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
)

func gather(t *testing.T, g *Gateway) map[string]*dto.MetricFamily {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(g); err != nil {
		t.Fatal(err)
	}
	list, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(list).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	families := map[string]*dto.MetricFamily{}
	for _, f := range list {
		families[f.GetName()] = f
		if !strings.HasPrefix(f.GetName(), "causeway_") {
			t.Errorf("metric %q has not our prefix", f.GetName())
		}
	}
	return families
}

// value sums the samples whose labels include all of want, given as name=value.
func value(f *dto.MetricFamily, want ...string) (sum float64) {
	for _, m := range f.GetMetric() {
		have := map[string]bool{}
		for _, l := range m.GetLabel() {
			have[l.GetName()+"="+l.GetValue()] = true
		}
		matches := true
		for _, l := range want {
			matches = matches && have[l]
		}
		if matches {
			sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return sum
}

func TestMetrics(t *testing.T) {
	g := run(t, config(t, t.TempDir()))
	gather(t, g.Gateway) // before anything is served
	var w world
	client, server := w.pair(t, 1)
	g.apply(t, &w.Gateway)
	name := connectPair(t, g, 1, client, server)
	client.open(t, serviceAt, name)
	if _, err := client.dial(t, "10.0.1.10:22", 0, patience); err == nil {
		t.Error("an unserved port accepts")
	}
	eventually(t, "target healthy", func() bool { return g.pool.Group("accounts/p1/targetGroups/g").Healthy() == 1 })
	m := gather(t, g.Gateway)
	ni := "network_interface=" + uid("eni", 1)
	for _, tt := range []struct {
		metric string
		labels []string
		least  float64
		most   float64
	}{
		{"causeway_tunnel_bytes_total", []string{"domain=" + consumer(1), "direction=in"}, 100, 1e4},
		{"causeway_tunnel_bytes_total", []string{"domain=" + consumer(1), "direction=out"}, 100, 1e4},
		{"causeway_dropped_packets_total", []string{"domain=" + consumer(1), "direction=in", "reason=no_listener"}, 1, 1},
		{"causeway_peers", []string{"domain=" + consumer(1), "kind=attachment"}, 1, 1},
		{"causeway_peers_connected", []string{"domain=" + consumer(1), "kind=attachment"}, 1, 1},
		{"causeway_last_handshake_timestamp_seconds", []string{"domain=" + consumer(1)}, 1.7e9, 1e10},
		{"causeway_tunnel_endpoint_up", nil, 2, 2},
		{"causeway_flows_active", []string{ni}, 1, 1},
		{"causeway_flows_opened_total", []string{ni}, 1, 1},
		{"causeway_network_interface_bytes_total", []string{ni, "direction=ingress"}, 1, 1},
		{"causeway_network_interface_bytes_total", []string{ni, "direction=egress"}, float64(len(name)), float64(len(name))},
		{"causeway_budget_limit_bytes_per_second", []string{ni, "direction=egress"}, 1.25e9, 1.25e9},
		{"causeway_targets", []string{"target_group=accounts/p1/targetGroups/g", "state=healthy"}, 1, 1},
		{"causeway_targets", []string{"target_group=accounts/p1/targetGroups/g"}, 1, 1},
		{"causeway_spec_revision", nil, 1, 1},
		{"causeway_spec_refused", nil, 0, 0},
	} {
		if f := m[tt.metric]; f == nil {
			t.Errorf("no metric %s", tt.metric)
		} else if got := value(f, tt.labels...); got < tt.least || got > tt.most {
			t.Errorf("%s%v = %v, want %v to %v", tt.metric, tt.labels, got, tt.least, tt.most)
		}
	}
}
