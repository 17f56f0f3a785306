package api

import (
	"cmp"
	"slices"
	"time"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

// quota limits how much of something an account may have. Adding one is a line in the table below if
// it counts resources; if it limits what is written in one resource, whoever writes it asks
// [kernel.within] as well.
type quota struct {
	// id is the last part of the quota's name.
	id string
	// standard holds unless the operator has set another value, of which maximum is the highest; 0 is
	// no limit.
	standard, maximum int32
	// per is the kind of resource of which each may have as much: unit says of what.
	per         *resource.Info
	unit        string
	description string

	// of is the kind of resource that is counted below each of per; nil if it counts none. All count
	// that are not being deleted, and of which counts, unless it is nil, says so.
	of     *resource.Info
	counts func(m resource.Message, now time.Time) bool
	// tally counts what lies elsewhere; nil for the rest.
	tally tally
}

// Quotas that handlers ask for by name.
const (
	quotaACLRules         = "rules-per-network-acl"
	quotaAttachmentGroups = "security-groups-per-attachment"
	quotaEndpointGroups   = "security-groups-per-endpoint"
	quotaGroupRules       = "rules-per-security-group"
	quotaPeerings         = "peerings-per-vpc"
	quotaPrincipals       = "principals-per-service"
	quotaStaticRoutes     = "static-routes-per-vpn-connection"
	quotaTargets          = "targets-per-group"
	quotaZoneBandwidth    = "zone-bandwidth-maximum-mbps"
)

// quotas are all there are, in the order of their names. Those that AWS has, have AWS's values:
//
//	https://docs.aws.amazon.com/vpc/latest/privatelink/vpc-limits-endpoints.html
//	https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html
//	https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-connection-quotas.html
//	https://docs.aws.amazon.com/vpn/latest/s2svpn/vpn-limits.html
//	https://docs.aws.amazon.com/elasticloadbalancing/latest/network/load-balancer-limits.html
var quotas = sorted([]*quota{
	{id: "attachments-per-vpc", standard: 5000, per: resource.Vpcs.Info, unit: "attachments per VPC", of: resource.Attachments.Info},
	{id: "certificates", standard: 100, per: resource.Accounts.Info, unit: "certificates", of: resource.Certificates.Info},
	{id: "customer-gateways", standard: 50, per: resource.Accounts.Info, unit: "customer gateways", of: resource.CustomerGateways.Info},
	{id: "endpoint-services", standard: 50, per: resource.Accounts.Info, unit: "endpoint services", of: resource.EndpointServices.Info},
	{id: "endpoints-per-vpc", standard: 50, per: resource.Vpcs.Info, unit: "endpoints per VPC", of: resource.Endpoints.Info},
	{id: "listeners-per-load-balancer", standard: 50, per: resource.LoadBalancers.Info, unit: "listeners per load balancer", of: resource.Listeners.Info},
	{id: "load-balancers", standard: 50, per: resource.Accounts.Info, unit: "load balancers", of: resource.LoadBalancers.Info},
	{id: "network-acls-per-vpc", standard: 200, per: resource.Vpcs.Info, unit: "network ACLs per VPC", of: resource.NetworkAcls.Info,
		description: "All network ACLs, also the default one."},
	{id: "notifications-per-service", standard: 10, maximum: 50, per: resource.EndpointServices.Info, unit: "notifications per endpoint service", of: resource.Notifications.Info},
	{id: "outstanding-peerings", standard: 25, per: resource.Accounts.Info, unit: "outstanding peerings", of: resource.Peerings.Info, counts: outstanding,
		description: "Peerings that the account has asked for and that wait for an answer."},
	{id: quotaPeerings, standard: 50, maximum: 125, per: resource.Vpcs.Info, unit: "peerings per VPC", of: resource.Peerings.Info, tally: peeringsOfVpc{},
		description: "Active peerings of the VPC, and those that wait for an answer where its owner has asked for them."},
	{id: quotaPrincipals, standard: 1000, maximum: 4000, per: resource.EndpointServices.Info, unit: "principals per endpoint service"},
	{id: "resolver-endpoints-per-vpc", standard: 4, per: resource.Vpcs.Info, unit: "resolver endpoints per VPC", of: resource.ResolverEndpoints.Info},
	{id: "resolver-rules-per-vpc", standard: 100, per: resource.Vpcs.Info, unit: "resolver rules per VPC", of: resource.ResolverRules.Info},
	{id: quotaACLRules, standard: 20, maximum: 40, per: resource.NetworkAcls.Info, unit: "rules per network ACL and direction"},
	{id: quotaGroupRules, standard: 60, maximum: 60, per: resource.SecurityGroups.Info, unit: "rules per security group"},
	{id: quotaAttachmentGroups, standard: 5, maximum: 16, per: resource.Attachments.Info, unit: "security groups per attachment"},
	{id: quotaEndpointGroups, standard: 5, maximum: 16, per: resource.Endpoints.Info, unit: "security groups per endpoint"},
	{id: "security-groups-per-vpc", standard: 500, per: resource.Vpcs.Info, unit: "security groups per VPC", of: resource.SecurityGroups.Info},
	{id: quotaStaticRoutes, standard: 100, maximum: 1000, per: resource.VpnConnections.Info, unit: "static routes per VPN connection"},
	{id: "subnets-per-vpc", standard: 200, per: resource.Vpcs.Info, unit: "subnets per VPC", of: resource.Subnets.Info},
	{id: "target-groups", standard: 3000, per: resource.Accounts.Info, unit: "target groups", of: resource.TargetGroups.Info},
	{id: quotaTargets, standard: 1000, maximum: 5000, per: resource.TargetGroups.Info, unit: "targets per target group"},
	{id: "tokens", standard: 100, per: resource.Accounts.Info, unit: "tokens", of: resource.Tokens.Info,
		description: "All tokens, also those that have expired."},
	{id: "vpcs", standard: 100, per: resource.Accounts.Info, unit: "VPCs", of: resource.Vpcs.Info},
	{id: "vpn-connections", standard: 50, per: resource.Accounts.Info, unit: "VPN connections", of: resource.VpnConnections.Info},
	{id: quotaZoneBandwidth, standard: defaultMaximumMbps, maximum: 100_000, per: resource.Endpoints.Info, unit: "Mbit/s per endpoint and zone",
		description: "The highest bandwidth.maximum_mbps that an endpoint can be given."},
})

func sorted(all []*quota) []*quota {
	slices.SortFunc(all, func(a, b *quota) int { return cmp.Compare(a.id, b.id) })
	return all
}

// quotaByID gives nil if there is none.
func quotaByID(id string) *quota {
	n, found := slices.BinarySearchFunc(quotas, id, func(q *quota, id string) int { return cmp.Compare(q.id, id) })
	if !found {
		return nil
	}
	return quotas[n]
}

// quotaName gives the resource name of an account's quota.
func quotaName(account, id string) string {
	return resource.AccountName(account) + "/quotas/" + id
}

func outstanding(m resource.Message, now time.Time) bool {
	p := m.(*pb.Peering)
	return p.GetState() == pb.Peering_PENDING_ACCEPTANCE && !expired(p, now)
}
