package controlplane_test

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"causeway/gateway/spec/spectest"
	pb "causeway/proto/causeway/v1"
)

// settle fills the world as the operator, with full names.
func (w *world) settle() {
	for _, id := range []string{alpha, beta, ghost, "spare"} {
		w.into(w.kept(id), &pb.CreateAccountRequest{AccountId: id, Account: &pb.Account{}})
	}
	quota, err := pb.NewAccountsClient(w.socket).GetQuota(w.t.Context(), &pb.GetQuotaRequest{Name: "accounts/alpha/quotas/vpcs"})
	must(w.t, err)
	w.main["Quota"] = quota
	w.main["Gateway"] = &pb.Gateway{Name: "gateways/g1"}
	w.settleAlpha()
	w.settleGhost()
	w.settlePeerings()
	w.settleMarketplace()
	w.settleTokens()
	w.forget(methods(w.t))
}

// kept says where a resource with such an id is kept.
func (w *world) kept(id string) map[protoreflect.Name]proto.Message {
	return map[string]map[protoreflect.Name]proto.Message{alpha: w.main, "main": w.main, "spare": w.spare, ghost: w.theirs}[id]
}

// into creates a resource and keeps it in a map unless that is nil.
func (w *world) into(keep map[protoreflect.Name]proto.Message, request proto.Message) proto.Message {
	w.t.Helper()
	for _, m := range methods(w.t) {
		if m.input.Descriptor().FullName() == request.ProtoReflect().Descriptor().FullName() {
			made := w.call(w.socket, m, request)
			if keep != nil {
				keep[m.noun] = made
			}
			return made
		}
	}
	w.t.Fatalf("no method takes %T", request)
	return nil
}

// settleVpc makes a VPC with a network ACL, a security group, a subnet in zone us-east-1a and an
// attachment, all of one id.
func (w *world) settleVpc(account, vpc, id, cidr string) (subnet string) {
	name := "accounts/" + account + "/vpcs/" + vpc
	w.into(w.kept(id), &pb.CreateVpcRequest{Parent: "accounts/" + account, VpcId: vpc, Vpc: &pb.Vpc{Region: "us-east-1", CidrBlock: cidr + ".0.0/16"}})
	w.settleRules(name, id)
	w.into(w.kept(id), &pb.CreateSubnetRequest{Parent: name, SubnetId: id, Subnet: &pb.Subnet{
		AvailabilityZone: "us-east-1a", CidrBlock: cidr + ".1.0/24", NetworkAcl: name + "/networkAcls/" + id}})
	subnet = name + "/subnets/" + id
	w.into(w.kept(id), &pb.CreateAttachmentRequest{Parent: subnet, AttachmentId: id, Attachment: &pb.Attachment{
		PublicKey: newKey(w.t), SecurityGroups: []string{name + "/securityGroups/" + id}}})
	return subnet
}

// settleRules makes a network ACL and a security group of a VPC.
func (w *world) settleRules(vpc, id string) {
	w.into(w.kept(id), &pb.CreateNetworkAclRequest{Parent: vpc, NetworkAclId: id, NetworkAcl: &pb.NetworkAcl{
		IngressRules: []*pb.NetworkAclRule{https(100)}, EgressRules: []*pb.NetworkAclRule{https(100)}}})
	w.into(w.kept(id), &pb.CreateSecurityGroupRequest{Parent: vpc, SecurityGroupId: id, SecurityGroup: &pb.SecurityGroup{
		IngressRules: []*pb.SecurityGroupRule{{Protocol: "all", Source: &pb.SecurityGroupRule_CidrBlock{CidrBlock: "10.0.0.0/8"}}}}})
}

// https gives a rule of a number that lets HTTPS pass.
func https(number int32) *pb.NetworkAclRule {
	return &pb.NetworkAclRule{
		RuleNumber: number, Action: pb.NetworkAclRule_ALLOW, Protocol: "tcp", CidrBlock: "10.0.0.0/8", PortRange: &pb.PortRange{From: 443, To: 443},
	}
}

