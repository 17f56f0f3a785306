package reconcile

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"causeway/controlplane/resource"
	"causeway/gateway/spec"
	pb "causeway/proto/causeway/v1"
)

func (c *compiler) endpoints() {
	each(c, c.in.endpoints, func(name string, m *pb.Endpoint) error {
		revocation, served, err := revocation(m)
		if !served || err != nil {
			return err
		}
		d, err := c.domain(resource.Parent(name))
		if err != nil {
			return err
		}
		s, err := c.service(m)
		if err != nil {
			return err
		}
		bandwidth, err := bandwidth(m.GetBandwidth())
		if err != nil {
			return err
		}
		// Without its groups or its policy an endpoint would be open to all.
		groups, err := c.join(d.Name, m.GetSecurityGroups())
		if err != nil {
			return err
		}
		if m.GetPolicy() != "" {
			if err := c.opts.policies.check(m.GetPolicy()); err != nil {
				return err
			}
		}
		e := spec.Endpoint{
			Name: name, UID: m.GetUid(), Service: s.name, ServiceUID: s.uid, Region: d.region, LoadBalancers: s.balancers,
			CrossZone: m.GetCrossZone(), Revocation: revocation, Bandwidth: bandwidth,
			SecurityGroups: groups, Policy: m.GetPolicy(), PolicyDryRun: m.GetPolicyDryRun(),
		}
		if err := c.interfaces(d, &e, m); err != nil {
			return err
		}
		c.expose(d, e)
		if revocation == nil {
			c.named(d, &e, m, s)
		}
		return nil
	})
}

// revocation says whether the gateway has anything to do for an endpoint, and what becomes of its live
// connections if it may no longer be used.
func revocation(m *pb.Endpoint) (r *spec.Revocation, served bool, err error) {
	switch m.GetState() {
	case pb.Endpoint_PENDING_ACCEPTANCE, pb.Endpoint_EXPIRED:
		return nil, false, nil
	case pb.Endpoint_REJECTED:
		end := m.GetDisconnectTime()
		if end == nil {
			return &spec.Revocation{Keep: true}, m.GetAcceptTime() != nil, nil
		}
		if err := end.CheckValid(); err != nil {
			return nil, false, fmt.Errorf("disconnect_time: %w", err)
		}
		return &spec.Revocation{Deadline: end.AsTime()}, true, nil
	}
	return nil, true, nil
}

// service finds the service of an endpoint. A rejected one may have outlived it.
func (c *compiler) service(m *pb.Endpoint) (*service, error) {
	text := m.GetServiceName()
	if s, ok := c.services[m.GetServiceUid()]; ok {
		return s, nil
	}
	if s, ok := c.services[text[strings.LastIndexByte(text, '.')+1:]]; ok {
		return s, nil
	}
	if m.GetState() == pb.Endpoint_REJECTED {
		return &service{name: text, uid: m.GetServiceUid()}, nil
	}
	return nil, fmt.Errorf("endpoint service %q is not in force", text)
}

// interfaces adds to an endpoint those of its network interfaces that are in zones of the gateway.
func (c *compiler) interfaces(d *domain, e *spec.Endpoint, m *pb.Endpoint) error {
	for _, ni := range m.GetNetworkInterfaces() {
		if !c.served[ni.GetAvailabilityZone()] {
			continue
		}
		if !validUID(ni.GetUid()) || c.interfaceUIDs[ni.GetUid()] {
			return fmt.Errorf("network interface %q: uid is invalid or taken", ni.GetUid())
		}
		addr, err := d.takeOwn(ni.GetIpAddress(), e.Name)
		if err != nil {
			return fmt.Errorf("network interface %q: %w", ni.GetUid(), err)
		}
		in, err := c.subnetAt(d, addr)
		if err != nil {
			return fmt.Errorf("network interface %q: %w", ni.GetUid(), err)
		}
		c.interfaceUIDs[ni.GetUid()] = true
		e.Interfaces = append(e.Interfaces, spec.NetworkInterface{
			UID: ni.GetUid(), Zone: ni.GetAvailabilityZone(), Address: addr, Subnet: in,
		})
	}
	if len(e.Interfaces) == 0 {
		return errors.New("no gateway serves one of its availability zones")
	}
	return nil
}

// expose adds an endpoint to the spec, seen in its own VPC.
func (c *compiler) expose(d *domain, e spec.Endpoint) {
	slices.SortFunc(e.Interfaces, func(a, b spec.NetworkInterface) int { return cmp.Compare(a.UID, b.UID) })
	c.out.spec.Endpoints = append(c.out.spec.Endpoints, e)
	for _, ni := range e.Interfaces {
		d.Exposures = append(d.Exposures, spec.Exposure{Interface: ni.UID, Tunnels: true})
		d.own = append(d.own, ni)
	}
}

const megabit = 1_000_000

// Bounds of a zone budget that are not given, in Mbit/s.
const (
	defaultBaseline = 10_000
	defaultMaximum  = 40_000
)

func bandwidth(m *pb.Bandwidth) (spec.Bandwidth, error) {
	bandwidth := spec.Bandwidth{
		BaselineBPS: megabit * int64(cmp.Or(m.GetBaselineMbps(), defaultBaseline)),
		MaximumBPS:  megabit * int64(cmp.Or(m.GetMaximumMbps(), max(defaultMaximum, m.GetBaselineMbps()))),
	}
	if bandwidth.BaselineBPS < spec.MinBandwidthBPS || bandwidth.MaximumBPS < bandwidth.BaselineBPS ||
		bandwidth.MaximumBPS > spec.MaxBandwidthBPS {
		return bandwidth, fmt.Errorf("bandwidth of %d to %d Mbit/s is no range that can be served", m.GetBaselineMbps(), m.GetMaximumMbps())
	}
	return bandwidth, nil
}
