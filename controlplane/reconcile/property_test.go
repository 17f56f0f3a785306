package reconcile

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"causeway/gateway/policy"
	pb "causeway/proto/causeway/v1"
)

// TestCompiledSpecAlwaysValidates harms random fields of random worlds, as somebody who edits the
// store would, and wants every result to validate and the gateway's first demand to hold: what is in
// the spec is complete.
func TestCompiledSpecAlwaysValidates(t *testing.T) {
	worlds := 1000
	if testing.Short() {
		worlds = 300
	}
	for seed := range uint64(worlds) {
		r := rand.New(rand.NewPCG(seed, 1))
		w := randomWorld(r)
		for range r.IntN(12) {
			w.harm(r)
		}
		compiled := w.compile(t)
		w.checkRules(t, &compiled)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		again := compile(w.input, testOptions)
		if !compiled.spec.Equal(&again.spec) {
			t.Fatalf("seed %d: two compilations differ", seed)
		}
	}
}

func randomWorld(r *rand.Rand) *world {
	w := &world{}
	vpcs := 2 + r.IntN(4)
	for v := range vpcs {
		id := fmt.Sprintf("v%d", v)
		net := fmt.Sprintf("10.%d", r.IntN(4))
		w.vpc(id, net+".0.0/16")
		if r.IntN(4) > 0 {
			w.acl(id, "default")
		}
		groups := w.randomGroups(r, id)
		for z, zone := range []string{"us-east-1a", "us-east-1b"} {
			subnet := fmt.Sprintf("vpcs/%s/subnets/s%d", id, z)
			s := w.subnet(subnet, zone, fmt.Sprintf("%s.%d.0/24", net, z))
			if r.IntN(2) == 0 {
				s.NetworkAcl = w.acl(id, fmt.Sprintf("n%d", z)).GetName()
			}
			for a := range r.IntN(3) {
				m := w.attachment(fmt.Sprintf("%s/attachments/a%d", subnet, a), fmt.Sprintf("%s.%d.%d", net, z, 10+a))
				m.SecurityGroups = slices.Clone(groups[:r.IntN(len(groups)+1)])
			}
		}
		service := w.publish(id, id, "us-east-1a", net+".0.5")
		if r.IntN(2) == 0 {
			e := w.endpoint("vpcs/"+id+"/endpoints/e", service, "us-east-1a", net+".0.6")
			e.State = pb.Endpoint_State(r.IntN(8))
			e.CrossZone = new(r.IntN(2) == 0)
			hold(service, e, []string{"same.example.com", "*.same.example.com", id + ".example.com"}[r.IntN(3)])
			if r.IntN(2) == 0 {
				e.Policy = policy.Default
			}
			e.SecurityGroups = slices.Clone(groups[:r.IntN(len(groups)+1)])
			if r.IntN(2) == 0 {
				e.AcceptTime = timestamppb.New(time.Unix(1, 0))
			}
			if r.IntN(2) == 0 {
				e.DisconnectTime = timestamppb.New(time.Unix(r.Int64(), 0))
			}
		}
		if r.IntN(3) == 0 {
			w.vpn(id, id, []string{fmt.Sprintf("192.168.%d.0/24", r.IntN(3))}, "us-east-1a", []string{"us-east-1a", "us-east-1b"}[r.IntN(2)])
		}
	}
	for p := range r.IntN(4) {
		p := w.peering(fmt.Sprintf("p%d", p), fmt.Sprintf("v%d", r.IntN(vpcs)), fmt.Sprintf("v%d", r.IntN(vpcs)))
		p.DnsResolution, p.PeerDnsResolution = pb.Peering_Access(r.IntN(3)), pb.Peering_Access(r.IntN(3))
	}
	in := w.inbound("in", "10.0.0.9")
	rule := w.forward("rule", "example.net", "192.168.7.53", "10.0.0.2")
	in.Name, rule.Name = account("vpcs/v0/resolverEndpoints/in"), account("vpcs/v0/resolverRules/rule")
	w.resolverEndpoints[0].Name, w.resolverRules[0].Name = in.Name, rule.Name
	if r.IntN(2) == 0 {
		for _, a := range compile(w.input, testOptions).missing {
			w.store(a)
		}
	}
	return w
}

