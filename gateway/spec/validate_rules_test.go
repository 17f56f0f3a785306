package spec

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// ruled is a valid spec with rules of every kind.
func ruled() *Gateway {
	g := full()
	everywhere := prefix("0.0.0.0/0")
	g.NetworkACLs = []NetworkACL{{
		Name: "acl",
		Ingress: []ACLRule{
			{Number: 1, Allow: true, Prefix: everywhere, Traffic: Traffic{Protocol: 6, FirstPort: 443, LastPort: 443}},
			{Number: 32766, Allow: true, Prefix: prefix("::/0"), Traffic: Traffic{Protocol: AllProtocols}},
		},
		Egress: []ACLRule{{Number: 100, Prefix: everywhere, Traffic: Traffic{Protocol: 1, ICMPType: 3, ICMPCode: Any}}},
	}}
	g.Subnets = []Subnet{{Name: "a", NetworkACL: "acl"}, {Name: "b"}}
	g.SecurityGroups = []SecurityGroup{
		{Name: "clients"},
		{Name: "service", Ingress: []GroupRule{
			{Traffic: Traffic{Protocol: 6, FirstPort: 1, LastPort: 65535}, Group: "clients"},
			{Traffic: Traffic{Protocol: 47}, Prefix: prefix("10.0.0.0/8")},
		}},
	}
	peers := g.Domains[0].TunnelEndpoints[0].Peers
	peers[0].Subnet, peers[0].SecurityGroups = "a", []string{"clients"}
	g.Endpoints[0].SecurityGroups = []string{"service", "clients"}
	g.Endpoints[0].Interfaces[0].Subnet = "b"
	g.LoadBalancers[0].Nodes[0].Subnet = "a"
	return g
}

