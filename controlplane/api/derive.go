package api

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	"google.golang.org/protobuf/proto"

	"causeway/controlplane/resource"
	"causeway/gateway/policy"
	pb "causeway/proto/causeway/v1"
)

// derive fills in what follows from the store and the clock, and takes out what readers are not
// shown.
func (k *kernel) derive(ctx context.Context, m proto.Message) error {
	switch m := m.(type) {
	case *pb.Token:
		m.Secret = "" // what is stored there is its hash
	case *pb.Certificate:
		m.PrivateKey = "" // what is stored there is sealed
	case *pb.Vpc:
		m.DnsServer = resolverAddress(m.GetCidrBlock())
	case *pb.NetworkAcl:
		m.IsDefault = isDefaultACL(m.GetName())
	case *pb.Subnet:
		return k.countAddresses(ctx, m)
	case *pb.Notification:
		return k.countEvents(ctx, m)
	case *pb.Peering:
		if expired(m, k.now()) {
			m.State = pb.Peering_EXPIRED
		}
	case *pb.Endpoint:
		if lapsed(m, k.now()) {
			m.State = pb.Endpoint_EXPIRED
		}
		m.StateMessage = whyOutOfUse(m.GetState())
		k.nameEndpoint(m)
		m.Policy = cmp.Or(m.GetPolicy(), policy.Default)
		return k.markCrossZone(ctx, m)
	case *pb.Subscription:
		open, err := k.serviceExists(ctx, m)
		if err == nil && !open {
			m.State = pb.Subscription_CLOSED
		}
		return err
	}
	return nil
}

// whyOutOfUse is what a consumer is told of a state that its provider has brought an endpoint into.
func whyOutOfUse(state pb.Endpoint_State) string {
	switch state {
	case pb.Endpoint_REJECTED:
		return "the provider of the service has rejected the endpoint"
	case pb.Endpoint_EXPIRED:
		return "the provider of the service did not accept the endpoint in time"
	}
	return ""
}

// markCrossZone says of an endpoint's interfaces which lie in zones that the service lacks at present.
func (k *kernel) markCrossZone(ctx context.Context, e *pb.Endpoint) error {
	if !e.GetCrossZone() {
		return nil
	}
	service, err := k.serviceOf(ctx, e)
	if err != nil || service.Value == nil {
		return err
	}
	for _, eni := range e.GetNetworkInterfaces() {
		eni.CrossZone = !slices.Contains(service.Value.GetAvailabilityZones(), eni.GetAvailabilityZone())
	}
	return nil
}

func (k *kernel) countAddresses(ctx context.Context, s *pb.Subnet) error {
	prefix, err := netip.ParsePrefix(s.GetCidrBlock())
	if err != nil {
		return fmt.Errorf("stored %s: %w", s.GetName(), err)
	}
	pool, err := readAddressPool(ctx, k.store, resource.Parent(s.GetName()), prefix)
	if err != nil {
		return err
	}
	s.AvailableIpAddressCount = int32(pool.available())
	return nil
}