// settleService makes what a provider has, down to an endpoint of it, all of one id.
func (w *world) settleService(account, vpc, id string, port int32, subnets ...string) {
	parent := "accounts/" + account
	keep := w.kept(id)
	w.into(keep, &pb.CreateTargetGroupRequest{Parent: parent, TargetGroupId: id, TargetGroup: &pb.TargetGroup{Vpc: parent + "/vpcs/" + vpc, Port: 8080}})
	w.into(nil, &pb.RegisterTargetsRequest{Name: parent + "/targetGroups/" + id, Targets: []*pb.Target{{IpAddress: "192.168.7.10"}, {IpAddress: "192.168.7.11"}}})
	chain, key := spectest.Certificate(w.t, "main.example.com")
	w.into(keep, &pb.CreateCertificateRequest{Parent: parent, CertificateId: id, Certificate: &pb.Certificate{CertificateChain: chain, PrivateKey: key}})
	w.into(keep, &pb.CreateLoadBalancerRequest{Parent: parent, LoadBalancerId: id, LoadBalancer: &pb.LoadBalancer{Subnets: subnets}})
	lb := parent + "/loadBalancers/" + id
	w.into(keep, &pb.CreateListenerRequest{Parent: lb, ListenerId: id, Listener: &pb.Listener{
		Port: port, Protocol: pb.Listener_TCP, TargetGroup: parent + "/targetGroups/" + id}})
	w.into(keep, &pb.CreateEndpointServiceRequest{Parent: parent, EndpointServiceId: id, EndpointService: &pb.EndpointService{
		LoadBalancers: []string{lb}, PrivateDnsName: id + ".example.com"}})
	w.into(keep, &pb.CreateEndpointRequest{Parent: parent + "/vpcs/" + vpc, EndpointId: id, Endpoint: &pb.Endpoint{
		ServiceName: parent + "/endpointServices/" + id, Subnets: subnets[:1]}})
	// After the endpoint, so that no event lies in the way of who looks at the store.
	w.into(keep, &pb.CreateNotificationRequest{Parent: parent + "/endpointServices/" + id, NotificationId: id, Notification: &pb.Notification{Url: receiverURL}})
}

// settleResolver makes what sites ask in a VPC, and whom the VPC asks, of one id.
func (w *world) settleResolver(account, vpc, id, subnet string) {
	parent := "accounts/" + account + "/vpcs/" + vpc
	w.into(w.kept(id), &pb.CreateResolverEndpointRequest{Parent: parent, ResolverEndpointId: id, ResolverEndpoint: &pb.ResolverEndpoint{Subnets: []string{subnet}}})
	w.into(w.kept(id), &pb.CreateResolverRuleRequest{Parent: parent, ResolverRuleId: id, ResolverRule: &pb.ResolverRule{
		DomainName: id + ".example.net", TargetIps: []*pb.ResolverTarget{{IpAddress: "192.168.7.53"}}}})
}

func (w *world) settleVpn(account, vpc, id, route string) {
	parent := "accounts/" + account
	w.into(w.kept(id), &pb.CreateCustomerGatewayRequest{Parent: parent, CustomerGatewayId: id, CustomerGateway: &pb.CustomerGateway{PublicKey: newKey(w.t)}})
	w.into(w.kept(id), &pb.CreateVpnConnectionRequest{Parent: parent, VpnConnectionId: id, VpnConnection: &pb.VpnConnection{
		Vpc: parent + "/vpcs/" + vpc, CustomerGateway: parent + "/customerGateways/" + id, StaticRoutes: []string{route}}})
}

