package reconcile

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"causeway/controlplane/dnsname"
	"causeway/controlplane/resource"
	"causeway/gateway/spec"
	pb "causeway/proto/causeway/v1"
)

// portDNS is that of servers whose rule names none.
const portDNS = 53

// resolverOf gives the DNS server of the VPC that a resource lies in.
func (c *compiler) resolverOf(name string) (*domain, error) {
	d, err := c.domain(resource.Parent(name))
	if err != nil {
		return nil, err
	}
	if d.Resolver == nil {
		return nil, fmt.Errorf("VPC %q has no DNS server", d.Name)
	}
	return d, nil
}

func (c *compiler) resolverEndpoints() {
	each(c, c.in.resolverEndpoints, func(name string, m *pb.ResolverEndpoint) error {
		d, err := c.resolverOf(name)
		if err != nil {
			return err
		}
		var inbound []spec.InboundAddress
		for _, a := range m.GetAddresses() {
			if !c.served[a.GetAvailabilityZone()] {
				continue
			}
			if !validUID(a.GetUid()) || c.interfaceUIDs[a.GetUid()] {
				return fmt.Errorf("network interface %q: uid is invalid or taken", a.GetUid())
			}
			addr, err := d.takeOwn(a.GetIpAddress(), name)
			if err != nil {
				return fmt.Errorf("network interface %q: %w", a.GetUid(), err)
			}
			in, err := c.subnetAt(d, addr)
			if err != nil {
				return fmt.Errorf("network interface %q: %w", a.GetUid(), err)
			}
			c.interfaceUIDs[a.GetUid()] = true
			inbound = append(inbound, spec.InboundAddress{UID: a.GetUid(), Address: addr, Zone: a.GetAvailabilityZone(), Subnet: in})
		}
		if len(inbound) == 0 {
			return errors.New("no gateway serves one of its availability zones")
		}
		d.Resolver.Inbound = append(d.Resolver.Inbound, inbound...)
		slices.SortFunc(d.Resolver.Inbound, func(a, b spec.InboundAddress) int { return cmp.Compare(a.UID, b.UID) })
		return nil
	})
}

// resolverRules is after everything that takes addresses: servers that are the resolver itself are left out.
func (c *compiler) resolverRules() {
	each(c, c.in.resolverRules, func(name string, m *pb.ResolverRule) error {
		d, err := c.resolverOf(name)
		if err != nil {
			return err
		}
		rule := spec.ForwardRule{Domain: m.GetDomainName()}
		if err := dnsname.CheckForwarded(rule.Domain); err != nil {
			return fmt.Errorf("domain_name %q %w", rule.Domain, err)
		}
		if slices.ContainsFunc(d.Resolver.Rules, func(r spec.ForwardRule) bool { return r.Domain == rule.Domain }) {
			return fmt.Errorf("domain %q has another rule", rule.Domain)
		}
		if rule.Targets, err = d.forwarders(m.GetTargetIps()); err != nil {
			return err
		}
		d.Resolver.Rules = append(d.Resolver.Rules, rule)
		slices.SortFunc(d.Resolver.Rules, func(a, b spec.ForwardRule) int { return cmp.Compare(a.Domain, b.Domain) })
		return nil
	})
}

// mostForwarders is how many servers a rule has at most.
const mostForwarders = 6

// forwarders reads the servers of a rule in their order.
func (d *domain) forwarders(targets []*pb.ResolverTarget) ([]netip.AddrPort, error) {
	if len(targets) == 0 || len(targets) > mostForwarders {
		return nil, fmt.Errorf("it has %d servers, not 1 to %d", len(targets), mostForwarders)
	}
	var servers []netip.AddrPort
	for _, t := range targets {
		addr, err := parseAddress(t.GetIpAddress())
		if err != nil {
			return nil, fmt.Errorf("server: %w", err)
		}
		port := uint16(portDNS)
		if t.Port != nil {
			if port, err = parsePort(t.GetPort()); err != nil {
				return nil, fmt.Errorf("server %v: %w", addr, err)
			}
		}
		if addr == d.Resolver.Address || slices.ContainsFunc(d.Resolver.Inbound, func(in spec.InboundAddress) bool { return in.Address == addr }) {
			return nil, fmt.Errorf("server %v is the VPC's own", addr)
		}
		server := netip.AddrPortFrom(addr, port)
		if slices.Contains(servers, server) {
			return nil, fmt.Errorf("server %v is there twice", server)
		}
		servers = append(servers, server)
	}
	return servers, nil
}
