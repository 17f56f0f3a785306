package api

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"causeway/controlplane/apierr"
	"causeway/controlplane/dnsname"
	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// Reasons of FAILED_PRECONDITION.
const (
	reasonNoPrivateName         = "PRIVATE_DNS_NAME_MISSING"
	reasonPrivateNameUnverified = "PRIVATE_DNS_NAME_UNVERIFIED"
)

// privateName is what messages call a private DNS name.
const privateName = "private DNS name"

// resolverAddress gives the DNS server of a VPC; "" if the stored range is none.
func resolverAddress(cidr string) string {
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return ""
	}
	return dnsname.Server(prefix).String()
}

// nameEndpoint puts the names that follow from what an endpoint is before those that it holds.
func (k *kernel) nameEndpoint(e *pb.Endpoint) {
	held := slices.DeleteFunc(e.GetDnsEntries(), func(d *pb.DnsEntry) bool { return d.GetKind() != pb.DnsEntry_PRIVATE })
	e.DnsEntries = nil
	if len(e.GetNetworkInterfaces()) == 0 {
		return
	}
	of := dnsname.Endpoint{
		UID: e.GetUid(), ServiceName: e.GetServiceName(), ServiceUID: e.GetServiceUid(),
		Region: k.regionOf(e.GetNetworkInterfaces()[0].GetAvailabilityZone()), Suffix: k.dnsSuffix,
	}
	e.DnsEntries = append(e.DnsEntries, &pb.DnsEntry{DnsName: of.Regional(), Kind: pb.DnsEntry_REGIONAL})
	for _, eni := range e.GetNetworkInterfaces() {
		if name := of.Zonal(eni.GetAvailabilityZone()); dnsname.Valid(name) {
			e.DnsEntries = append(e.DnsEntries, &pb.DnsEntry{DnsName: name, Kind: pb.DnsEntry_ZONAL, AvailabilityZone: eni.GetAvailabilityZone()})
		}
	}
	e.DnsEntries = append(e.DnsEntries, held...)
}

// regionOf gives the region of a zone; "" if it is not served here.
func (k *kernel) regionOf(zone string) string {
	n := slices.IndexFunc(k.zones, func(z Zone) bool { return z.Name == zone })
	if n < 0 {
		return ""
	}
	return k.zones[n].Region
}

// asksForNames says whether an update of an endpoint is about its private names.
func asksForNames(e *pb.Endpoint, mask *fieldmaskpb.FieldMask) bool {
	if len(mask.GetPaths()) == 0 {
		return e.PrivateDnsEnabled != nil
	}
	return slices.Contains(mask.GetPaths(), "private_dns_enabled") || slices.Contains(mask.GetPaths(), "*")
}

// holdNames decides which of its service's names an endpoint holds: none unless it is to have private DNS, and then
// those that it held before and those whose ownership is proven. There is nothing before when the endpoint is new.
func (c *change) holdNames(ctx context.Context, before, after *pb.Endpoint, service *pb.EndpointService) error {
	held := resource.PrivateNames(before)
	names := slices.DeleteFunc(slices.Clone(resource.ServiceNames(service)), func(name string) bool {
		return !proven(service) && !slices.Contains(held, name)
	})
	if after.PrivateDnsEnabled == nil {
		after.PrivateDnsEnabled = new(len(names) > 0)
	}
	after.DnsEntries = nil
	switch {
	case !after.GetPrivateDnsEnabled():
		return nil
	case len(names) == 0 && !before.GetPrivateDnsEnabled():
		return c.noNames(after, service)
	}
	for _, name := range names {
		if err := c.freeName(ctx, name); err != nil {
			return err
		}
		after.DnsEntries = append(after.DnsEntries, &pb.DnsEntry{DnsName: name, Kind: pb.DnsEntry_PRIVATE})
	}
	return nil
}

// proven says whether a service's names are known to be its provider's: the operator needs no proof.
func proven(service *pb.EndpointService) bool {
	return service.GetOffering() == pb.EndpointService_PLATFORM ||
		service.GetPrivateDnsNameVerification().GetState() == pb.PrivateDnsNameVerification_VERIFIED
}

// noNames says why an endpoint cannot have private DNS.
func (c *change) noNames(endpoint *pb.Endpoint, service *pb.EndpointService) error {
	word := resource.Endpoints.Word
	if len(resource.ServiceNames(service)) == 0 {
		return apierr.Precondition(reasonNoPrivateName, word, c.name,
			"cannot have private DNS: service %s has no DNS name of its own; leave private_dns_enabled out", endpoint.GetServiceName())
	}
	return apierr.Precondition(reasonPrivateNameUnverified, word, c.name,
		"cannot have private DNS: the provider of %s has not proven that the service's DNS name is its own; leave private_dns_enabled out until then",
		endpoint.GetServiceName())
}

// freeName refuses a name that another endpoint of the VPC holds.
func (c *change) freeName(ctx context.Context, name string) error {
	claim := resource.PrivateNameClaim(resource.Parent(c.name), name)
	held, err := c.store.ClaimOwner(ctx, claim.Kind, claim.Key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil || held.Owner == c.name:
		return err
	}
	return nameHeld(c.name, name, held.Owner)
}

// nameHeld names the endpoint that holds a name. It is in the same VPC and so of the same account.
func nameHeld(endpoint, name, holder string) error {
	return apierr.Held(privateName, resource.Endpoints.Word, endpoint,
		"%q, which %s holds in the same VPC; set private_dns_enabled to false here or there", name, holder)
}
