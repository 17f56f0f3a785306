package api

import (
	"context"

	"causeway/controlplane/apierr"
	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

// Bounds of a zone budget that are not given, in Mbit/s: AWS states 10 Gbit/s for each zone of an
// interface endpoint and growth from there:
// https://docs.aws.amazon.com/vpc/latest/privatelink/vpc-limits-endpoints.html
const (
	defaultBaselineMbps = 10_000
	defaultMaximumMbps  = 40_000
)

// bound completes the bounds of the zone budgets and checks them.
func (c *change) bound(ctx context.Context, before, after *pb.Endpoint) error {
	limit, err := c.limit(ctx, quotaByID(quotaZoneBandwidth), resource.Account(c.name))
	if err != nil {
		return err
	}
	fillBandwidth(after, limit)
	if checkBandwidth(after.GetBandwidth(), &c.wrong); c.wrong.Len() > 0 {
		return nil
	}
	return c.within(ctx, quotaZoneBandwidth, c.name, int(before.GetBandwidth().GetMaximumMbps()), int(after.GetBandwidth().GetMaximumMbps()))
}

// fillBandwidth completes the bounds of an endpoint's zone budgets, of an account that may have limit.
func fillBandwidth(endpoint *pb.Endpoint, limit int32) {
	if endpoint.GetBandwidth() == nil {
		endpoint.Bandwidth = &pb.Bandwidth{}
	}
	b := endpoint.GetBandwidth()
	if b.GetBaselineMbps() == 0 {
		b.BaselineMbps = defaultBaselineMbps
	}
	if b.GetMaximumMbps() == 0 {
		b.MaximumMbps = max(min(defaultMaximumMbps, limit), b.GetBaselineMbps())
	}
}

// checkBandwidth holds complete bounds against the rule that the schema cannot state.
func checkBandwidth(b *pb.Bandwidth, wrong *apierr.Violations) {
	if b.GetMaximumMbps() < b.GetBaselineMbps() {
		wrong.Add("endpoint.bandwidth.maximum_mbps", "%d is below the baseline, %d", b.GetMaximumMbps(), b.GetBaselineMbps())
	}
}
