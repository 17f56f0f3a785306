// Package api implements the gRPC services of causeway.v1, one file each, over the typed store.
//
// A handler checks the request, calls the kernel, maps the error and returns. The kernel holds what
// all resources share: names and uids, the standard methods of the AIPs with etags, request ids,
// field masks and paging, and the rule that another account's resources do not exist. What a kind of
// resource is and claims stands in package resource.
//
// Only durable facts are stored. Whether something is in force is derived when it is read, by the
// [Observer]. A resource that lives on a gateway is deleted in two steps: here its state becomes
// DELETING; reconcile removes it once the gateway has let go of it.
package api

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"causeway/controlplane/dnsname"
	"causeway/controlplane/notify"
	"causeway/controlplane/proof"
	"causeway/controlplane/secret"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// Observer adds to a resource what only the gateways know: whether it is in force, tunnel endpoints
// to send to, handshakes, use of budgets. It is called from many goroutines with a message that
// nobody else holds, and must not block. The state of a message it knows nothing of stays as it is,
// PENDING.
type Observer interface {
	Observe(ctx context.Context, m proto.Message)
}

// GatewayStatus gives the gateways as they report themselves. Safe for concurrent use.
type GatewayStatus interface {
	// Gateways gives all of them, in the order of their names. The caller may change the messages.
	Gateways(ctx context.Context) []*pb.Gateway
}

// Zone is an availability zone that a gateway of this installation serves.
type Zone struct{ Region, Name string }

// Config is what the services work with. Store, Zones, Observer and Secrets are required.
type Config struct {
	Store *store.Store
	// Zones are those in which subnets can be made.
	Zones    []Zone
	Observer Observer
	// Gateways may be nil: then there are none.
	Gateways GatewayStatus
	// Flows may be nil: then there are none.
	Flows Flows
	// Explainer may be nil: then nothing is explained.
	Explainer Explainer
	// Secrets seals what nobody may read in the store. Required.
	Secrets *secret.Box
	// DNSSuffix ends the names of endpoints; empty is [dnsname.DefaultSuffix].
	DNSSuffix string
	// TXT looks for the records that prove the ownership of private DNS names; nil is the host's resolver.
	TXT proof.Resolver
	// Receivers says which addresses the receivers of notifications may have; nil is public ones only.
	Receivers *notify.Guard
	// Now replaces time.Now if it is not nil.
	Now func() time.Time
	// Random replaces crypto/rand if it is not nil. Uids and secrets come from it.
	Random io.Reader
}

// API is the set of services. It has no goroutines; its methods are safe for concurrent use.
type API struct {
	kernel    *kernel
	flows     Flows
	explainer Explainer
}

// kernel is what the services share.
type kernel struct {
	store     *store.Store
	zones     []Zone
	observer  Observer
	gateways  GatewayStatus
	secrets   *secret.Box
	receivers *notify.Guard
	now       func() time.Time
	random    io.Reader
	validator protovalidate.Validator
	turns     *turns
	dnsSuffix string
	txt       proof.Resolver
}

// New makes the services.
func New(cfg Config) (*API, error) {
	switch {
	case cfg.Store == nil || cfg.Observer == nil || cfg.Secrets == nil:
		return nil, errors.New("make api: no store, observer or key of secrets")
	case len(cfg.Zones) == 0:
		return nil, errors.New("make api: no zones")
	}
	validator, err := protovalidate.New()
	if err != nil {
		return nil, fmt.Errorf("make api: %w", err)
	}
	k := &kernel{
		store:     cfg.Store,
		zones:     cfg.Zones,
		observer:  cfg.Observer,
		gateways:  cfg.Gateways,
		secrets:   cfg.Secrets,
		receivers: cfg.Receivers,
		now:       cfg.Now,
		random:    cfg.Random,
		validator: validator,
		turns:     &turns{},
		dnsSuffix: cmp.Or(cfg.DNSSuffix, dnsname.DefaultSuffix),
		txt:       cfg.TXT,
	}
	if k.txt == nil {
		k.txt = net.DefaultResolver
	}
	if k.now == nil {
		k.now = time.Now
	}
	if k.receivers == nil {
		k.receivers = notify.NewGuard(nil)
	}
	if k.random == nil {
		k.random = rand.Reader
	}
	return &API{kernel: k, flows: cfg.Flows, explainer: cfg.Explainer}, nil
}

// Register makes a gRPC server serve the services. Its interceptors must have put a [Caller] in the
// context and checked the request with [API.CheckRequest].
func (a *API) Register(s grpc.ServiceRegistrar) {
	pb.RegisterAccountsServer(s, &accounts{kernel: a.kernel})
	pb.RegisterVpcsServer(s, &vpcs{kernel: a.kernel})
	pb.RegisterPeeringsServer(s, &peerings{kernel: a.kernel})
	pb.RegisterVpnConnectionsServer(s, &vpnConnections{kernel: a.kernel})
	pb.RegisterGatewaysServer(s, &gateways{kernel: a.kernel})
	pb.RegisterDiagnosticsServer(s, &diagnostics{kernel: a.kernel, flows: a.flows, explainer: a.explainer})
	a.registerServices(s)
}
