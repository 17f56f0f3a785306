package reconcile

import (
	"causeway/controlplane/resource"
	"causeway/gateway/spec"
	pb "causeway/proto/causeway/v1"
)

// observeNames says which names of an endpoint are answered in its own VPC, and why others are not.
func (r *Reconciler) observeNames(m *pb.Endpoint, c condition) {
	var names map[nameIn]spec.DNSName
	if applied := r.view.Load().applied; applied != nil {
		names = applied.names
	}
	vpc := resource.Parent(m.GetName())
	for _, entry := range m.GetDnsEntries() {
		at := nameIn{vpc, entry.GetDnsName()}
		answered, ok := names[at]
		entry.Published, entry.StateMessage = false, ""
		switch {
		case ok && answered.Endpoint == m.GetName() && !answered.Probed:
			entry.Published = true
		case ok && answered.Endpoint == m.GetName():
			entry.Published, entry.StateMessage = r.probed(at)
		case ok:
			entry.StateMessage = "the name is answered for another endpoint"
		default:
			entry.StateMessage = whyUnanswered(entry.GetKind(), c.state == stateAvailable && !decided(m.GetState()))
		}
	}
}

// whyUnanswered says why no name of a kind is in the spec of an endpoint that is in force, or is not.
func whyUnanswered(kind pb.DnsEntry_Kind, inForce bool) string {
	switch {
	case inForce && kind == pb.DnsEntry_ZONAL:
		return "no gateway serves the zone"
	case inForce && kind == pb.DnsEntry_PRIVATE:
		return "the service does not have the name any more"
	}
	return "the endpoint is not in force"
}

// probed says whether the gateway answers a name that wants a probe first.
func (r *Reconciler) probed(name nameIn) (published bool, why string) {
	status := r.current().names[name]
	switch {
	case status == nil:
		return false, "the name waits for a connection through the endpoint to succeed"
	case !status.Serving:
		return false, status.Reason
	}
	return true, ""
}
