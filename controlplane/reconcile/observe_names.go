package reconcile

import (
	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

// observeNames says which names of an endpoint are answered in its own VPC, and why others are not.
func (r *Reconciler) observeNames(m *pb.Endpoint, c condition) {
	applied := r.view.Load().applied
	vpc := resource.Parent(m.GetName())
	for _, entry := range m.GetDnsEntries() {
		entry.Published, entry.StateMessage = false, ""
		if applied == nil || c.state == statePending || decided(m.GetState()) {
			entry.StateMessage = "the endpoint is not in force"
			continue
		}
		answered, ok := applied.names[nameIn{vpc, entry.GetDnsName()}]
		switch {
		case ok && answered.Endpoint == m.GetName() && !answered.Probed:
			entry.Published = true
		case ok && answered.Endpoint == m.GetName():
			entry.Published, entry.StateMessage = r.probed(nameIn{vpc, entry.GetDnsName()})
		case ok:
			entry.StateMessage = "the name is answered for another endpoint"
		case entry.GetKind() == pb.DnsEntry_ZONAL:
			entry.StateMessage = "no gateway serves the zone"
		case entry.GetKind() == pb.DnsEntry_PRIVATE:
			entry.StateMessage = "the service does not have the name any more"
		default:
			entry.StateMessage = "the endpoint is not in force"
		}
	}
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
