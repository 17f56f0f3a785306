package api

import (
	"causeway/controlplane/apierr"
	pb "causeway/proto/causeway/v1"
)

// Bounds of a zone budget that are not given, in Mbit/s: AWS states 10 Gbit/s for each zone of an
// interface endpoint and growth from there:
// https://docs.aws.amazon.com/vpc/latest/privatelink/vpc-limits-endpoints.html
const (
	defaultBaselineMbps = 10_000
	defaultMaximumMbps  = 40_000
)

// fillBandwidth completes the bounds of an endpoint's zone budgets.
func fillBandwidth(endpoint *pb.Endpoint) {
	if endpoint.GetBandwidth() == nil {
		endpoint.Bandwidth = &pb.Bandwidth{}
	}
	b := endpoint.GetBandwidth()
	if b.GetBaselineMbps() == 0 {
		b.BaselineMbps = defaultBaselineMbps
	}
	if b.GetMaximumMbps() == 0 {
		b.MaximumMbps = max(defaultMaximumMbps, b.GetBaselineMbps())
	}
}

// checkBandwidth holds complete bounds against the rule that the schema cannot state.
func checkBandwidth(b *pb.Bandwidth, wrong *apierr.Violations) {
	if b.GetMaximumMbps() < b.GetBaselineMbps() {
		wrong.Add("endpoint.bandwidth.maximum_mbps", "%d is below the baseline, %d", b.GetMaximumMbps(), b.GetBaselineMbps())
	}
}