func TestValidateRules(t *testing.T) {
	rule := func(g *Gateway) *ACLRule { return &g.NetworkACLs[0].Ingress[0] }
	for _, tt := range []struct {
		name   string
		change func(g *Gateway)
		// want is what the error must name; empty wants none.
		want string
	}{
		{"OK", func(*Gateway) {}, ""},
		{"OK 40 rules", func(g *Gateway) { g.NetworkACLs[0].Ingress = manyRules(40) }, ""},
		{"OK 60 rules", func(g *Gateway) { g.SecurityGroups[0].Ingress = manyGroupRules(60) }, ""},
		{"OK group of its own members", func(g *Gateway) { g.SecurityGroups[1].Ingress[0].Group = "service" }, ""},
		{"OK any ICMP", func(g *Gateway) { rule(g).Traffic = Traffic{Protocol: 1, ICMPType: Any, ICMPCode: Any} }, ""},
		{"OK port 0", func(g *Gateway) { rule(g).FirstPort, rule(g).LastPort = 0, 0 }, ""},

		{"bad ACL name", func(g *Gateway) { g.NetworkACLs[0].Name = "" }, `network ACL ""`},
		{"bad ACL twice", func(g *Gateway) { g.NetworkACLs = append(g.NetworkACLs, g.NetworkACLs[0]) }, `network ACL "acl"`},
		{"bad number 0", func(g *Gateway) { rule(g).Number = 0 }, `network ACL "acl": ingress: rule 0: number`},
		{"bad number 32767", func(g *Gateway) { g.NetworkACLs[0].Egress[0].Number = 32767 }, `egress: rule 32767: number`},
		{"bad number twice", func(g *Gateway) { rule(g).Number = 32766 }, "rule 32766: number is repeated"},
		{"bad order", func(g *Gateway) { rule(g).Number, g.NetworkACLs[0].Ingress[1].Number = 2, 1 }, "rule 1: number is repeated or not sorted"},
		{"bad 41 rules", func(g *Gateway) { g.NetworkACLs[0].Egress = manyRules(41) }, "egress: 41 rules"},
		{"bad prefix", func(g *Gateway) { rule(g).Prefix = netip.Prefix{} }, "rule 1: prefix"},
		{"bad prefix with host bits", func(g *Gateway) { rule(g).Prefix = netip.MustParsePrefix("100.68.0.18/18") }, "100.68.0.18/18"},
		{"bad mapped prefix", func(g *Gateway) { rule(g).Prefix = prefix("::ffff:10.0.0.0/104") }, "not canonical"},
		{"bad protocol -2", func(g *Gateway) { rule(g).Protocol = -2 }, "protocol -2"},
		{"bad protocol 256", func(g *Gateway) { rule(g).Protocol = 256 }, "protocol 256"},
		{"bad ports", func(g *Gateway) { rule(g).FirstPort = 444 }, "ports 444-443"},
		{"bad ports of all protocols", func(g *Gateway) { rule(g).Protocol = AllProtocols }, "has no ports"},
		{"bad ports of ICMP", func(g *Gateway) { rule(g).Protocol = 1 }, "has no ports"},
		{"bad ICMP type of TCP", func(g *Gateway) { rule(g).ICMPType = 3 }, "no ICMP type"},
		{"bad ICMP type", func(g *Gateway) { g.NetworkACLs[0].Egress[0].ICMPType = 256 }, "ICMP type 256"},
		{"bad ICMP code", func(g *Gateway) { g.NetworkACLs[0].Egress[0].ICMPCode = -2 }, "code -2"},
		{"bad ICMP code without type", func(g *Gateway) {
			g.NetworkACLs[0].Egress[0].ICMPType, g.NetworkACLs[0].Egress[0].ICMPCode = Any, 0
		}, "code 0 without a type"},

		{"bad subnet name", func(g *Gateway) { g.Subnets[0].Name = "" }, `subnet ""`},
		{"bad subnet twice", func(g *Gateway) { g.Subnets[1].Name = "a" }, `subnet "a"`},
		{"bad subnet's ACL", func(g *Gateway) { g.Subnets[1].NetworkACL = "x" }, `network ACL "x"`},

		{"bad group name", func(g *Gateway) { g.SecurityGroups[0].Name = "" }, `security group ""`},
		{"bad group twice", func(g *Gateway) { g.SecurityGroups[0].Name = "service" }, `security group "service"`},
		{"bad 61 rules", func(g *Gateway) { g.SecurityGroups[0].Ingress = manyGroupRules(61) }, "61 rules"},
		{"bad rule's group", func(g *Gateway) { g.SecurityGroups[1].Ingress[0].Group = "x" }, `"service": rule 1: security group "x"`},
		{"bad prefix and group", func(g *Gateway) { g.SecurityGroups[1].Ingress[0].Prefix = prefix("10.0.0.0/8") }, "either a prefix or a group"},
		{"bad neither", func(g *Gateway) { g.SecurityGroups[1].Ingress[0].Group = "" }, "either a prefix or a group"},
		{"bad group's prefix", func(g *Gateway) {
			g.SecurityGroups[1].Ingress[1].Prefix = netip.MustParsePrefix("10.0.0.1/8")
		}, "rule 2: prefix 10.0.0.1/8"},
		{"bad group's protocol", func(g *Gateway) { g.SecurityGroups[1].Ingress[1].Protocol = 300 }, "rule 2: protocol 300"},

		{"bad peer's subnet", func(g *Gateway) { g.Domains[0].TunnelEndpoints[0].Peers[0].Subnet = "x" }, `peer "app": subnet "x"`},
		{"bad peer's group", func(g *Gateway) { g.Domains[0].TunnelEndpoints[0].Peers[0].SecurityGroups = []string{"x"} }, `peer "app": security group "x"`},
		{"bad peer's group twice", func(g *Gateway) {
			g.Domains[0].TunnelEndpoints[0].Peers[0].SecurityGroups = []string{"clients", "clients"}
		}, "repeated"},
		{"bad tunnel in a subnet", func(g *Gateway) { g.Domains[0].TunnelEndpoints[0].Peers[1].Subnet = "a" }, `peer "site": a tunnel`},
		{"bad tunnel in a group", func(g *Gateway) {
			g.Domains[0].TunnelEndpoints[0].Peers[1].SecurityGroups = []string{"clients"}
		}, `peer "site": a tunnel`},
		{"bad endpoint's group", func(g *Gateway) { g.Endpoints[0].SecurityGroups[0] = "x" }, `endpoint "endpoints/e": security group "x"`},
		{"bad endpoint's 17 groups", func(g *Gateway) { g.Endpoints[0].SecurityGroups = make([]string, 17) }, "17 security groups"},
		{"bad interface's subnet", func(g *Gateway) { g.Endpoints[0].Interfaces[0].Subnet = "x" }, `"eni-1": subnet "x"`},
		{"bad node's subnet", func(g *Gateway) { g.LoadBalancers[0].Nodes[0].Subnet = "x" }, `node in zone "a": subnet "x"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := ruled()
			tt.change(g)
			err := g.Validate()
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want an error that names %q", err, tt.want)
			}
		})
	}
}

func manyRules(n int) (rules []ACLRule) {
	for i := range n {
		rules = append(rules, ACLRule{Number: i + 1, Prefix: prefix("10.0.0.0/8"), Traffic: Traffic{Protocol: AllProtocols}})
	}
	return rules
}

func manyGroupRules(n int) (rules []GroupRule) {
	for i := range n {
		rules = append(rules, GroupRule{Prefix: prefix(fmt.Sprintf("10.0.%d.0/24", i)), Traffic: Traffic{Protocol: AllProtocols}})
	}
	return rules
}
