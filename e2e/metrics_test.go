package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"causeway/e2e/lab"
)

// families parses what the daemon's /metrics says.
func (w *world) families() map[string]*dto.MetricFamily {
	w.t.Helper()
	text, err := w.daemon.Metrics()
	if err != nil {
		w.t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		w.t.Fatalf("parse the metrics: %v", err)
	}
	return families
}

// gauge is the value of a metric without labels.
func (w *world) gauge(name string) float64 {
	w.t.Helper()
	f := w.families()[name]
	if f == nil || len(f.GetMetric()) != 1 {
		w.t.Fatalf("metric %s is not there exactly once", name)
	}
	return f.GetMetric()[0].GetGauge().GetValue()
}

// sum adds up all series of a gauge.
func (w *world) sum(name string) float64 {
	w.t.Helper()
	total := 0.0
	for _, m := range w.families()[name].GetMetric() {
		total += m.GetGauge().GetValue()
	}
	return total
}

// TestMetrics lints the names of all metrics after traffic, and compares them with their document.
func TestMetrics(t *testing.T) {
	w := newWorld(t, settings{})
	w.underlay.Nginx(lab.NginxConfig{Listen: w.underlayAddr.String() + ":8080", Body: "orders\n"})
	w.vpc("prod", "10.0.0.0/16")
	w.publish("vpcs/prod", "orders", 80, 8080, w.underlayAddr.String())
	app := w.client("app")
	w.attach(app, "vpcs/prod/subnets/a", "app")
	address := w.endpoint("vpcs/prod", "orders", "endpointServices/orders")
	w.fetch(app, "http://"+address+"/", "orders")
	if _, err := w.curl(app, "http://"+address+":81/", 2); err == nil {
		t.Fatal("a port without a listener answered")
	}

	text, err := w.daemon.Metrics()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "causeway_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	document, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	families := w.families()
	for name, family := range families {
		own := strings.HasPrefix(name, "causeway_")
		if !own && !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") && !strings.HasPrefix(name, "promhttp_") {
			t.Errorf("%s does not begin with causeway_", name)
		}
		if own && !strings.Contains(string(document), "`"+name+"`") {
			t.Errorf("%s is not in docs/metrics.md", name)
		}
		// Those of the API have a series for every method and status, whatever happens.
		if own && len(family.GetMetric()) > 100 && !strings.HasPrefix(name, "causeway_grpc_server_") {
			t.Errorf("%s has %d series for one endpoint: are its labels bounded?", name, len(family.GetMetric()))
		}
	}
	for _, topic := range []string{"bytes", "flows", "drop", "budget_limit", "budget_used", "target", "handshake", "grpc_server", "store_"} {
		if !slices.ContainsFunc(names(families), func(n string) bool { return strings.HasPrefix(n, "causeway_") && strings.Contains(n, topic) }) {
			t.Errorf("no causeway_ metric is about %s", topic)
		}
	}
}

func names(families map[string]*dto.MetricFamily) []string {
	var list []string
	for name := range families {
		list = append(list, name)
	}
	return list
}

// TestNothingLeaks compares the daemon's goroutines and file descriptors before and after 10,000
// flows, and after 1,000 endpoints were made and deleted while flows ran.
func TestNothingLeaks(t *testing.T) {
	w := newWorld(t, settings{})
	consumer := w.bulkWorld()
	address := w.endpoint("vpcs/prod", "steady", "endpointServices/bulk")
	w.openFlows(consumer, address, 100)
	goroutines, fds := w.resting()

	w.openFlows(consumer, address, 10_000)
	w.wantBaseline("after 10,000 flows", goroutines, fds)

	stop := w.keepFlowing(consumer, address)
	for i := range 1000 {
		id := fmt.Sprintf("churn-%d", i)
		w.call("Endpoints/CreateEndpoint", `{"parent":"vpcs/prod","endpoint_id":%q,"endpoint":{"service_name":"endpointServices/bulk","subnets":["vpcs/prod/subnets/a"]}}`, id)
		if i%100 == 0 {
			w.endpointIPs("vpcs/prod/endpoints/" + id)
		}
		w.call("Endpoints/DeleteEndpoint", `{"name":"vpcs/prod/endpoints/%s"}`, id)
	}
	stop()
	w.wantBaseline("after 1,000 endpoints", goroutines, fds)
}
