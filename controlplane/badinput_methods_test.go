package controlplane_test

import (
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/durationpb"

	"causeway/controlplane/resource"
	"causeway/gateway/spec/spectest"
	pb "causeway/proto/causeway/v1"
)

// method is a unary method of causeway.v1, as its descriptor has it.
type method struct {
	path          string // "/causeway.v1.Vpcs/GetVpc"
	name          protoreflect.Name
	verb          string            // "Get"
	noun          protoreflect.Name // "Vpc"
	access        pb.Access
	input, output protoreflect.MessageType
}

// writes says whether a call that succeeds may change what is stored.
func (m *method) writes() bool {
	return m.access != pb.Access_VIEW && m.verb != "Get" && m.verb != "List"
}

// customNouns are the resources of methods whose names do not say it.
var customNouns = map[protoreflect.Name]protoreflect.Name{
	"RegisterTargets": "TargetGroup", "DeregisterTargets": "TargetGroup", "ListTargetHealth": "TargetGroup",
	"RotateSecret":  "Notification",
	"AddPrincipals": "EndpointService", "RemovePrincipals": "EndpointService", "ListConnections": "EndpointService",
	"AcceptConnections": "EndpointService", "RejectConnections": "EndpointService",
	"VerifyPrivateDnsName": "EndpointService",
	"ListSubscribers":      "EndpointService", "ApproveSubscribers": "EndpointService", "RejectSubscribers": "EndpointService",
}

var verbs = regexp.MustCompile(`^[A-Z][a-z]+`)

// methods gives all of them. Streams have tests of their own.
func methods(t *testing.T) []*method {
	t.Helper()
	var all []*method
	protoregistry.GlobalFiles.RangeFilesByPackage("causeway.v1", func(file protoreflect.FileDescriptor) bool {
		for n := range file.Services().Len() {
			service := file.Services().Get(n)
			for k := range service.Methods().Len() {
				if desc := service.Methods().Get(k); !desc.IsStreamingClient() && !desc.IsStreamingServer() {
					all = append(all, newMethod(t, desc))
				}
			}
		}
		return true
	})
	return all
}

func newMethod(t *testing.T, desc protoreflect.MethodDescriptor) *method {
	t.Helper()
	m := &method{
		path:   "/" + string(desc.Parent().FullName()) + "/" + string(desc.Name()),
		name:   desc.Name(),
		verb:   verbs.FindString(string(desc.Name())),
		access: proto.GetExtension(desc.Options(), pb.E_Access).(pb.Access),
	}
	var err error
	m.input, err = protoregistry.GlobalTypes.FindMessageByName(desc.Input().FullName())
	must(t, err)
	m.output, err = protoregistry.GlobalTypes.FindMessageByName(desc.Output().FullName())
	must(t, err)
	m.noun = protoreflect.Name(strings.TrimPrefix(string(m.name), m.verb))
	if noun, ok := customNouns[m.name]; ok {
		m.noun = noun
	} else if m.verb == "List" {
		m.noun = listed(desc.Output())
	}
	return m
}

// listed gives the resource that a list answers with.
func listed(output protoreflect.MessageDescriptor) protoreflect.Name {
	for n := range output.Fields().Len() {
		if f := output.Fields().Get(n); f.IsList() && f.Message() != nil {
			return f.Message().Name()
		}
	}
	return ""
}

// subjects are the resources of methods that need one in a certain state.
var subjects = map[protoreflect.Name]string{
	"AcceptPeering": "accounts/beta/peerings/waiting",
	"RejectPeering": "accounts/beta/peerings/waiting",
	"GetListing":    "accounts/beta/endpointServices/listed-0",
	// Of a service with one subscriber that waits.
	"ListSubscribers":    "accounts/alpha/endpointServices/listed",
	"ApproveSubscribers": "accounts/alpha/endpointServices/listed",
	"RejectSubscribers":  "accounts/alpha/endpointServices/listed",
}

