package resource

import (
	"slices"
	"strconv"

	"google.golang.org/protobuf/reflect/protoreflect"

	pb "causeway/proto/causeway/v1"
)

// all is filled by define in the order of the declarations below.
var all []*Info

// All gives every kind. The caller must not change the slice.
func All() []*Info { return all }

type fields = map[protoreflect.Name]*Info

// The kinds. A kind is declared after those it refers to.
var (
	Accounts = define(definition[*pb.Account]{
		word: "account", prefix: "acct", name: "accounts/*", passive: true,
	})
	Tokens = define(definition[*pb.Token]{
		word: "token", prefix: "tok", name: "accounts/*/tokens/*", passive: true,
		// What is stored as the secret is its hash.
		claims: func(t *pb.Token) []Claim { return []Claim{{ClaimToken, t.GetSecret()}} },
	})
	Vpcs = define(definition[*pb.Vpc]{
		word: "VPC", prefix: "vpc", name: "accounts/*/vpcs/*",
	})
	NetworkAcls = define(definition[*pb.NetworkAcl]{
		word: "network ACL", prefix: "acl", name: "accounts/*/vpcs/*/networkAcls/*",
	})
	SecurityGroups = define(definition[*pb.SecurityGroup]{
		word: "security group", prefix: "sg", name: "accounts/*/vpcs/*/securityGroups/*",
		claims: securityGroupClaims, users: ClaimSource,
	})
	Subnets = define(definition[*pb.Subnet]{
		word: "subnet", prefix: "subnet", name: "accounts/*/vpcs/*/subnets/*",
		references: fields{"network_acl": NetworkAcls.Info},
	})
	Attachments = define(definition[*pb.Attachment]{
		word: "attachment", prefix: "att",
		name:       "accounts/*/vpcs/*/subnets/*/attachments/*",
		references: fields{"security_groups": SecurityGroups.Info},
		claims:     attachmentClaims,
	})
	Peerings = define(definition[*pb.Peering]{
		word: "peering", prefix: "pcx", name: "accounts/*/peerings/*", shared: true,
		references: fields{"vpc": Vpcs.Info, "peer_vpc": Vpcs.Info},
		// Anybody may ask for a peering; what is not accepted is not in the way of the VPC's owner, and
		// what nobody can accept any more is in nobody's way.
		keeps: func(p *pb.Peering, field protoreflect.Name) bool {
			switch p.GetState() {
			case pb.Peering_PENDING_ACCEPTANCE, pb.Peering_REJECTED:
				return field != "peer_vpc"
			case pb.Peering_EXPIRED:
				return false
			}
			return true
		},
		claims: peeringClaims,
	})
	CustomerGateways = define(definition[*pb.CustomerGateway]{
		word: "customer gateway", prefix: "cgw",
		name: "accounts/*/customerGateways/*", passive: true,
		claims: func(g *pb.CustomerGateway) []Claim { return []Claim{KeyClaim(g.GetPublicKey())} },
	})
	VpnConnections = define(definition[*pb.VpnConnection]{
		word: "VPN connection", prefix: "vpn", name: "accounts/*/vpnConnections/*",
		references: fields{"vpc": Vpcs.Info, "customer_gateway": CustomerGateways.Info},
		claims:     vpnConnectionClaims,
	})
	TargetGroups = define(definition[*pb.TargetGroup]{
		word: "target group", prefix: "tg", name: "accounts/*/targetGroups/*",
		references: fields{"vpc": Vpcs.Info},
	})
	LoadBalancers = define(definition[*pb.LoadBalancer]{
		word: "load balancer", prefix: "lb", name: "accounts/*/loadBalancers/*",
		references: fields{"vpc": Vpcs.Info, "subnets": Subnets.Info},
		claims:     loadBalancerClaims,
	})
	Certificates = define(definition[*pb.Certificate]{
		word: "certificate", prefix: "cert", name: "accounts/*/certificates/*", passive: true,
	})
	Listeners = define(definition[*pb.Listener]{
		word: "listener", prefix: "lis", name: "accounts/*/loadBalancers/*/listeners/*",
		references: fields{"target_group": TargetGroups.Info, "certificates": Certificates.Info},
		claims:     listenerClaims,
	})
	EndpointServices = define(definition[*pb.EndpointService]{
		word: "endpoint service", prefix: "vpce-svc", name: "accounts/*/endpointServices/*",
		references: fields{"load_balancers": LoadBalancers.Info},
		claims:     endpointServiceClaims, users: ClaimUse,
	})
	Notifications = define(definition[*pb.Notification]{
		word: "notification", prefix: "vpce-nfn",
		name: "accounts/*/endpointServices/*/notifications/*", passive: true,
	})
	Subscriptions = define(definition[*pb.Subscription]{
		word: "subscription", prefix: "sub", name: "accounts/*/subscriptions/*", passive: true,
		claims: func(m *pb.Subscription) []Claim {
			return []Claim{SubscriptionClaim(m.GetServiceUid(), Account(m.GetName()))}
		},
	})
	Endpoints = define(definition[*pb.Endpoint]{
		word: "endpoint", prefix: "vpce", name: "accounts/*/vpcs/*/endpoints/*",
		references: fields{"subnets": Subnets.Info, "security_groups": SecurityGroups.Info},
		claims:     endpointClaims,
	})
	ResolverEndpoints = define(definition[*pb.ResolverEndpoint]{
		word: "resolver endpoint", prefix: "rslvr-in", name: "accounts/*/vpcs/*/resolverEndpoints/*",
		references: fields{"subnets": Subnets.Info},
		claims:     resolverEndpointClaims,
	})
	ResolverRules = define(definition[*pb.ResolverRule]{
		word: "resolver rule", prefix: "rslvr-rr", name: "accounts/*/vpcs/*/resolverRules/*",
		claims: func(r *pb.ResolverRule) []Claim {
			return []Claim{ForwardClaim(Parent(r.GetName()), r.GetDomainName())}
		},
	})
)

