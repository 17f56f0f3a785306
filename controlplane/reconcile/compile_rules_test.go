package reconcile

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"causeway/controlplane/store"
	"causeway/gateway/spec"
	pb "causeway/proto/causeway/v1"
)

type storedACL = store.Versioned[*pb.NetworkAcl]

var anywhere = netip.MustParsePrefix("0.0.0.0/0")

func TestCompileNetworkACLs(t *testing.T) {
	w := shop()
	w.acl("prod", "default")
	w.acl("prod", "unused")
	w.subnet("vpcs/prod/subnets/b", "us-east-1b", "10.0.2.0/24").NetworkAcl = w.acl("prod", "strict").GetName()
	w.attachment("vpcs/prod/subnets/b/attachments/app", "10.0.2.4")
	w.subnet("vpcs/prod/subnets/empty", "us-east-1b", "10.0.3.0/24")
	r := w.compile(t)
	prod, partner := account("vpcs/prod"), account("vpcs/partner")
	subnets := []spec.Subnet{
		{Name: partner + "/subnets/a"}, // of a store from before there were network ACLs
		{Name: prod + "/subnets/a", NetworkACL: prod + "/networkAcls/default"},
		{Name: prod + "/subnets/b", NetworkACL: prod + "/networkAcls/strict"},
	}
	if diff := cmp.Diff(subnets, r.spec.Subnets); diff != "" {
		t.Errorf("subnets (-want +got):\n%s", diff)
	}
	everything := spec.Traffic{Protocol: spec.AllProtocols}
	rules := spec.NetworkACL{
		Ingress: []spec.ACLRule{
			{Number: 100, Allow: true, Prefix: anywhere, Traffic: spec.Traffic{Protocol: 6, FirstPort: 443, LastPort: 443}},
			{Number: 200, Prefix: netip.MustParsePrefix("10.0.0.0/8"), Traffic: spec.Traffic{Protocol: 1, ICMPType: 8, ICMPCode: spec.Any}},
		},
		Egress: []spec.ACLRule{{Number: 1, Allow: true, Prefix: anywhere, Traffic: everything}},
	}
	var want []spec.NetworkACL
	for _, name := range []string{"default", "strict"} {
		rules.Name = prod + "/networkAcls/" + name
		want = append(want, rules)
	}
	if diff := cmp.Diff(want, r.spec.NetworkACLs, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("network ACLs (-want +got):\n%s", diff)
	}
	for _, d := range r.spec.Domains {
		for _, te := range d.TunnelEndpoints {
			for _, peer := range te.Peers {
				if want := peer.Name[:strings.Index(peer.Name, "/attachments/")]; peer.Subnet != want {
					t.Errorf("%s lies in %q", peer.Name, peer.Subnet)
				}
			}
		}
	}
	if got := r.spec.Endpoints[0].Interfaces[0].Subnet; got != prod+"/subnets/a" {
		t.Errorf("the interface lies in %q", got)
	}
	if got := r.spec.LoadBalancers[0].Nodes[0].Subnet; got != partner+"/subnets/a" {
		t.Errorf("the node lies in %q", got)
	}
}

