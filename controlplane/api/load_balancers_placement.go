package api

import (
	"context"
	"fmt"

	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// placement resolves the subnets of a resource that has at most one in each zone, all in one VPC:
// the given one, or any if it is empty. It spells the names in the slice in full and has the
// transaction fail unless the subnets stay as they are.
func (c *change) placement(ctx context.Context, vpc string, names []string) ([]store.Versioned[*pb.Subnet], error) {
	subnets := make([]store.Versioned[*pb.Subnet], 0, len(names))
	zones := make(map[string]int, len(names))
	for n := range names {
		field := fmt.Sprintf("subnets[%d]", n)
		spelled := names[n]
		subnet, err := reference(ctx, c, resource.Subnets, field, &names[n])
		if err != nil {
			return nil, err
		}
		if vpc == "" {
			vpc = resource.Parent(subnet.Name)
		}
		zone := subnet.Value.GetAvailabilityZone()
		first, taken := zones[zone]
		switch {
		case resource.Parent(subnet.Name) != vpc:
			c.wrong.Add(c.path(field), "%s is not a subnet of VPC %s", quote(spelled), quote(vpc))
		case taken:
			c.wrong.Add(c.path(field), "%s and %s both lie in zone %s; name one subnet for each zone",
				quote(names[first]), quote(names[n]), zone)
		default:
			zones[zone] = n
		}
		subnets = append(subnets, subnet)
	}
	if c.wrong.Len() > 0 {
		return nil, errViolations
	}
	return subnets, nil
}