func (w *world) settleAlpha() {
	const parent = "accounts/" + alpha
	subnet := w.settleVpc(alpha, "prod", "main", "10.0")
	const prod = parent + "/vpcs/prod"
	w.into(nil, &pb.CreateSubnetRequest{Parent: prod, SubnetId: "b", Subnet: &pb.Subnet{AvailabilityZone: "us-east-1b", CidrBlock: "10.0.2.0/24"}})
	w.settleService(alpha, "prod", "main", 443, subnet, prod+"/subnets/b")
	w.settleVpn(alpha, "prod", "main", "192.168.0.0/24")
	w.settleResolver(alpha, "prod", "main", subnet)

	// Of some kinds there is one more, since these are in use.
	w.settleService(alpha, "prod", "spare", 444, subnet)
	w.settleVpn(alpha, "prod", "spare", "192.168.1.0/24")
	w.settleResolver(alpha, "prod", "spare", subnet)
	w.into(w.spare, &pb.CreateAttachmentRequest{Parent: subnet, AttachmentId: "spare", Attachment: &pb.Attachment{PublicKey: newKey(w.t)}})
	w.settleRules(prod, "spare")
	w.into(w.spare, &pb.CreateVpcRequest{Parent: parent, VpcId: "spare", Vpc: &pb.Vpc{Region: "us-east-1", CidrBlock: "10.60.0.0/16"}})
	w.into(w.spare, &pb.CreateSubnetRequest{Parent: prod, SubnetId: "spare", Subnet: &pb.Subnet{AvailabilityZone: "us-east-1a", CidrBlock: "10.0.3.0/24"}})
	w.into(w.spare, &pb.CreateTargetGroupRequest{Parent: parent, TargetGroupId: "free", TargetGroup: &pb.TargetGroup{Vpc: prod, Port: 8080}})
	w.into(w.spare, &pb.CreateLoadBalancerRequest{Parent: parent, LoadBalancerId: "free", LoadBalancer: &pb.LoadBalancer{Subnets: []string{subnet}}})
	w.into(w.spare, &pb.CreateCustomerGatewayRequest{Parent: parent, CustomerGatewayId: "free", CustomerGateway: &pb.CustomerGateway{PublicKey: newKey(w.t)}})
	w.into(w.spare, &pb.CreateEndpointServiceRequest{Parent: parent, EndpointServiceId: "free", EndpointService: &pb.EndpointService{
		LoadBalancers: []string{w.lonely(subnet)}}})
}

// lonely gives a load balancer for a service that no endpoint uses.
func (w *world) lonely(subnet string) string {
	w.into(nil, &pb.CreateLoadBalancerRequest{Parent: "accounts/" + alpha, LoadBalancerId: "lonely", LoadBalancer: &pb.LoadBalancer{Subnets: []string{subnet}}})
	return "accounts/" + alpha + "/loadBalancers/lonely"
}

func (w *world) settleGhost() {
	subnet := w.settleVpc(ghost, ghost, ghost, "10.0")
	w.settleService(ghost, ghost, ghost, 443, subnet)
	w.settleVpn(ghost, ghost, ghost, "192.168.0.0/24")
	w.settleResolver(ghost, ghost, ghost, subnet)
	w.into(w.theirs, &pb.CreateTokenRequest{Parent: "accounts/ghost", TokenId: ghost, Token: &pb.Token{Role: pb.Token_VIEWER}})
	w.into(nil, &pb.CreateVpcRequest{Parent: "accounts/ghost", VpcId: "ghost-other", Vpc: &pb.Vpc{Region: "us-east-1", CidrBlock: "10.70.0.0/16"}})
	w.into(w.theirs, &pb.CreatePeeringRequest{Parent: "accounts/ghost", PeeringId: ghost, Peering: &pb.Peering{
		Vpc: "accounts/ghost/vpcs/ghost", PeerVpc: "accounts/ghost/vpcs/ghost-other"}})
}

// settlePeerings makes one that alpha has asked beta for, one that is active, and one that waits for
// alpha's answer.
func (w *world) settlePeerings() {
	const prod = "accounts/alpha/vpcs/prod"
	for n, id := range []string{"asked", "active", "waiting", "fresh"} {
		vpc := "accounts/beta/vpcs/" + id
		w.into(nil, &pb.CreateVpcRequest{Parent: "accounts/beta", VpcId: id, Vpc: &pb.Vpc{Region: "us-east-1", CidrBlock: []string{"10.20.0.0/16", "10.21.0.0/16", "10.22.0.0/16", "10.23.0.0/16"}[n]}})
		ours := &pb.CreatePeeringRequest{Parent: "accounts/alpha", PeeringId: id, Peering: &pb.Peering{Vpc: prod, PeerVpc: vpc}}
		switch id {
		case "asked":
			w.into(w.spare, ours)
		case "active":
			w.into(nil, ours)
			w.main["Peering"] = w.into(nil, &pb.AcceptPeeringRequest{Name: "accounts/alpha/peerings/active"})
		case "waiting":
			w.into(nil, &pb.CreatePeeringRequest{Parent: "accounts/beta", PeeringId: id, Peering: &pb.Peering{Vpc: vpc, PeerVpc: prod}})
		}
	}
}