// TestUnreadableNetworkACLDeniesEverything harms one rule: the ACL must not let pass what it did.
func TestUnreadableNetworkACLDeniesEverything(t *testing.T) {
	tests := []struct {
		name string
		harm func(*pb.NetworkAcl)
		want string
	}{
		{"protocol", func(m *pb.NetworkAcl) { m.EgressRules[0].Protocol = "sctp" }, `egress_rules[0]: protocol "sctp"`},
		{"prefix", func(m *pb.NetworkAcl) { m.IngressRules[1].CidrBlock = "10.0.0.1/8" }, "ingress_rules[1]: cidr_block"},
		{"other family", func(m *pb.NetworkAcl) { m.IngressRules[1].CidrBlock = "::/0" }, "IPv4"},
		{"action", func(m *pb.NetworkAcl) { m.IngressRules[1].Action = 7 }, "action 7"},
		{"no ports", func(m *pb.NetworkAcl) { m.IngressRules[0].PortRange = nil }, "ports"},
		{"ports of what has none", func(m *pb.NetworkAcl) { m.EgressRules[0].PortRange = &pb.PortRange{} }, "ports"},
		{"ports out of range", func(m *pb.NetworkAcl) { m.IngressRules[0].PortRange.To = 65536 + 443 }, "no range"},
		{"ports out of order", func(m *pb.NetworkAcl) { m.IngressRules[0].PortRange.From = 444 }, "no range"},
		{"number", func(m *pb.NetworkAcl) { m.IngressRules[0].RuleNumber = 0 }, "number"},
		{"number twice", func(m *pb.NetworkAcl) { m.IngressRules[0].RuleNumber = 200 }, "repeated"},
		{"icmp", func(m *pb.NetworkAcl) { m.IngressRules[1].IcmpType = new(int32(256)) }, "ICMP"},
		{"icmp of what is none", func(m *pb.NetworkAcl) { m.EgressRules[0].IcmpType = new(int32(8)) }, "ICMP"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := shop()
			acl := w.acl("prod", "default")
			tt.harm(acl)
			r := w.compile(t)
			want := []spec.NetworkACL{{Name: acl.GetName()}}
			if diff := cmp.Diff(want, r.spec.NetworkACLs); diff != "" {
				t.Errorf("network ACLs (-want +got):\n%s", diff)
			}
			if got := r.objects[acl.GetName()]; !strings.Contains(got, "everything is denied: ") || !strings.Contains(got, tt.want) {
				t.Errorf("the ACL says %q, want %q in it", got, tt.want)
			}
			if len(r.spec.Endpoints) != 1 {
				t.Errorf("%d endpoints, want the one behind the ACL", len(r.spec.Endpoints))
			}
		})
	}
}

func TestCompileSecurityGroups(t *testing.T) {
	w := shop()
	w.vpc("far", "10.7.0.0/16")
	w.peering("prod-far", "prod", "far")
	theirs := w.group("far", "theirs")
	app := w.group("prod", "app", theirs)
	web := w.group("prod", "web", app)
	w.group("prod", "unused", web)
	w.endpoints[0].Value.SecurityGroups = []string{web.GetName()}
	w.attachments[1].Value.SecurityGroups = []string{web.GetName(), app.GetName()}
	r := w.compile(t)
	https := spec.GroupRule{Traffic: spec.Traffic{Protocol: 6, FirstPort: 443, LastPort: 443}, Prefix: netip.MustParsePrefix("10.0.0.0/16")}
	admits := func(group *pb.SecurityGroup) spec.GroupRule {
		return spec.GroupRule{Traffic: spec.Traffic{Protocol: spec.AllProtocols}, Group: group.GetName()}
	}
	want := []spec.SecurityGroup{
		{Name: theirs.GetName(), Ingress: []spec.GroupRule{https}},
		{Name: app.GetName(), Ingress: []spec.GroupRule{https, admits(theirs)}},
		{Name: web.GetName(), Ingress: []spec.GroupRule{https, admits(app)}},
	}
	if diff := cmp.Diff(want, r.spec.SecurityGroups, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("security groups (-want +got):\n%s", diff)
	}
	if got := r.spec.Endpoints[0].SecurityGroups; !slices.Equal(got, []string{web.GetName()}) {
		t.Errorf("the endpoint has %q", got)
	}
	for _, d := range r.spec.Domains {
		if d.Name != account("vpcs/prod") {
			continue
		}
		if got := d.TunnelEndpoints[0].Peers[0].SecurityGroups; !slices.Equal(got, []string{app.GetName(), web.GetName()}) {
			t.Errorf("the attachment is a member of %q", got)
		}
	}
	for name, problem := range r.objects {
		if problem != "" {
			t.Errorf("%s: %s", name, problem)
		}
	}
}

