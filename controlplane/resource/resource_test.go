package resource

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "causeway/proto/causeway/v1"
)

func TestPatterns(t *testing.T) {
	want := map[*Info]string{
		Accounts.Info:         "accounts/{account}",
		Attachments.Info:      "accounts/{account}/vpcs/{vpc}/subnets/{subnet}/attachments/{attachment}",
		NetworkAcls.Info:      "accounts/{account}/vpcs/{vpc}/networkAcls/{network_acl}",
		CustomerGateways.Info: "accounts/{account}/customerGateways/{customer_gateway}",
		EndpointServices.Info: "accounts/{account}/endpointServices/{endpoint_service}",
		VpnConnections.Info:   "accounts/{account}/vpnConnections/{vpn_connection}",
	}
	for kind, pattern := range want {
		if got := kind.Pattern(); got != pattern {
			t.Errorf("%s: pattern %q, want %q", kind.Word, got, pattern)
		}
	}
}

func TestMatch(t *testing.T) {
	long := strings.Repeat("x", 63)
	cases := []struct {
		kind *Info
		name string
		want bool
	}{
		{Vpcs.Info, "accounts/a/vpcs/prod", true},
		{Vpcs.Info, "accounts/a/vpcs/" + long, true},
		{Vpcs.Info, "accounts/a/vpcs/" + long + "x", false},
		{Vpcs.Info, "accounts/a/vpcs/prod-", false},
		{Vpcs.Info, "accounts/a/vpcs/1", false},
		{Vpcs.Info, "accounts/a/vpcs/*", false},
		{Vpcs.Info, "accounts/*/vpcs/prod", false},
		{Vpcs.Info, "accounts/a/vpcs/prod/subnets/s", false},
		{Vpcs.Info, "accounts/a/vpcs/prod\n", false},
		{Vpcs.Info, "", false},
		{Subnets.Info, "accounts/a/vpcs/prod/subnets/s", true},
		{Accounts.Info, "accounts/a", true},
	}
	for _, tc := range cases {
		if got := tc.kind.Match(tc.name); got != tc.want {
			t.Errorf("%s: match %q is %v", tc.kind.Word, tc.name, got)
		}
	}
}

func TestParents(t *testing.T) {
	want := map[*Info]*Info{
		Tokens.Info: Accounts.Info, Vpcs.Info: Accounts.Info, Subnets.Info: Vpcs.Info, Attachments.Info: Subnets.Info,
		Listeners.Info: LoadBalancers.Info, Endpoints.Info: Vpcs.Info, Accounts.Info: nil,
	}
	for kind, parent := range want {
		if kind.Parent() != parent {
			t.Errorf("%s lies below %v", kind.Word, kind.Parent())
		}
	}
	if got := Parent("accounts/a/vpcs/v/subnets/s"); got != "accounts/a/vpcs/v" {
		t.Errorf("parent %q", got)
	}
	if got := Parent("accounts/a"); got != "" {
		t.Errorf("parent of an account %q", got)
	}
}

// TestKindsFitTheirMessages holds the table against the schema.
func TestKindsFitTheirMessages(t *testing.T) {
	messages := map[string]proto.Message{}
	for _, m := range []proto.Message{
		&pb.Account{}, &pb.Token{}, &pb.Vpc{}, &pb.Subnet{}, &pb.Attachment{}, &pb.Peering{}, &pb.CustomerGateway{},
		&pb.VpnConnection{}, &pb.TargetGroup{}, &pb.LoadBalancer{}, &pb.Listener{}, &pb.EndpointService{}, &pb.Endpoint{}, &pb.Subscription{},
		&pb.Notification{}, &pb.Certificate{}, &pb.ResolverEndpoint{}, &pb.ResolverRule{},
		&pb.NetworkAcl{}, &pb.SecurityGroup{},
	} {
		name := string(m.ProtoReflect().Descriptor().Name())
		messages[strings.ToLower(name[:1])+name[1:]+"s"] = m
	}
	if len(All()) != len(messages) {
		t.Errorf("%d kinds, %d messages", len(All()), len(messages))
	}
	prefixes := map[string]bool{}
	for _, kind := range All() {
		m := messages[kind.Collection]
		if m == nil {
			t.Errorf("no message for %s", kind.Collection)
			continue
		}
		fields := m.ProtoReflect().Descriptor().Fields()
		state := fields.ByName("state")
		if kind.Life != (state != nil) && kind != Subscriptions.Info { // nothing of a subscription is on a gateway
			t.Errorf("%s: life %v, state %v", kind.Word, kind.Life, state)
		}
		if kind.Life {
			if Deleting(m); state.Enum().Values().ByName(deleting) == nil {
				t.Errorf("%s has no state %s", kind.Word, deleting)
			}
			if MarkDeleting(m); !Deleting(m) {
				t.Errorf("%s is not deleting after it was marked", kind.Word)
			}
		}
		for field := range kind.References {
			if f := fields.ByName(field); f == nil || f.Kind() != protoreflect.StringKind {
				t.Errorf("%s refers by %s: %v", kind.Word, field, f)
			}
		}
		if prefixes[kind.Prefix] || !IsUID(kind.Prefix+"-0123456789abcdef0") {
			t.Errorf("%s: prefix %q", kind.Word, kind.Prefix)
		}
		prefixes[kind.Prefix] = true
	}
}