// settleMarketplace makes services of beta, of which alpha has subscribed to two, one of alpha that
// beta has subscribed to, and one of ghost that it uses itself.
func (w *world) settleMarketplace() {
	sell := func(account, id, subnet string) string {
		parent := "accounts/" + account
		w.into(nil, &pb.CreateLoadBalancerRequest{Parent: parent, LoadBalancerId: id, LoadBalancer: &pb.LoadBalancer{Subnets: []string{subnet}}})
		w.into(nil, &pb.CreateEndpointServiceRequest{Parent: parent, EndpointServiceId: id, EndpointService: &pb.EndpointService{
			LoadBalancers: []string{parent + "/loadBalancers/" + id}, Offering: pb.EndpointService_MARKETPLACE, Listing: described()}})
		return parent + "/endpointServices/" + id
	}
	subscribe := func(keep map[protoreflect.Name]proto.Message, account, id, service string) {
		w.into(keep, &pb.CreateSubscriptionRequest{Parent: "accounts/" + account, SubscriptionId: id, Subscription: &pb.Subscription{ServiceName: service}})
	}
	const active = "accounts/beta/vpcs/active"
	w.into(nil, &pb.CreateSubnetRequest{Parent: active, SubnetId: "a", Subnet: &pb.Subnet{AvailabilityZone: "us-east-1a", CidrBlock: "10.21.1.0/24"}})
	subscribe(w.main, alpha, "main", sell(beta, "listed-0", active+"/subnets/a"))
	subscribe(w.spare, alpha, "spare", sell(beta, "listed-1", active+"/subnets/a"))
	sell(beta, "listed-2", active+"/subnets/a")
	subscribe(nil, beta, "waiting", sell(alpha, "listed", "accounts/alpha/vpcs/prod/subnets/main"))
	subscribe(w.theirs, ghost, ghost, "accounts/beta/endpointServices/listed-0")
}

func (w *world) settleTokens() {
	w.into(w.main, &pb.CreateTokenRequest{Parent: "accounts/alpha", TokenId: "main", Token: &pb.Token{Role: pb.Token_VIEWER}})
	w.into(w.spare, &pb.CreateTokenRequest{Parent: "accounts/alpha", TokenId: "spare", Token: &pb.Token{Role: pb.Token_VIEWER}})
	for _, token := range []struct {
		name, account string
		role          pb.Token_Role
		life          time.Duration
	}{
		{"alpha admin", alpha, pb.Token_ADMIN, 24 * time.Hour},
		{"alpha viewer", alpha, pb.Token_VIEWER, 24 * time.Hour},
		{"alpha tunnel operator", alpha, pb.Token_TUNNEL_OPERATOR, 24 * time.Hour},
		{"alpha expired", alpha, pb.Token_ADMIN, time.Minute},
		{"ghost admin", ghost, pb.Token_ADMIN, 24 * time.Hour},
		{"ghost viewer", ghost, pb.Token_VIEWER, 24 * time.Hour},
		{"ghost tunnel operator", ghost, pb.Token_TUNNEL_OPERATOR, 24 * time.Hour},
		{"operator", "operator", pb.Token_ADMIN, 24 * time.Hour},
		{"operator tunnel operator", "operator", pb.Token_TUNNEL_OPERATOR, 24 * time.Hour},
		{"operator viewer", "operator", pb.Token_VIEWER, 24 * time.Hour},
	} {
		id := []byte(token.name)
		for n := range id {
			if id[n] == ' ' {
				id[n] = '-'
			}
		}
		made := w.into(nil, &pb.CreateTokenRequest{Parent: "accounts/" + token.account, TokenId: string(id), Token: &pb.Token{
			Role: token.role, ExpireTime: timestamppb.New(time.Now().Add(token.life))}})
		w.tokens[token.name] = made.(*pb.Token).GetSecret()
	}
	letter := "A" // the one that differs
	if good := w.tokens["alpha admin"]; good[10:11] == letter {
		letter = "B"
	}
	w.tokens["wrong"] = w.tokens["alpha admin"][:10] + letter + w.tokens["alpha admin"][11:]
	w.tokens["malformed"] = "cwt_%00"
	w.ahead.Store(int64(2 * time.Minute))
}

// caller gives the connection that may call a method: alpha's administrator where that is enough.
func (w *world) caller(m *method) *grpc.ClientConn {
	if m.access == pb.Access_OPERATE {
		return w.socket
	}
	return w.tenant
}