// TestStaleGroupRulesAdmitNobody has a rule whose source has gone, in every way it can.
func TestStaleGroupRulesAdmitNobody(t *testing.T) {
	tests := []struct {
		name string
		harm func(w *world, own, theirs *pb.SecurityGroup)
		want string
	}{
		{"deleted", func(w *world, _, _ *pb.SecurityGroup) { w.securityGroups = w.securityGroups[1:] }, "has been deleted"},
		{"being deleted", func(_ *world, _, theirs *pb.SecurityGroup) { theirs.State = pb.SecurityGroup_DELETING }, "has been deleted"},
		{"another of the name", func(_ *world, _, theirs *pb.SecurityGroup) { theirs.Uid = testUID("sg", "another") }, "has been deleted"},
		{"no peering", func(w *world, _, _ *pb.SecurityGroup) { w.peerings = nil }, "no peering"},
		{"peering that waits", func(w *world, _, _ *pb.SecurityGroup) { w.peerings[0].Value.State = pb.Peering_PENDING_ACCEPTANCE }, "no peering"},
		{"protocol", func(_ *world, own, _ *pb.SecurityGroup) { own.IngressRules[1].Protocol = "256" }, "protocol"},
		{"no source", func(_ *world, own, _ *pb.SecurityGroup) { own.IngressRules[1].Source = nil }, "cidr_block"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := shop()
			w.vpc("far", "10.7.0.0/16")
			w.peering("prod-far", "prod", "far")
			theirs := w.group("far", "theirs")
			own := w.group("prod", "own", theirs)
			w.endpoints[0].Value.SecurityGroups = []string{own.GetName()}
			tt.harm(w, own, theirs)
			r := w.compile(t)
			if len(r.spec.SecurityGroups) != 1 || len(r.spec.SecurityGroups[0].Ingress) != 1 || r.spec.SecurityGroups[0].Ingress[0].Group != "" {
				t.Errorf("groups %+v, want one with the rule that is whole", r.spec.SecurityGroups)
			}
			if got := r.objects[own.GetName()]; !strings.Contains(got, "ingress_rules[1] admits nobody") || !strings.Contains(got, tt.want) {
				t.Errorf("the group says %q, want %q in it", got, tt.want)
			}
		})
	}
}

// checkRules holds what must be true of the rules in a spec whatever is stored: nothing is open that
// was not to be, and what is there is referred to.
func (w *world) checkRules(t *testing.T, r *result) {
	t.Helper()
	stored := map[string]*pb.Subnet{}
	for _, v := range w.subnets {
		stored[v.Name] = v.Value
	}
	for _, s := range r.spec.Subnets {
		vpc := s.Name[:strings.Index(s.Name, "/subnets/")]
		defaults := slices.ContainsFunc(w.networkACLs, func(v storedACL) bool { return v.Name == vpc+"/networkAcls/default" })
		if s.NetworkACL == "" && (defaults || stored[s.Name].GetNetworkAcl() != "") {
			t.Errorf("%s is open to all", s.Name)
		}
	}
	endpoints := map[string]*pb.Endpoint{}
	for _, v := range w.endpoints {
		endpoints[v.Name] = v.Value
	}
	for _, e := range r.spec.Endpoints {
		if len(e.SecurityGroups) == 0 && len(endpoints[e.Name].GetSecurityGroups()) > 0 || e.Policy != endpoints[e.Name].GetPolicy() {
			t.Errorf("%s is open to all", e.Name)
		}
	}
	subnets, groups := referred(&r.spec)
	acls := map[string]bool{}
	for _, s := range r.spec.Subnets {
		acls[s.NetworkACL] = true
		if !subnets[s.Name] {
			t.Errorf("nothing refers to %s", s.Name)
		}
	}
	for _, a := range r.spec.NetworkACLs {
		if !acls[a.Name] {
			t.Errorf("nothing refers to %s", a.Name)
		}
	}
	for _, g := range r.spec.SecurityGroups {
		for _, rule := range g.Ingress {
			groups[rule.Group] = true
		}
	}
	for _, g := range r.spec.SecurityGroups {
		if !groups[g.Name] {
			t.Errorf("nothing refers to %s", g.Name)
		}
	}
}
