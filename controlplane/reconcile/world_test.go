package reconcile

import (
	"crypto/ecdh"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

var testOptions = options{
	zones:   []Zone{{"us-east-1", "us-east-1a"}, {"us-east-1", "us-east-1b"}},
	ports:   PortRange{First: 51820, Last: 51829},
	secrets: unsealed{}, dnsSuffix: "causeway.internal",
}

// unsealed opens what was never sealed; a text "broken" does not open.
type unsealed struct{}

// Open implements Opener.
func (unsealed) Open(text, _ string) ([]byte, error) {
	if text == "broken" {
		return nil, errors.New("does not open")
	}
	return []byte(text), nil
}

// testKey gives a public key made of a name.
func testKey(name string) string {
	secret := sha256.Sum256([]byte(name))
	key, err := ecdh.X25519().NewPrivateKey(secret[:])
	if err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(key.PublicKey().Bytes())
}

func testUID(prefix, name string) string {
	sum := sha256.Sum256([]byte(name))
	return fmt.Sprintf("%s-%x", prefix, sum)[:len(prefix)+18]
}

// world is an input under construction.
type world struct {
	input
	created int64
}

func put[T proto.Message](w *world, l *list[T], name string, m T) T {
	w.created++
	*l = append(*l, store.Versioned[T]{Name: name, Value: m, Revision: w.created, CreateRevision: w.created})
	slices.SortFunc(*l, func(a, b store.Versioned[T]) int { return strings.Compare(a.Name, b.Name) })
	return m
}

func account(name string) string { return "accounts/default/" + name }

func (w *world) vpc(id, cidr string) *pb.Vpc {
	name := account("vpcs/" + id)
	return put(w, &w.vpcs, name, &pb.Vpc{Name: name, Uid: testUID("vpc", name), Region: "us-east-1", CidrBlock: cidr})
}

func (w *world) subnet(name, zone, cidr string) *pb.Subnet {
	name = account(name)
	return put(w, &w.subnets, name, &pb.Subnet{Name: name, AvailabilityZone: zone, CidrBlock: cidr})
}

// acl makes a network ACL that lets HTTPS from anywhere in and everything out.
func (w *world) acl(vpc, id string) *pb.NetworkAcl {
	name := account("vpcs/" + vpc + "/networkAcls/" + id)
	return put(w, &w.networkACLs, name, &pb.NetworkAcl{
		Name: name, Uid: testUID("acl", name),
		IngressRules: []*pb.NetworkAclRule{
			{RuleNumber: 100, Action: pb.NetworkAclRule_ALLOW, Protocol: "tcp", CidrBlock: "0.0.0.0/0", PortRange: &pb.PortRange{From: 443, To: 443}},
			{RuleNumber: 200, Action: pb.NetworkAclRule_DENY, Protocol: "icmp", CidrBlock: "10.0.0.0/8", IcmpType: new(int32(8))},
		},
		EgressRules: []*pb.NetworkAclRule{{RuleNumber: 1, Action: pb.NetworkAclRule_ALLOW, Protocol: "all", CidrBlock: "0.0.0.0/0"}},
	})
}

// group makes a security group that admits HTTPS from a prefix and everything from other groups.
func (w *world) group(vpc, id string, sources ...*pb.SecurityGroup) *pb.SecurityGroup {
	name := account("vpcs/" + vpc + "/securityGroups/" + id)
	rules := []*pb.SecurityGroupRule{{
		Protocol: "tcp", PortRange: &pb.PortRange{From: 443, To: 443}, Source: &pb.SecurityGroupRule_CidrBlock{CidrBlock: "10.0.0.0/16"},
	}}
	for _, source := range sources {
		rules = append(rules, &pb.SecurityGroupRule{
			Protocol: "all", Source: &pb.SecurityGroupRule_SourceGroup{SourceGroup: source.GetName()}, SourceGroupUid: source.GetUid(),
		})
	}
	return put(w, &w.securityGroups, name, &pb.SecurityGroup{Name: name, Uid: testUID("sg", name), IngressRules: rules})
}

// lie makes a subnet for an address in a VPC unless there is one.
func (w *world) lie(vpc, zone, addr string) {
	prefix := netip.PrefixFrom(netip.MustParseAddr(addr), 24).Masked()
	for _, v := range w.subnets {
		other, err := netip.ParsePrefix(v.Value.GetCidrBlock())
		if err == nil && strings.HasPrefix(v.Name, account("vpcs/"+vpc)+"/") && other.Overlaps(prefix) {
			return
		}
	}
	w.subnet(fmt.Sprintf("vpcs/%s/subnets/n%d", vpc, prefix.Addr().As4()[2]), zone, prefix.String())
}

func (w *world) attachment(name, addr string) *pb.Attachment {
	name = account(name)
	return put(w, &w.attachments, name, &pb.Attachment{Name: name, PublicKey: testKey(name), IpAddress: addr})
}

// publish makes a service of one load balancer with one listener and two targets.
func (w *world) publish(id, vpc, zone, node string) *pb.EndpointService {
	w.lie(vpc, zone, node)
	group, lb, service := account("targetGroups/"+id), account("loadBalancers/"+id), account("endpointServices/"+id)
	put(w, &w.targetGroups, group, &pb.TargetGroup{Name: group, Vpc: account("vpcs/" + vpc), Port: 8080})
	put(w, &w.targets, group, &pb.RegisterTargetsRequest{Name: group, Targets: []*pb.Target{
		{IpAddress: "10.9.9.9", Port: 81}, {IpAddress: "10.9.9.8"},
	}})
	put(w, &w.loadBalancers, lb, &pb.LoadBalancer{Name: lb, Vpc: account("vpcs/" + vpc), Nodes: []*pb.LoadBalancer_Node{
		{AvailabilityZone: zone, IpAddress: node},
	}})
	put(w, &w.listeners, lb+"/listeners/tcp-443", &pb.Listener{
		Name: lb + "/listeners/tcp-443", Port: 443, Protocol: pb.Listener_TCP, TargetGroup: group,
	})
	return put(w, &w.endpointServices, service, &pb.EndpointService{
		Name: service, Uid: testUID("vpce-svc", service), LoadBalancers: []string{lb},
	})
}

func (w *world) endpoint(name string, service *pb.EndpointService, zone, addr string) *pb.Endpoint {
	w.lie(strings.Split(name, "/")[1], zone, addr)
	name = account(name)
	return put(w, &w.endpoints, name, &pb.Endpoint{
		Name: name, Uid: testUID("vpce", name), ServiceName: "com.causeway.vpce.us-east-1." + service.GetUid(), ServiceUid: service.GetUid(),
		State: pb.Endpoint_PENDING, AcceptTime: timestamppb.New(time.Unix(1, 0)),
		NetworkInterfaces: []*pb.NetworkInterface{
			{Uid: testUID("eni", name+zone), AvailabilityZone: zone, IpAddress: addr},
		},
	})
}

func (w *world) peering(id, vpc, peer string) *pb.Peering {
	name := account("peerings/" + id)
	return put(w, &w.peerings, name, &pb.Peering{
		Name: name, Vpc: account("vpcs/" + vpc), PeerVpc: account("vpcs/" + peer), State: pb.Peering_ACTIVE,
	})
}

func (w *world) vpn(id, vpc string, routes []string, zones ...string) *pb.VpnConnection {
	site, name := account("customerGateways/"+id), account("vpnConnections/"+id)
	put(w, &w.customerGateways, site, &pb.CustomerGateway{Name: site, PublicKey: testKey(site)})
	m := &pb.VpnConnection{Name: name, Vpc: account("vpcs/" + vpc), CustomerGateway: site, StaticRoutes: routes}
	for i, zone := range zones {
		m.Tunnels = append(m.Tunnels, &pb.Tunnel{AvailabilityZone: zone, IpAddress: fmt.Sprintf("169.254.%d.2", i)})
	}
	return put(w, &w.vpnConnections, name, m)
}

// inbound makes a resolver endpoint in VPC prod.
func (w *world) inbound(id, addr string) *pb.ResolverEndpoint {
	name := account("vpcs/prod/resolverEndpoints/" + id)
	return put(w, &w.resolverEndpoints, name, &pb.ResolverEndpoint{Name: name, Addresses: []*pb.ResolverAddress{
		{Uid: testUID("eni", name), AvailabilityZone: "us-east-1a", IpAddress: addr},
	}})
}

// forward makes a resolver rule in VPC prod.
func (w *world) forward(id, domain string, servers ...string) *pb.ResolverRule {
	name := account("vpcs/prod/resolverRules/" + id)
	m := &pb.ResolverRule{Name: name, DomainName: domain}
	for _, addr := range servers {
		m.TargetIps = append(m.TargetIps, &pb.ResolverTarget{IpAddress: addr})
	}
	return put(w, &w.resolverRules, name, m)
}

// compile compiles twice, storing the tunnel endpoints that were missing in between.
func (w *world) compile(t *testing.T) result {
	t.Helper()
	w.revision = max(w.revision, w.created, 1)
	for _, a := range compile(w.input, testOptions).missing {
		w.store(a)
	}
	r := compile(w.input, testOptions)
	if err := r.spec.Validate(); err != nil {
		t.Fatalf("compiled spec: %v", err)
	}
	return r
}

func (w *world) store(a allocation) {
	if w.ports == nil {
		w.ports = map[string]uint16{}
	}
	w.ports[a.name()] = a.port
	if !a.stored {
		put(w, &w.tunnelEndpoints, a.name(), &pb.TunnelEndpoint{
			Uid: testUID("tep", a.name()), Vpc: a.vpc, AvailabilityZone: a.zone,
		})
	}
}

// shop is two VPCs of equal addresses, a service in the one and an endpoint to it in the other.
func shop() *world {
	w := &world{}
	w.vpc("prod", "10.0.0.0/16")
	w.subnet("vpcs/prod/subnets/a", "us-east-1a", "10.0.1.0/24")
	w.attachment("vpcs/prod/subnets/a/attachments/app", "10.0.1.4")
	w.vpc("partner", "10.0.0.0/16")
	w.subnet("vpcs/partner/subnets/a", "us-east-1a", "10.0.1.0/24")
	w.attachment("vpcs/partner/subnets/a/attachments/web", "10.0.1.4")
	service := w.publish("orders", "partner", "us-east-1a", "10.0.1.5")
	w.endpoint("vpcs/prod/endpoints/orders", service, "us-east-1a", "10.0.1.5")
	return w
}
