package api

import (
	"context"
	"errors"

	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// listing is what every account is shown of a service of the marketplace.
func listing(service *pb.EndpointService) *pb.Listing {
	return &pb.Listing{
		ServiceName: service.GetServiceName(),
		Provider:    resource.AccountName(resource.Account(service.GetName())),
		Listing:     service.GetListing(), Region: service.GetRegion(), AvailabilityZones: service.GetAvailabilityZones(),
	}
}

func listed(service *pb.EndpointService) bool {
	return service.GetOffering() == pb.EndpointService_MARKETPLACE && !resource.Deleting(service)
}

// ListListings pages over the claims of the services of the marketplace, of all accounts.
func (s *endpointServices) ListListings(ctx context.Context, req *pb.ListListingsRequest) (*pb.ListListingsResponse, error) {
	if _, err := caller(ctx); err != nil {
		return nil, err
	}
	resp := &pb.ListListingsResponse{}
	var err error
	resp.NextPageToken, err = pageClaims(ctx, s.kernel, resource.ClaimListing, "", req.GetPageSize(), req.GetPageToken(),
		func(claim store.Claim) (bool, error) {
			v, err := resource.EndpointServices.Get(ctx, s.store, claim.Owner)
			if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrCorrupt) || err == nil && !listed(v.Value) {
				return false, nil
			}
			if err != nil {
				return false, err
			}
			resp.Listings = append(resp.Listings, listing(v.Value))
			return true, nil
		})
	return resp, err
}

// GetListing shows a service of the marketplace to any account.
func (s *endpointServices) GetListing(ctx context.Context, req *pb.GetListingRequest) (*pb.Listing, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	service, err := s.findListed(ctx, who, "name", req.GetName())
	if err != nil {
		return nil, err
	}
	return listing(service.Value), nil
}

// findListed reads a service of the marketplace, of whatever account. Others are absent.
func (k *kernel) findListed(ctx context.Context, who Caller, field, text string) (v store.Versioned[*pb.EndpointService], err error) {
	name, err := k.serviceByAnyName(ctx, who, field, text)
	if err != nil {
		return v, err
	}
	v, err = resource.EndpointServices.Get(ctx, k.store, name)
	if errors.Is(err, store.ErrNotFound) || err == nil && !listed(v.Value) {
		return v, notFound(resource.EndpointServices.Info, text)
	}
	return v, err
}
