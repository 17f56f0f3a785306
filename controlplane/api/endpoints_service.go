package api

import (
	"context"
	"errors"
	"regexp"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// serviceNamePattern is what public names of services look like.
var serviceNamePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$`)

const longestServiceName = 128

func isServiceName(text string) bool {
	return len(text) <= longestServiceName && serviceNamePattern.MatchString(text)
}

// consumed finds the service that a new endpoint names: by its public name, resource name or uid. One
// that the endpoint's account may not use is absent, and said to be so in the same words. The
// transaction fails unless all that stays as it is.
func (c *change) consumed(ctx context.Context, text string) (*pb.EndpointService, error) {
	kind := resource.EndpointServices
	name, err := c.serviceByAnyName(ctx, c.caller, c.path("service_name"), text)
	if err != nil {
		return nil, err
	}
	v, err := kind.Get(ctx, c.store, name)
	if errors.Is(err, store.ErrNotFound) {
		return nil, notFound(kind.Info, text)
	}
	if err != nil {
		return nil, err
	}
	switch may, err := c.mayUse(ctx, v.Value, resource.Account(c.name)); {
	case err != nil:
		return nil, err
	case !may:
		return nil, notFound(kind.Info, text)
	case resource.Deleting(v.Value):
		return nil, beingDeleted(kind.Info, text)
	}
	kind.Require(c.tx, name, v.Revision)
	return v.Value, nil
}

// serviceByAnyName gives the resource name that a text stands for, of whatever account. Whether the
// caller may know of the service is for others to say.
func (k *kernel) serviceByAnyName(ctx context.Context, who Caller, field, text string) (string, error) {
	kind := resource.EndpointServices.Info
	public := !strings.Contains(text, "/") && strings.Contains(text, ".") || strings.HasPrefix(text, servicePrefix)
	switch {
	case !public:
		return k.resolve(ctx, who, kind, field, text, true)
	case !isServiceName(text):
		return "", notFound(kind, text)
	}
	claim, err := k.store.ClaimOwner(ctx, resource.ClaimServiceName, text)
	if errors.Is(err, store.ErrNotFound) {
		return kind.Absent(), nil // see [kernel.resolve]
	}
	return claim.Owner, err
}

// provided reads the service of an endpoint that has one already, whether or not its account could
// still choose it; nil if it is gone or being deleted. The transaction fails unless it stays as it is.
func (c *change) provided(ctx context.Context, endpoint *pb.Endpoint) (*pb.EndpointService, error) {
	v, err := c.serviceOf(ctx, endpoint)
	if err != nil || v.Value == nil || resource.Deleting(v.Value) {
		return nil, err
	}
	resource.EndpointServices.Require(c.tx, v.Name, v.Revision)
	return v.Value, nil
}

// serviceOf reads the service of an endpoint or a subscription; the value is nil if it is gone.
func (k *kernel) serviceOf(ctx context.Context, user interface{ GetServiceUid() string }) (v store.Versioned[*pb.EndpointService], err error) {
	claim, err := k.store.ClaimOwner(ctx, resource.ClaimUID, user.GetServiceUid())
	if err == nil {
		v, err = resource.EndpointServices.Get(ctx, k.store, claim.Owner)
	}
	if errors.Is(err, store.ErrNotFound) {
		return v, nil
	}
	return v, err
}

// spellService spells a reference to the service that an endpoint has as endpoints keep it, so that
// it is no change. Any other stays as it is and will be found to be one.
func (k *kernel) spellService(ctx context.Context, e *pb.Endpoint) error {
	who, err := caller(ctx)
	if err != nil || e.GetServiceName() == "" {
		return err
	}
	held, err := find(ctx, k, who, resource.Endpoints, "endpoint.name", e.GetName())
	switch status.Code(err) {
	case codes.OK:
	case codes.NotFound, codes.InvalidArgument:
		return nil // the update will say so
	default:
		return err
	}
	service, err := k.serviceOf(ctx, held.Value)
	if err != nil {
		return err
	}
	if text := e.GetServiceName(); text == held.Value.GetServiceUid() || qualify(who, text) == service.Name {
		e.ServiceName = held.Value.GetServiceName()
	}
	return nil
}