// randomGroups makes security groups of a VPC with rules that name groups made before, of any VPC.
func (w *world) randomGroups(r *rand.Rand, vpc string) []string {
	var names []string
	for g := range r.IntN(4) {
		var sources []*pb.SecurityGroup
		for range r.IntN(3) {
			if len(w.securityGroups) > 0 {
				sources = append(sources, w.securityGroups[r.IntN(len(w.securityGroups))].Value)
			}
		}
		names = append(names, w.group(vpc, fmt.Sprintf("g%d", g), sources...).GetName())
	}
	return names
}

// harm changes one field of one object.
func (w *world) harm(r *rand.Rand) {
	var messages []proto.Message
	collect(&messages, w.vpcs)
	collect(&messages, w.networkACLs)
	collect(&messages, w.securityGroups)
	collect(&messages, w.subnets)
	collect(&messages, w.attachments)
	collect(&messages, w.peerings)
	collect(&messages, w.customerGateways)
	collect(&messages, w.vpnConnections)
	collect(&messages, w.targetGroups)
	collect(&messages, w.targets)
	collect(&messages, w.loadBalancers)
	collect(&messages, w.listeners)
	collect(&messages, w.endpointServices)
	collect(&messages, w.endpoints)
	collect(&messages, w.tunnelEndpoints)
	collect(&messages, w.resolverEndpoints)
	collect(&messages, w.resolverRules)
	mutate(r, messages[r.IntN(len(messages))].ProtoReflect())
	for name := range w.ports {
		if r.IntN(20) == 0 {
			w.ports[name] = uint16(r.IntN(1 << 16))
		}
	}
}

func collect[T proto.Message](into *[]proto.Message, from list[T]) {
	for _, v := range from {
		*into = append(*into, v.Value)
	}
}

// mutate gives a random field of a message, or of one inside it, an unexpected value.
func mutate(r *rand.Rand, m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	field := fields.Get(r.IntN(fields.Len()))
	switch {
	case field.IsList() && field.Message() != nil:
		if list := m.Mutable(field).List(); list.Len() > 0 {
			if r.IntN(3) == 0 {
				list.Append(list.Get(0))
				return
			}
			mutate(r, list.Get(r.IntN(list.Len())).Message())
		}
	case field.IsList():
		m.Mutable(field).List().Append(randomValue(r, m, field))
	case field.Message() != nil:
		if r.IntN(3) == 0 {
			m.Clear(field)
			return
		}
		mutate(r, m.Mutable(field).Message())
	default:
		m.Set(field, randomValue(r, m, field))
	}
}

var texts = []string{
	"", "x", "../../x", "10.0.0.0/16", "10.1.0.5", "10.0.0.6", "255.255.255.255", "240.0.0.1", "fd00::1", "::ffff:10.0.0.1",
	"0.0.0.0/0", "us-east-1a", "us-east-1b", account("vpcs/v0"), account("vpcs/v1"), account("targetGroups/v1"),
	account("vpcs/v0/networkAcls/default"), account("vpcs/v1/securityGroups/g0"), "tcp", "all", "-1", "256",
	account("loadBalancers/v1"), account("customerGateways/v1"), "eni-00000000000000000", "tep-00000000000000000",
	testKey("anybody"), "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
}

func randomValue(r *rand.Rand, m protoreflect.Message, field protoreflect.FieldDescriptor) protoreflect.Value {
	numbers := []int64{0, 1, -1, 443, 51820, 65535, 65536, 1<<31 - 1, -1 << 31}
	number := numbers[r.IntN(len(numbers))]
	switch field.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(texts[r.IntN(len(texts))])
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(number&1 == 1)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(r.IntN(8)))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(number))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(number)
	}
	return m.Get(field)
}

func BenchmarkCompile(b *testing.B) {
	w := &world{}
	w.vpc("v", "10.0.0.0/16")
	w.subnet("vpcs/v/subnets/a", "us-east-1a", "10.0.0.0/17")
	for n := range 1000 {
		w.attachment(fmt.Sprintf("vpcs/v/subnets/a/attachments/a%d", n), fmt.Sprintf("10.0.%d.%d", n/200, 10+n%200))
	}
	w.publish("s", "v", "us-east-1a", "10.0.100.1")
	for b.Loop() {
		if r := compile(w.input, testOptions); len(r.objects) < 1000 {
			b.Fatal(len(r.objects))
		}
	}
}