// securityGroupClaims claims the use of the account's other groups that rules admit. Those of other
// accounts are not kept by it: nobody can be kept from deleting what others refer to.
func securityGroupClaims(g *pb.SecurityGroup) []Claim {
	var claims []Claim
	for _, rule := range g.GetIngressRules() {
		claim := SourceClaim(rule.GetSourceGroupUid(), g.GetUid())
		other := rule.GetSourceGroupUid() != "" && rule.GetSourceGroupUid() != g.GetUid()
		if other && Account(rule.GetSourceGroup()) == Account(g.GetName()) && !slices.Contains(claims, claim) {
			claims = append(claims, claim)
		}
	}
	return claims
}

func attachmentClaims(a *pb.Attachment) []Claim {
	return []Claim{
		KeyClaim(a.GetPublicKey()),
		AddressClaim(Parent(Parent(a.GetName())), a.GetIpAddress()),
	}
}

// peeringClaims are those of a new peering. Of the pair of VPCs, one that is rejected or has expired lets go.
func peeringClaims(p *pb.Peering) []Claim {
	claims := []Claim{PairClaim(p.GetVpc(), p.GetPeerVpc()), PeeringClaim(Account(p.GetName()), p.GetName())}
	if peer := Account(p.GetPeerVpc()); peer != Account(p.GetName()) {
		claims = append(claims, PeeringClaim(peer, p.GetName()))
	}
	return claims
}

func vpnConnectionClaims(c *pb.VpnConnection) []Claim {
	claims := []Claim{SiteClaim(c.GetCustomerGateway(), c.GetVpc())}
	for _, t := range c.GetTunnels() {
		claims = append(claims, InsideClaim(c.GetVpc(), t.GetIpAddress()))
	}
	return claims
}

func loadBalancerClaims(lb *pb.LoadBalancer) []Claim {
	claims := make([]Claim, 0, len(lb.GetNodes()))
	for _, node := range lb.GetNodes() {
		claims = append(claims, AddressClaim(lb.GetVpc(), node.GetIpAddress()))
		for _, addr := range node.GetSecondaryIpAddresses() {
			claims = append(claims, AddressClaim(lb.GetVpc(), addr))
		}
	}
	return claims
}

func listenerClaims(l *pb.Listener) []Claim {
	port := l.GetProtocol().String() + "/" + strconv.Itoa(int(l.GetPort()))
	return []Claim{{ClaimPort, Parent(l.GetName()) + "/" + port}}
}

func endpointServiceClaims(s *pb.EndpointService) []Claim {
	claims := make([]Claim, 0, len(s.GetLoadBalancers())+1)
	claims = append(claims, Claim{ClaimServiceName, s.GetServiceName()})
	if s.GetOffering() == pb.EndpointService_MARKETPLACE && !Deleting(s) {
		claims = append(claims, Claim{ClaimListing, s.GetServiceName()})
	}
	for _, lb := range s.GetLoadBalancers() {
		claims = append(claims, Claim{ClaimService, lb})
	}
	return claims
}

func endpointClaims(e *pb.Endpoint) []Claim {
	vpc := Parent(e.GetName())
	claims := make([]Claim, 0, 2*len(e.GetNetworkInterfaces())+2)
	claims = append(claims, ConnectionClaim(e.GetServiceUid(), e.GetUid()))
	var zones []string
	for _, eni := range e.GetNetworkInterfaces() {
		claims = append(claims, Claim{ClaimUID, eni.GetUid()}, AddressClaim(vpc, eni.GetIpAddress()))
		if !e.GetCrossZone() {
			zones = append(zones, eni.GetAvailabilityZone())
		}
	}
	// A name is free as soon as its endpoint is being deleted.
	if !Deleting(e) {
		for _, name := range PrivateNames(e) {
			claims = append(claims, PrivateNameClaim(vpc, name))
		}
	}
	switch e.GetState() {
	case pb.Endpoint_PENDING, pb.Endpoint_PENDING_ACCEPTANCE:
		claims = append(claims, UseClaim(e.GetServiceUid(), e.GetUid(), zones))
	}
	return claims
}

func resolverEndpointClaims(e *pb.ResolverEndpoint) []Claim {
	claims := make([]Claim, 0, 2*len(e.GetAddresses()))
	for _, a := range e.GetAddresses() {
		claims = append(claims, Claim{ClaimUID, a.GetUid()}, AddressClaim(Parent(e.GetName()), a.GetIpAddress()))
	}
	return claims
}
