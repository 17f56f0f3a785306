package reconcile

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"causeway/controlplane/store"
	"causeway/gateway/spec"
	pb "causeway/proto/causeway/v1"
)

// peerings adds to each side of every active peering the exposures of the other side's own
// endpoints, and only those: what a VPC sees over one peering it does not show over another. Older
// peerings come first, so that a later one, if it cannot stand beside them, never takes their place.
func (c *compiler) peerings() {
	ordered := slices.Clone(c.in.peerings)
	slices.SortStableFunc(ordered, func(a, b store.Versioned[*pb.Peering]) int {
		return cmp.Compare(a.CreateRevision, b.CreateRevision)
	})
	each(c, ordered, func(name string, m *pb.Peering) error {
		if m.GetState() != pb.Peering_ACTIVE {
			return nil
		}
		near, err := c.domain(m.GetVpc())
		if err != nil {
			return err
		}
		far, err := c.domain(m.GetPeerVpc())
		if err != nil {
			return err
		}
		if err := near.admits(far); err != nil {
			return err
		}
		if err := far.admits(near); err != nil {
			return err
		}
		names := m.GetDnsResolution() == pb.Peering_ALLOWED && m.GetPeerDnsResolution() == pb.Peering_ALLOWED
		far.see(near, name, m.GetTunnelAccess() != pb.Peering_DENIED, names)
		near.see(far, name, m.GetPeerTunnelAccess() != pb.Peering_DENIED, names)
		return nil
	})
}

// admits tells why another domain's addresses cannot be shown in this one: they would be those of the
// VPC itself or of another peer.
func (d *domain) admits(other *domain) error {
	if d == other || d.prefix.Overlaps(other.prefix) {
		return fmt.Errorf("%v of %q overlaps %v of %q", other.prefix, other.Name, d.prefix, d.Name)
	}
	for _, peer := range d.peers {
		if peer.prefix.Overlaps(other.prefix) {
			return fmt.Errorf("%v of %q overlaps %v, which %q sees over another peering", other.prefix, other.Name, peer.prefix, d.Name)
		}
	}
	return nil
}

// see shows the other domain's own interfaces here, with their names.
func (d *domain) see(other *domain, via string, tunnels, names bool) {
	d.peers = append(d.peers, peerDomain{domain: other, tunnels: tunnels, names: names})
	for _, ni := range other.own {
		d.Exposures = append(d.Exposures, spec.Exposure{Interface: ni.UID, Via: via, Tunnels: tunnels})
	}
}

// sees says whether another domain's interfaces are shown here.
func (d *domain) sees(other string) bool {
	return slices.ContainsFunc(d.peers, func(p peerDomain) bool { return p.Name == other })
}

// routes gives what a peer of the domain sends into its tunnel: the VPC and the peered VPCs whose
// exposures it may use.
func (d *domain) routes(kind spec.PeerKind) []netip.Prefix {
	routes := []netip.Prefix{d.prefix}
	for _, peer := range d.peers {
		if kind == spec.Attachment || peer.tunnels {
			routes = append(routes, peer.prefix)
		}
	}
	slices.SortFunc(routes, netip.Prefix.Compare)
	return routes
}
