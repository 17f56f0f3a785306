package reconcile

import (
	"cmp"
	"context"
	"net/netip"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	"causeway/gateway/spec"
	pb "causeway/proto/causeway/v1"
)

// The states of the resources that live on a gateway. Peerings have their own, see observePeering.
const (
	statePending   protoreflect.Name = "PENDING"
	stateAvailable protoreflect.Name = "AVAILABLE"
	stateFailed    protoreflect.Name = "FAILED"
)

// condition is where a resource is in its life, with a message if there is something to say.
type condition struct {
	state   protoreflect.Name
	message string
}

// Observe adds to a resource what is known of it in force: its state, and what its kind shows of the
// gateway. It implements api.Observer.
func (r *Reconciler) Observe(_ context.Context, m proto.Message) {
	res, ok := m.(resource.Message)
	if !ok || resource.Deleting(res) {
		return
	}
	if peering, ok := m.(*pb.Peering); ok {
		r.observePeering(peering)
		return
	}
	c := r.condition(res)
	switch m := m.(type) {
	case *pb.Certificate:
		m.StateMessage = cmp.Or(c.message, r.validity(m))
	case *pb.Attachment:
		c = r.observeAttachment(m, c)
	case *pb.VpnConnection:
		c = r.observeVpnConnection(m, c)
	case *pb.Endpoint:
		r.observeNames(m, c)
		if c = r.observeEndpoint(m, c); decided(m.GetState()) {
			return
		}
	}
	setCondition(m, c)
}

// condition compares what a reader has with what is in force.
func (r *Reconciler) condition(m resource.Message) condition {
	v := r.view.Load()
	if v.latest == nil {
		return condition{state: statePending}
	}
	// A resource without an etag is taken for one that is long known.
	revision, err := store.ParseEtag(m.GetEtag())
	if err != nil {
		revision = 0
	}
	if problem := v.latest.objects[m.GetName()]; problem != "" && revision <= v.latest.revision {
		return condition{state: stateFailed, message: problem}
	}
	if v.applied != nil && revision <= v.applied.revision {
		if _, known := v.applied.objects[m.GetName()]; known {
			return condition{state: stateAvailable}
		}
	}
	if refused := r.current().status.Refused; refused != nil {
		return condition{state: statePending, message: "the gateway refuses the newest spec: " + refused.Reason}
	}
	return condition{state: statePending}
}

// setCondition sets the state of a message whose kind has one.
func setCondition(m proto.Message, c condition) {
	r := m.ProtoReflect()
	fields := r.Descriptor().Fields()
	state, message := fields.ByName("state"), fields.ByName("state_message")
	if state == nil || message == nil {
		return
	}
	if value := state.Enum().Values().ByName(c.state); value != nil {
		r.Set(state, protoreflect.ValueOfEnum(value.Number()))
		r.Set(message, protoreflect.ValueOfString(c.message))
	}
}

// observePeering shows an accepted peering that cannot be served as failed. Otherwise the stored
// state is the true one.
func (r *Reconciler) observePeering(m *pb.Peering) {
	if m.GetState() != pb.Peering_ACTIVE {
		return
	}
	if c := r.condition(m); c.state == stateFailed {
		setCondition(m, c)
	}
}

// expiryNotice is how long before its end a certificate says so.
const expiryNotice = 30 * 24 * time.Hour

// validity says what a certificate's time of validity has people do; "" for nothing.
func (r *Reconciler) validity(m *pb.Certificate) string {
	now, from, until := r.cfg.Now(), m.GetNotBeforeTime().AsTime(), m.GetNotAfterTime().AsTime()
	switch {
	case now.Before(from):
		return "not valid before " + from.Format(time.RFC3339)
	case now.After(until):
		return "expired at " + until.Format(time.RFC3339) + "; listeners go on showing it"
	case now.Add(expiryNotice).After(until):
		return "expires at " + until.Format(time.RFC3339)
	}
	return ""
}

func (r *Reconciler) observeAttachment(m *pb.Attachment, c condition) condition {
	gateway, c := r.gatewayFor(m.GetName(), c)
	m.Gateway = gateway
	if peer := r.current().peers[m.GetName()]; peer != nil {
		m.LastHandshakeTime = timestamp(peer.LastHandshake)
	}
	return c
}

func (r *Reconciler) observeVpnConnection(m *pb.VpnConnection, c condition) condition {
	worst := c
	for i, t := range m.GetTunnels() {
		t.Name = tunnelName(m.GetName(), i)
		var tunnel condition
		if t.Gateway, tunnel = r.gatewayFor(t.GetName(), c); tunnel.state != stateAvailable {
			worst = tunnel
		}
		if peer := r.current().peers[t.GetName()]; peer != nil {
			t.LastHandshakeTime = timestamp(peer.LastHandshake)
			t.PeerEndpoint = addrPort(peer.Endpoint)
			t.ReceivedBytes, t.TransmittedBytes = peer.ReceivedBytes, peer.TransmittedBytes
		}
	}
	return worst
}

// gatewayFor gives what the client of a peer needs to know, and the condition c of the peer's
// resource with that of its tunnel endpoint taken into account.
func (r *Reconciler) gatewayFor(peer string, c condition) (*pb.WireGuardGateway, condition) {
	applied := r.view.Load().applied
	if applied == nil || c.state != stateAvailable {
		return nil, c
	}
	at := applied.peers[peer]
	te := r.current().tunnelEndpoints[at.tunnelEndpoint]
	if te == nil {
		return nil, condition{state: statePending}
	}
	if !te.Serving {
		c = condition{state: stateFailed, message: te.Reason}
	}
	gateway := &pb.WireGuardGateway{Endpoint: te.Endpoint, DnsServer: at.dnsServer}
	if te.PublicKey != (spec.Key{}) {
		gateway.PublicKey = te.PublicKey.String()
	}
	for _, route := range at.routes {
		gateway.AllowedIps = append(gateway.AllowedIps, route.String())
	}
	return gateway, c
}

// timestamp gives nil for the zero time: nothing has happened yet.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func addrPort(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