// given are values for the fields that neither standard method nor world gives one.
var given = map[protoreflect.FullName]func(protoreflect.Message){
	"causeway.v1.RegisterTargetsRequest.targets": func(r protoreflect.Message) {
		r.Interface().(*pb.RegisterTargetsRequest).Targets = []*pb.Target{{IpAddress: "192.168.7.20", Port: 8081, Weight: new(int32(2))}, {IpAddress: "192.168.7.21"}}
	},
	"causeway.v1.ExplainRequest.source": func(r protoreflect.Message) {
		r.Interface().(*pb.ExplainRequest).Source = "accounts/alpha/vpcs/prod/subnets/main/attachments/main"
	},
	"causeway.v1.ExplainRequest.destination": func(r protoreflect.Message) {
		r.Interface().(*pb.ExplainRequest).Destination = "accounts/alpha/vpcs/prod/endpoints/main"
	},
	"causeway.v1.ExplainRequest.port": func(r protoreflect.Message) {
		r.Interface().(*pb.ExplainRequest).Port = 443
	},
	"causeway.v1.ListFlowsRequest.parent": func(r protoreflect.Message) {
		r.Interface().(*pb.ListFlowsRequest).Parent = "accounts/alpha"
	},
	"causeway.v1.ListFlowsRequest.filter": func(r protoreflect.Message) {
		r.Interface().(*pb.ListFlowsRequest).Filter = &pb.FlowFilter{
			Vpc: "accounts/alpha/vpcs/prod", Endpoint: "accounts/alpha/vpcs/prod/endpoints/main", EndpointService: "accounts/alpha/endpointServices/main",
		}
	},
	"causeway.v1.DeregisterTargetsRequest.targets": func(r protoreflect.Message) {
		r.Interface().(*pb.DeregisterTargetsRequest).Targets = []*pb.Target{{IpAddress: "192.168.7.10"}}
	},
}

// givenIn is given for what depends on the world.
func (w *world) givenIn(f protoreflect.FieldDescriptor, r protoreflect.Message) bool {
	if w.main["Endpoint"] == nil {
		return false
	}
	uids := []string{w.main["Endpoint"].(*pb.Endpoint).GetUid()}
	principals := []string{"accounts/beta"}
	switch m := r.Interface().(type) {
	case *pb.AddPrincipalsRequest:
		m.Principals = principals
	case *pb.RemovePrincipalsRequest:
		m.Principals, m.Revocation = principals, drain()
	case *pb.AcceptConnectionsRequest:
		m.Endpoints = uids
	case *pb.RejectConnectionsRequest:
		m.Endpoints, m.Revocation = uids, drain()
	case *pb.ApproveSubscribersRequest:
		m.Subscribers = principals
	case *pb.RejectSubscribersRequest:
		m.Subscribers, m.Revocation = principals, drain()
	case *pb.DeleteEndpointServiceRequest:
		m.Force, m.Revocation = true, drain()
	}
	return r.Has(f)
}

func described() *pb.EndpointService_Description {
	return &pb.EndpointService_Description{Title: "Orders", Description: "All of them.", Categories: []string{"data"}, ApprovalRequired: true}
}

func drain() *pb.Revocation {
	return &pb.Revocation{Mode: pb.Revocation_DRAIN, DrainDuration: durationpb.New(60e9)}
}

