package api

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"causeway/controlplane/apierr"
	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

// interfaceUID begins the uids of network interfaces.
const interfaceUID = "eni"

// interfaces gives an endpoint one network interface for each of its subnets. Those it had before
// stay; others get a uid and the address designated for them or the lowest free one. There is nothing
// before when the endpoint is new, and no service when that is gone: then no interface can be added.
func (c *change) interfaces(ctx context.Context, endpoint, before *pb.Endpoint, service *pb.EndpointService) error {
	vpc := resource.Parent(c.name)
	subnets, err := c.placement(ctx, vpc, endpoint.GetSubnets())
	if err != nil {
		return err
	}
	designated, err := c.designations(ctx, endpoint.GetSubnets(), endpoint.GetSubnetConfigurations())
	if err != nil {
		return err
	}
	endpoint.SubnetConfigurations = nil
	targeted, err := c.targeted(ctx, vpc)
	if err != nil {
		return err
	}
	kept := before.GetNetworkInterfaces()
	narrowed := before.GetCrossZone() && !endpoint.GetCrossZone()
	endpoint.NetworkInterfaces = nil
	for n, subnet := range subnets {
		at := slices.IndexFunc(kept, func(eni *pb.NetworkInterface) bool { return eni.GetSubnet() == subnet.Name })
		if service == nil && at < 0 {
			return notFound(resource.EndpointServices.Info, endpoint.GetServiceName())
		}
		if (at < 0 || narrowed) && !c.supported(endpoint, service, n, subnet.Value) {
			continue
		}
		if at >= 0 {
			endpoint.NetworkInterfaces = append(endpoint.NetworkInterfaces, kept[at])
			continue
		}
		eni, err := c.newInterface(ctx, subnet.Value, designated[subnet.Name], targeted)
		if err != nil {
			return err
		}
		endpoint.NetworkInterfaces = append(endpoint.NetworkInterfaces, eni)
	}
	return nil
}

// supported notes it in AWS's words if an endpoint cannot have an interface in its nth subnet since
// the service lacks the zone.
func (c *change) supported(endpoint *pb.Endpoint, service *pb.EndpointService, n int, subnet *pb.Subnet) bool {
	if endpoint.GetCrossZone() || slices.Contains(service.GetAvailabilityZones(), subnet.GetAvailabilityZone()) {
		return true
	}
	c.wrong.Add(c.path(fmt.Sprintf("subnets[%d]", n)),
		"is in %s. The VPC endpoint service %s does not support the availability zone of the subnet: %s. Its zones are %s; cross_zone has another one serve it",
		subnet.GetAvailabilityZone(), endpoint.GetServiceName(), subnet.GetUid(), strings.Join(service.GetAvailabilityZones(), ", "))
	return false
}

// designation is an address that the caller has chosen, and where the request says so.
type designation struct {
	field string
	addr  netip.Addr
}

// designations reads the addresses chosen for some of the subnets, by the subnets' names.
func (c *change) designations(ctx context.Context, subnets []string, configurations []*pb.SubnetConfiguration) (map[string]designation, error) {
	chosen := make(map[string]designation)
	for n, config := range configurations {
		field := c.path(fmt.Sprintf("subnet_configurations[%d]", n))
		name, err := c.resolve(ctx, c.caller, resource.Subnets.Info, field+".subnet", config.GetSubnet(), false)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(subnets, name) {
			c.wrong.Add(field+".subnet", "%s is not one of the endpoint's subnets", quote(config.GetSubnet()))
			continue
		}
		if first, twice := chosen[name]; twice {
			c.wrong.Add(field+".subnet", "%s has an address in %s already", quote(config.GetSubnet()), first.field)
			continue
		}
		addr, err := parseAddress(config.GetIpAddress())
		if err != nil {
			c.wrong.Add(field+".ip_address", "%s %v", quote(config.GetIpAddress()), err)
		}
		chosen[name] = designation{field: field + ".ip_address", addr: addr}
	}
	return chosen, nil
}

// newInterface makes a network interface in a subnet, which the kernel's claims make its own. Its
// address is none of those that are targets in the VPC.
func (c *change) newInterface(ctx context.Context, subnet *pb.Subnet, chosen designation, targeted map[netip.Addr]string) (*pb.NetworkInterface, error) {
	uid, err := c.newUID(interfaceUID)
	if err != nil {
		return nil, err
	}
	eni := &pb.NetworkInterface{Uid: uid, Subnet: subnet.GetName(), AvailabilityZone: subnet.GetAvailabilityZone()}
	if chosen.field == "" {
		addr, err := c.lowestFree(ctx, subnet, targeted)
		eni.IpAddress = addr.String()
		return eni, err
	}
	eni.IpAddress = chosen.addr.String()
	if !chosen.addr.IsValid() {
		return eni, nil // noted as a violation already
	}
	if group, loop := targeted[chosen.addr]; loop {
		c.wrong.Add(chosen.field, "%s is a target of %s in the same VPC; connections to it would go round in a loop",
			quote(chosen.addr.String()), quote(group))
		return eni, nil
	}
	return eni, c.designate(ctx, subnet, chosen)
}

// designate checks an address that the caller has chosen.
func (c *change) designate(ctx context.Context, subnet *pb.Subnet, chosen designation) error {
	prefix, err := netip.ParsePrefix(subnet.GetCidrBlock())
	if err != nil {
		return fmt.Errorf("stored %s: %w", subnet.GetName(), err)
	}
	pool, err := readAddressPool(ctx, c.store, resource.Parent(subnet.GetName()), prefix)
	if err != nil {
		return err
	}
	err = pool.designate(chosen.addr)
	switch {
	case err == nil:
	case errors.Is(err, errAddressInUse):
		return apierr.InUse("address", "network interface", chosen.addr.String()+" in "+subnet.GetName())
	default:
		c.wrong.Add(chosen.field, "%s %v", quote(chosen.addr.String()), err)
	}
	return nil
}
