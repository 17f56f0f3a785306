package reconcile

import (
	"iter"
	"slices"

	"google.golang.org/protobuf/proto"

	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// tunnelEndpoints holds the tunnel endpoints that exist, named by slot.name. Only uid, vpc and
// availability_zone are kept; the UDP port is claimed, see claimUDP.
var tunnelEndpoints = store.NewCollection[*pb.TunnelEndpoint]("tunnelEndpoints")

// claimUDP is the claim kind of a gateway's UDP ports: "<gateway>/<port>", owned by the tunnel
// endpoint.
const claimUDP = "udp"

// Collections gives what a cache must hold for [New].
func Collections() []store.AnyCollection {
	return []store.AnyCollection{
		resource.Vpcs.Collection, resource.Subnets.Collection, resource.Attachments.Collection,
		resource.Peerings.Collection, resource.CustomerGateways.Collection, resource.VpnConnections.Collection,
		resource.TargetGroups.Collection, resource.Targets, resource.LoadBalancers.Collection, resource.Listeners.Collection,
		resource.Certificates.Collection, resource.NetworkAcls.Collection, resource.SecurityGroups.Collection,
		resource.EndpointServices.Collection, resource.Endpoints.Collection, tunnelEndpoints,
		resource.ResolverEndpoints.Collection, resource.ResolverRules.Collection,
	}
}

// list is the resources of a kind in the order of their names.
type list[T any] []store.Versioned[T]

// input is all that a spec is compiled from, at one revision.
type input struct {
	revision          int64
	vpcs              list[*pb.Vpc]
	subnets           list[*pb.Subnet]
	attachments       list[*pb.Attachment]
	peerings          list[*pb.Peering]
	customerGateways  list[*pb.CustomerGateway]
	vpnConnections    list[*pb.VpnConnection]
	targetGroups      list[*pb.TargetGroup]
	targets           list[*pb.RegisterTargetsRequest] // by the name of their group
	loadBalancers     list[*pb.LoadBalancer]
	listeners         list[*pb.Listener]
	certificates      list[*pb.Certificate]
	endpointServices  list[*pb.EndpointService]
	endpoints         list[*pb.Endpoint]
	tunnelEndpoints   list[*pb.TunnelEndpoint]
	resolverEndpoints list[*pb.ResolverEndpoint]
	resolverRules     list[*pb.ResolverRule]
	networkACLs       list[*pb.NetworkAcl]
	securityGroups    list[*pb.SecurityGroup]
	// ports are the claimed UDP ports of the gateway by their owner.
	ports map[string]uint16
}

// read takes the input from a snapshot. Its messages are shared with the cache and not changed.
func read(s *store.Snapshot) input {
	return input{
		revision:          s.Revision(),
		vpcs:              all(s, resource.Vpcs.Collection),
		subnets:           all(s, resource.Subnets.Collection),
		attachments:       all(s, resource.Attachments.Collection),
		peerings:          all(s, resource.Peerings.Collection),
		customerGateways:  all(s, resource.CustomerGateways.Collection),
		vpnConnections:    all(s, resource.VpnConnections.Collection),
		targetGroups:      all(s, resource.TargetGroups.Collection),
		targets:           all(s, resource.Targets),
		loadBalancers:     all(s, resource.LoadBalancers.Collection),
		listeners:         all(s, resource.Listeners.Collection),
		certificates:      all(s, resource.Certificates.Collection),
		endpointServices:  all(s, resource.EndpointServices.Collection),
		endpoints:         all(s, resource.Endpoints.Collection),
		tunnelEndpoints:   all(s, tunnelEndpoints),
		resolverEndpoints: all(s, resource.ResolverEndpoints.Collection),
		resolverRules:     all(s, resource.ResolverRules.Collection),
		ports:             portsByOwner(s.Claims(claimUDP, portClaimPrefix)),
		networkACLs:       all(s, resource.NetworkAcls.Collection),
		securityGroups:    all(s, resource.SecurityGroups.Collection),
	}
}

func all[T proto.Message](s *store.Snapshot, c *store.Collection[T]) list[T] {
	return slices.AppendSeq(make(list[T], 0, c.Len(s)), c.Below(s, ""))
}

func portsByOwner(claims iter.Seq[store.Claim]) map[string]uint16 {
	ports := map[string]uint16{}
	for claim := range claims {
		if port, ok := parsePortClaim(claim.Key); ok {
			ports[claim.Owner] = port
		}
	}
	return ports
}