// fresh gives what each method that creates creates, with as much filled in as there is.
func (w *world) fresh() map[protoreflect.Name]proto.Message {
	const prod = "accounts/alpha/vpcs/prod"
	name := new("Fresh")
	chain, key := spectest.Certificate(w.t, "fresh.example.com")
	return map[protoreflect.Name]proto.Message{
		"Account": &pb.Account{DisplayName: name},
		"Token":   &pb.Token{DisplayName: name, Role: pb.Token_VIEWER},
		"Vpc":     &pb.Vpc{DisplayName: name, Region: "us-east-1", CidrBlock: "10.50.0.0/16"},
		"NetworkAcl": &pb.NetworkAcl{DisplayName: name, IngressRules: []*pb.NetworkAclRule{https(100), https(200)},
			EgressRules: []*pb.NetworkAclRule{{RuleNumber: 1, Action: pb.NetworkAclRule_DENY, Protocol: "icmp", CidrBlock: "0.0.0.0/0", IcmpType: new(int32(8)), IcmpCode: new(int32(0))}}},
		"SecurityGroup": &pb.SecurityGroup{DisplayName: name, IngressRules: []*pb.SecurityGroupRule{
			{Protocol: "tcp", PortRange: &pb.PortRange{From: 443, To: 444}, Description: "Ours.", Source: &pb.SecurityGroupRule_SourceGroup{SourceGroup: prod + "/securityGroups/main"}},
			{Protocol: "udp", PortRange: &pb.PortRange{From: 53, To: 53}, Source: &pb.SecurityGroupRule_CidrBlock{CidrBlock: "10.0.0.0/16"}}}},
		"Subnet":          &pb.Subnet{DisplayName: name, AvailabilityZone: "us-east-1a", CidrBlock: "10.0.9.0/24", NetworkAcl: prod + "/networkAcls/main"},
		"Attachment":      &pb.Attachment{DisplayName: name, PublicKey: newKey(w.t), SecurityGroups: []string{prod + "/securityGroups/main"}},
		"CustomerGateway": &pb.CustomerGateway{DisplayName: name, PublicKey: newKey(w.t)},
		"Peering": &pb.Peering{DisplayName: name, Vpc: prod, PeerVpc: "accounts/beta/vpcs/fresh",
			TunnelAccess: pb.Peering_ALLOWED, PeerTunnelAccess: pb.Peering_ALLOWED,
			DnsResolution: pb.Peering_ALLOWED, PeerDnsResolution: pb.Peering_DENIED},
		"VpnConnection": &pb.VpnConnection{DisplayName: name, Vpc: prod, CustomerGateway: "accounts/alpha/customerGateways/free",
			StaticRoutes: []string{"192.168.50.0/24", "192.168.51.0/24"}},
		"TargetGroup": &pb.TargetGroup{DisplayName: name, Vpc: prod, Port: 8080, FailOpen: new(true), HealthCheck: &pb.HealthCheck{
			Protocol: pb.HealthCheck_HTTP, Path: "/up", Matcher: "200-299", Interval: durationpb.New(10e9), Timeout: durationpb.New(5e9), HealthyThreshold: 2, UnhealthyThreshold: 2}},
		"Certificate": &pb.Certificate{DisplayName: name, CertificateChain: chain, PrivateKey: key},
		"LoadBalancer": &pb.LoadBalancer{DisplayName: name, Subnets: []string{prod + "/subnets/main", prod + "/subnets/b"},
			SecondaryIpAddressesPerZone: new(int32(1))},
		"Listener": &pb.Listener{Port: 8443, Protocol: pb.Listener_TLS, TargetGroup: "accounts/alpha/targetGroups/main",
			IdleTimeout: durationpb.New(60e9), Certificates: []string{"accounts/alpha/certificates/main"},
			MinimumTlsVersion: pb.Listener_TLS_1_3, AlpnProtocols: []string{"h2", "http/1.1"}},
		"EndpointService": &pb.EndpointService{DisplayName: name, LoadBalancers: []string{"accounts/alpha/loadBalancers/free"},
			AcceptanceRequired: new(true), Offering: pb.EndpointService_MARKETPLACE, Listing: described(), PrivateDnsName: "*.fresh.example.com"},
		"Subscription": &pb.Subscription{DisplayName: name, ServiceName: "accounts/beta/endpointServices/listed-2"},
		"Notification": &pb.Notification{DisplayName: name, Url: receiverURL, Events: []pb.Notification_Event{pb.Notification_CONNECT}},
		"Endpoint": &pb.Endpoint{DisplayName: name, ServiceName: "accounts/alpha/endpointServices/main",
			Subnets:              []string{prod + "/subnets/main", prod + "/subnets/b"},
			SubnetConfigurations: []*pb.SubnetConfiguration{{Subnet: prod + "/subnets/b", IpAddress: "10.0.2.77"}},
			Bandwidth:            &pb.Bandwidth{BaselineMbps: 100, MaximumMbps: 200}, CrossZone: new(true), PrivateDnsEnabled: new(false),
			SecurityGroups: []string{prod + "/securityGroups/main", prod + "/securityGroups/spare"},
			Policy:         `{"Statement":{"Effect":"Allow","Principal":"*","Action":"vpce:Connect","Resource":"*"}}`, PolicyDryRun: new(true)},
		"ResolverEndpoint": &pb.ResolverEndpoint{DisplayName: name, Subnets: []string{prod + "/subnets/main", prod + "/subnets/b"},
			SubnetConfigurations: []*pb.SubnetConfiguration{{Subnet: prod + "/subnets/b", IpAddress: "10.0.2.78"}}},
		"ResolverRule": &pb.ResolverRule{DisplayName: name, DomainName: "fresh.example.net",
			TargetIps: []*pb.ResolverTarget{{IpAddress: "192.168.7.53", Port: new(int32(5353))}, {IpAddress: "192.168.7.54"}}},
	}
}

