package reconcile

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"causeway/controlplane/resource"
	"causeway/gateway/spec"
	pb "causeway/proto/causeway/v1"
)

// defaultIdleTimeout is a Network Load Balancer's:
// https://docs.aws.amazon.com/elasticloadbalancing/latest/network/network-load-balancers.html
const defaultIdleTimeout = 350 * time.Second

func (c *compiler) targetGroups() {
	registered := map[string][]*pb.Target{}
	for _, v := range c.in.targets {
		registered[v.Name] = v.Value.GetTargets()
	}
	each(c, c.in.targetGroups, func(name string, m *pb.TargetGroup) error {
		d, err := c.domain(m.GetVpc())
		if err != nil {
			return err
		}
		check, err := healthCheck(m.GetHealthCheck())
		if err != nil {
			return fmt.Errorf("health_check: %w", err)
		}
		targets, err := c.targets(d, registered[name], m.GetPort())
		if err != nil {
			return err
		}
		group := spec.TargetGroup{Name: name, Domain: d.Name, HealthCheck: check, Targets: targets}
		if err := attributes(&group, m); err != nil {
			return err
		}
		c.groups[name] = d.Name
		c.out.spec.TargetGroups = append(c.out.spec.TargetGroups, group)
		return nil
	})
}

// targets reads the targets of a group in the order of their addresses. The gateway has the last word
// on each address, at every dial.
func (c *compiler) targets(d *domain, registered []*pb.Target, port int32) ([]spec.Registration, error) {
	read := make([]spec.Registration, 0, len(registered))
	for _, t := range registered {
		addr, err := parseAddress(t.GetIpAddress())
		if err != nil {
			return nil, fmt.Errorf("target: %w", err)
		}
		own, err := parsePort(cmp.Or(t.GetPort(), port))
		if err != nil {
			return nil, fmt.Errorf("target %v: %w", addr, err)
		}
		weight := 1
		if t.Weight != nil {
			weight = int(t.GetWeight())
		}
		read = append(read, spec.Registration{
			Target: spec.Target{Address: addr, Port: own}, Zone: c.zoneOf(d, addr), Weight: weight,
		})
	}
	slices.SortFunc(read, func(a, b spec.Registration) int {
		return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.Port, b.Port))
	})
	return slices.CompactFunc(read, func(a, b spec.Registration) bool { return a.Target == b.Target }), nil
}

// zoneOf gives the zone of the subnet of the VPC that an address lies in, or "".
func (c *compiler) zoneOf(d *domain, addr netip.Addr) string {
	name, _ := c.subnetAt(d, addr)
	return c.subnets[name].zone
}

func healthCheck(m *pb.HealthCheck) (spec.HealthCheck, error) {
	check := spec.HealthCheck{
		Protocol:           checkProtocols[m.GetProtocol()],
		Interval:           durationOr(m.GetInterval(), 30*time.Second),
		Timeout:            durationOr(m.GetTimeout(), 10*time.Second),
		HealthyThreshold:   int(cmp.Or(m.GetHealthyThreshold(), 5)),
		UnhealthyThreshold: int(cmp.Or(m.GetUnhealthyThreshold(), 2)),
	}
	if m.GetPort() != 0 {
		port, err := parsePort(m.GetPort())
		if err != nil {
			return check, err
		}
		check.Port = port
	}
	return check, checkRequest(&check, m)
}

func durationOr(d *durationpb.Duration, unset time.Duration) time.Duration {
	if d == nil {
		return unset
	}
	return d.AsDuration()
}

func (c *compiler) loadBalancers() {
	listeners := c.listeners()
	each(c, c.in.loadBalancers, func(name string, m *pb.LoadBalancer) error {
		d, err := c.domain(m.GetVpc())
		if err != nil {
			return err
		}
		lb := spec.LoadBalancer{Name: name, Domain: d.Name, Listeners: listeners[name]}
		zones := map[string]bool{}
		for _, node := range m.GetNodes() {
			zone := node.GetAvailabilityZone()
			if !c.served[zone] {
				continue
			}
			addr, err := d.takeOwn(node.GetIpAddress(), name)
			switch {
			case err != nil:
				return fmt.Errorf("node in %q: %w", zone, err)
			case zones[zone]:
				return fmt.Errorf("two nodes in %q", zone)
			}
			zones[zone] = true
			in, err := c.subnetAt(d, addr)
			if err != nil {
				return fmt.Errorf("node in %q: %w", zone, err)
			}
			compiled := spec.Node{Zone: zone, Address: addr, Subnet: in}
			for _, text := range node.GetSecondaryIpAddresses() {
				secondary, err := d.takeOwn(text, name)
				if err != nil {
					return fmt.Errorf("node in %q: %w", zone, err)
				}
				compiled.Secondary = append(compiled.Secondary, secondary)
			}
			lb.Nodes = append(lb.Nodes, compiled)
		}
		if len(lb.Nodes) == 0 {
			return errors.New("no gateway serves one of its availability zones")
		}
		slices.SortFunc(lb.Nodes, func(a, b spec.Node) int { return cmp.Compare(a.Zone, b.Zone) })
		c.balancers[name] = true
		c.out.spec.LoadBalancers = append(c.out.spec.LoadBalancers, lb)
		return nil
	})
}

// listeners gives the listeners of each load balancer in the order of their ports.
func (c *compiler) listeners() map[string][]spec.Listener {
	of := map[string][]spec.Listener{}
	certificates := c.certificates()
	each(c, c.in.listeners, func(name string, m *pb.Listener) error {
		port, err := parsePort(m.GetPort())
		if err != nil {
			return err
		}
		idle := durationOr(m.GetIdleTimeout(), defaultIdleTimeout)
		lb := resource.Parent(name)
		switch {
		case idle < spec.MinIdleTimeout || idle > spec.MaxIdleTimeout:
			return fmt.Errorf("idle_timeout %v is out of range", idle)
		case c.groups[m.GetTargetGroup()] == "":
			return fmt.Errorf("target group %q is not in force", m.GetTargetGroup())
		case slices.ContainsFunc(of[lb], func(l spec.Listener) bool { return l.Port == port }):
			return fmt.Errorf("port %d has another listener", port)
		}
		listener := spec.Listener{Port: port, Protocol: spec.TCP, TargetGroup: m.GetTargetGroup(), IdleTimeout: idle}
		switch m.GetProtocol() {
		case pb.Listener_TCP:
		case pb.Listener_TLS:
			listener.Protocol = spec.TLS
			if listener.TLS, err = certificates.listener(m); err != nil {
				return err
			}
		default:
			return fmt.Errorf("protocol %v is not known", m.GetProtocol())
		}
		of[lb] = append(of[lb], listener)
		return nil
	})
	for _, l := range of {
		slices.SortFunc(l, func(a, b spec.Listener) int { return cmp.Compare(a.Port, b.Port) })
	}
	c.out.spec.Certificates = certificates.shown()
	return of
}

func (c *compiler) endpointServices() {
	each(c, c.in.endpointServices, func(name string, m *pb.EndpointService) error {
		s := &service{name: name, uid: m.GetUid(), names: resource.ServiceNames(m)}
		for _, lb := range m.GetLoadBalancers() {
			if !c.balancers[lb] {
				return fmt.Errorf("load balancer %q is not in force", lb)
			}
			s.balancers = append(s.balancers, lb)
		}
		if len(s.balancers) == 0 {
			return errors.New("it has no load balancer")
		}
		c.services[name], c.services[m.GetUid()] = s, s
		return nil
	})
}