func TestRefersTo(t *testing.T) {
	lb := &pb.LoadBalancer{Name: "accounts/a/loadBalancers/s", Uid: "lb-0123456789abcdef0"}
	for text, want := range map[string]bool{
		"accounts/a/loadBalancers/s": true, "lb-0123456789abcdef0": true, "accounts/a/loadBalancers/sx": false, "": false,
	} {
		e := Entry{Info: EndpointServices.Info, Message: &pb.EndpointService{LoadBalancers: []string{text}}}
		if got := e.refersTo(LoadBalancers.Info, lb); got != want {
			t.Errorf("%q refers: %v", text, got)
		}
	}
	subnet := &pb.Subnet{Name: "accounts/a/vpcs/v/subnets/s", Uid: "subnet-0123456789abcdef0"}
	e := Entry{Info: Endpoints.Info, Message: &pb.Endpoint{Subnets: []string{"x", subnet.Name}}}
	if !e.refersTo(Subnets.Info, subnet) || e.refersTo(Vpcs.Info, subnet) {
		t.Error("a list of references is not searched")
	}
}

func TestUsesOfAService(t *testing.T) {
	endpoint := func(state pb.Endpoint_State, crossZone bool, zones ...string) *pb.Endpoint {
		e := &pb.Endpoint{Name: "accounts/b/vpcs/v/endpoints/e", Uid: "vpce-1", ServiceUid: "vpce-svc-1", State: state, CrossZone: &crossZone}
		for _, zone := range zones {
			e.NetworkInterfaces = append(e.NetworkInterfaces, &pb.NetworkInterface{AvailabilityZone: zone})
		}
		return e
	}
	tests := []struct {
		name     string
		endpoint *pb.Endpoint
		key      string
		zones    []string
	}{
		{"accepted", endpoint(pb.Endpoint_PENDING, false, "b", "a"), "vpce-svc-1/vpce-1/a,b", []string{"a", "b"}},
		{"waiting", endpoint(pb.Endpoint_PENDING_ACCEPTANCE, false, "a"), "vpce-svc-1/vpce-1/a", []string{"a"}},
		{"needs no zone", endpoint(pb.Endpoint_PENDING, true, "a"), "vpce-svc-1/vpce-1/", nil},
		{"rejected", endpoint(pb.Endpoint_REJECTED, false, "a"), "", nil},
		{"expired", endpoint(pb.Endpoint_EXPIRED, false, "a"), "", nil},
		{"being deleted", endpoint(pb.Endpoint_DELETING, false, "a"), "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			connections, uses := 0, ""
			for _, claim := range Endpoints.Claims(tt.endpoint) {
				switch claim.Kind {
				case ClaimConnection:
					connections++
				case ClaimUse:
					uses += claim.Key
				}
			}
			if connections != 1 || uses != tt.key {
				t.Errorf("%d connections, use %q, want one and %q", connections, uses, tt.key)
			}
			if uses == "" {
				return
			}
			if uid, zones := Use(uses); uid != "vpce-1" || !slices.Equal(zones, tt.zones) {
				t.Errorf("taken apart: %q %q, want zones %q", uid, zones, tt.zones)
			}
		})
	}
}

func TestSourcesOfASecurityGroup(t *testing.T) {
	const own = "sg-00000000000000001"
	source := func(account, uid string) *pb.SecurityGroupRule {
		return &pb.SecurityGroupRule{SourceGroupUid: uid, Source: &pb.SecurityGroupRule_SourceGroup{SourceGroup: "accounts/" + account + "/vpcs/v/securityGroups/s"}}
	}
	g := &pb.SecurityGroup{Name: "accounts/a/vpcs/v/securityGroups/g", Uid: own, IngressRules: []*pb.SecurityGroupRule{
		source("a", own), source("a", "sg-2"), source("b", "sg-3"), source("a", "sg-2"), source("a", "sg-4"),
		{Source: &pb.SecurityGroupRule_CidrBlock{CidrBlock: "10.0.0.0/8"}},
	}}
	want := []Claim{{ClaimUID, own}, SourceClaim("sg-2", own), SourceClaim("sg-4", own)}
	if got := SecurityGroups.Claims(g); !slices.Equal(got, want) {
		t.Errorf("claims %v, want %v", got, want)
	}
}

func TestPairClaimHasNoDirection(t *testing.T) {
	if PairClaim("a", "b") != PairClaim("b", "a") || PairClaim("a", "b") == PairClaim("a", "c") {
		t.Error("pairs are told apart by direction, or not at all")
	}
}

// FuzzMatch holds that a name that matches survives being taken apart and made again.
func FuzzMatch(f *testing.F) {
	f.Add("accounts/a/vpcs/v/subnets/s")
	f.Add("accounts//vpcs/v")
	f.Fuzz(func(t *testing.T, name string) {
		for _, kind := range All() {
			if !kind.Match(name) || kind.Parent() == nil {
				continue
			}
			id := name[strings.LastIndexByte(name, '/')+1:]
			if got := kind.Name(Parent(name), id); got != name || !kind.Parent().Match(Parent(name)) || Account(name) == "" {
				t.Errorf("%s: %q comes back as %q", kind.Word, name, got)
			}
		}
	})
}