// receiverURL is where notifications would be sent.
const receiverURL = "https://hooks.example.com/causeway"

// requestID is that of every base request that has one.
const requestID = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"

// base gives a request that succeeds on a settled world: as the standard methods (AIP-131 to 135)
// want it, with given for the rest.
func (w *world) base(m *method) proto.Message {
	w.t.Helper()
	r := m.input.New()
	for n := range r.Descriptor().Fields().Len() {
		f := r.Descriptor().Fields().Get(n)
		set := func(text string) { r.Set(f, protoreflect.ValueOfString(text)) }
		fill, custom := given[f.FullName()]
		switch {
		case custom:
			fill(r)
		case w.givenIn(f, r):
		case f.Name() == "name":
			set(w.subject(m))
		case f.Name() == "parent":
			set(w.above(m.noun))
		case f.Name() == "page_size":
			r.Set(f, protoreflect.ValueOfInt32(10))
		case f.Name() == "request_id":
			set(requestID)
		case f.Kind() == protoreflect.StringKind && strings.HasSuffix(string(f.Name()), "_id"):
			set("fresh")
		case f.Message() != nil && f.Message().Name() == m.noun && m.verb == "Create":
			if fresh := w.fresh()[m.noun]; fresh != nil {
				r.Set(f, protoreflect.ValueOfMessage(fresh.ProtoReflect()))
			}
		case f.Message() != nil && f.Message().Name() == m.noun && w.main[m.noun] != nil:
			r.Set(f, protoreflect.ValueOfMessage(w.revised(m.noun).ProtoReflect()))
		}
	}
	return r.Interface()
}

// subject gives the name of the resource that a method is called on: one that can be deleted if it
// deletes.
func (w *world) subject(m *method) string {
	if name, ok := subjects[m.name]; ok {
		return name
	}
	from := w.main
	if m.verb == "Delete" {
		from = w.spare
	}
	if r, ok := from[m.noun].(interface{ GetName() string }); ok {
		return r.GetName()
	}
	return ""
}

// above gives the parent of a resource.
func (w *world) above(noun protoreflect.Name) string {
	if r, ok := w.main[noun].(interface{ GetName() string }); ok {
		return resource.Parent(r.GetName())
	}
	return ""
}

// revised gives a resource as it is read, pasted into an update that changes its display name.
func (w *world) revised(noun protoreflect.Name) proto.Message {
	m := proto.Clone(w.main[noun])
	clearField(m, "etag")
	r := m.ProtoReflect()
	if f := r.Descriptor().Fields().ByName("display_name"); f != nil {
		r.Set(f, protoreflect.ValueOfString("Revised"))
	}
	return m
}

func clearField(m proto.Message, name protoreflect.Name) {
	if f := m.ProtoReflect().Descriptor().Fields().ByName(name); f != nil {
		m.ProtoReflect().Clear(f)
	}
}
