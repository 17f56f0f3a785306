package notify

import (
	"github.com/prometheus/client_golang/prometheus"

	"causeway/controlplane/resource"
	"causeway/controlplane/store"
)

// Why an event was dropped.
const (
	reasonAge      = "age"
	reasonOverflow = "overflow"
)

var _ prometheus.Collector = (*Deliverer)(nil)

type metrics struct {
	delivered, failed prometheus.Counter
	dropped           *prometheus.CounterVec
	pending           prometheus.GaugeFunc
}

func newMetrics(cache *store.Cache) *metrics {
	m := &metrics{
		delivered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "causeway_notification_events_delivered_total",
			Help: "Events that receivers of notifications have accepted.",
		}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "causeway_notification_attempts_failed_total",
			Help: "Attempts to deliver an event that will be repeated.",
		}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "causeway_notification_events_dropped_total",
			Help: "Events given up, by reason.",
		}, []string{"reason"}),
		pending: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "causeway_notification_events_pending",
			Help: "Events that wait to be delivered.",
		}, func() float64 { return float64(resource.NotificationEvents.Len(cache.Snapshot())) }),
	}
	for _, reason := range []string{reasonAge, reasonOverflow} {
		m.dropped.WithLabelValues(reason)
	}
	return m
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.delivered, m.failed, m.dropped, m.pending}
}

// Describe implements prometheus.Collector.
func (d *Deliverer) Describe(to chan<- *prometheus.Desc) {
	for _, c := range d.metrics.all() {
		c.Describe(to)
	}
}

// Collect implements prometheus.Collector.
func (d *Deliverer) Collect(to chan<- prometheus.Metric) {
	for _, c := range d.metrics.all() {
		c.Collect(to)
	}
}
