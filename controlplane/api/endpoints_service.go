package api

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// consumed finds the service that an endpoint names: by its public name, resource name or uid. It
// must be of the endpoint's own account; another's is absent, and said to be so in the same words.
// The transaction fails unless the service stays as it is.
func (c *change) consumed(ctx context.Context, text string) (*pb.EndpointService, error) {
	kind := resource.EndpointServices
	name, err := c.serviceByAnyName(ctx, c.caller, c.path("service_name"), text)
	if err != nil {
		return nil, err
	}
	v, err := kind.Get(ctx, c.store, name)
	absent := errors.Is(err, store.ErrNotFound)
	switch {
	case err != nil && !absent:
		return nil, err
	case absent, resource.Account(name) != resource.Account(c.name),
		strings.HasPrefix(text, servicePrefix) && v.Value.GetServiceName() != text:
		return nil, notFound(kind.Info, text)
	case resource.Deleting(v.Value):
		return nil, beingDeleted(kind.Info, text)
	}
	kind.Require(c.tx, name, v.Revision)
	return v.Value, nil
}

// serviceByAnyName gives the resource name that a text stands for.
func (k *kernel) serviceByAnyName(ctx context.Context, who Caller, field, text string) (string, error) {
	kind := resource.EndpointServices.Info
	public, ok := strings.CutPrefix(text, servicePrefix)
	if !ok {
		return k.resolve(ctx, who, kind, field, text, false)
	}
	_, uid, _ := strings.Cut(public, ".")
	if !resource.IsUID(uid) {
		return "", notFound(kind, text)
	}
	claim, err := k.store.ClaimOwner(ctx, resource.ClaimUID, uid)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return "", notFound(kind, text)
	case err != nil:
		return "", err
	case !kind.Match(claim.Owner):
		return "", notFound(kind, text)
	}
	return claim.Owner, nil
}

// publicName spells a reference to a service as endpoints keep it. What names no service stays as it
// is: whether it matters is for the update to find.
func (k *kernel) publicName(ctx context.Context, text *string) error {
	who, err := caller(ctx)
	if err != nil || *text == "" || strings.HasPrefix(*text, servicePrefix) {
		return err
	}
	service, err := find(ctx, k, who, resource.EndpointServices, "endpoint.service_name", *text)
	switch status.Code(err) {
	case codes.OK:
		*text = service.Value.GetServiceName()
		return nil
	case codes.NotFound, codes.InvalidArgument:
		return nil
	}
	return err
}
