package api

import (
	"context"
	"fmt"
	"slices"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

// offer resolves a service's load balancers, which are of one region, and fills in the zones they
// have nodes in. It gives the region.
func (c *change) offer(ctx context.Context, service *pb.EndpointService) (region string, err error) {
	lbs := service.GetLoadBalancers()
	var zones []string
	for n := range lbs {
		field := fmt.Sprintf("load_balancers[%d]", n)
		lb, err := reference(ctx, c, resource.LoadBalancers, field, &lbs[n])
		if err != nil {
			return "", err
		}
		if first := slices.Index(lbs[:n], lb.Name); first >= 0 {
			c.wrong.Add(c.path(field), "%s repeats load_balancers[%d]", quote(lb.Name), first)
			continue
		}
		vpc, err := resource.Vpcs.Get(ctx, c.store, lb.Value.GetVpc())
		if err != nil {
			return "", err
		}
		own := vpc.Value.GetRegion()
		if region == "" {
			region = own
		}
		if own != region {
			c.wrong.Add(c.path(field), "%s lies in region %s, %s in %s; all must be of one region",
				quote(lb.Name), own, quote(lbs[0]), region)
		}
		for _, node := range lb.Value.GetNodes() {
			zones = append(zones, node.GetAvailabilityZone())
		}
	}
	if c.wrong.Len() > 0 {
		return "", errViolations
	}
	slices.Sort(zones)
	service.AvailabilityZones = slices.Compact(zones)
	return region, nil
}
