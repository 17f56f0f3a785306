package flowlog

import "github.com/prometheus/client_golang/prometheus"

var (
	descWritten = prometheus.NewDesc("causeway_flow_log_records_written_total", "Records of connections written to the flow log.", nil, nil)
	descLost    = prometheus.NewDesc("causeway_flow_log_records_lost_total",
		"Records of connections not written: overflow when they came faster than the disk took them, error when it took none.", []string{"reason"}, nil)
)

var _ prometheus.Collector = (*File)(nil)

// Describe implements prometheus.Collector.
func (f *File) Describe(out chan<- *prometheus.Desc) {
	out <- descWritten
	out <- descLost
}

// Collect implements prometheus.Collector.
func (f *File) Collect(out chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	counter(descWritten, f.written.Load())
	counter(descLost, f.overflowed.Load(), "overflow")
	counter(descLost, f.failed.Load(), "error")
}
