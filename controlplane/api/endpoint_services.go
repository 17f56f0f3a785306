package api

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/emptypb"

	"causeway/controlplane/apierr"
	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// servicePrefix begins the public names of endpoint services: com.causeway.vpce.{region}.{uid}.
const servicePrefix = "com.causeway.vpce."

// Reasons of FAILED_PRECONDITION.
const (
	reasonExistingConnections = "EXISTING_VPC_ENDPOINT_CONNECTIONS"
	reasonZoneInUse           = "ZONE_IN_USE"
	reasonZoneMissing         = "ZONE_MISSING"
)

type endpointServices struct {
	*kernel
	pb.UnsafeEndpointServicesServer
}

func (s *endpointServices) GetEndpointService(ctx context.Context, req *pb.GetEndpointServiceRequest) (*pb.EndpointService, error) {
	return get(ctx, s.kernel, resource.EndpointServices, req.GetName())
}

func (s *endpointServices) ListEndpointServices(ctx context.Context, req *pb.ListEndpointServicesRequest) (*pb.ListEndpointServicesResponse, error) {
	items, next, err := list(ctx, s.kernel, resource.EndpointServices, req.GetParent(), req.GetPageSize(), req.GetPageToken())
	return &pb.ListEndpointServicesResponse{EndpointServices: items, NextPageToken: next}, err
}

func (s *endpointServices) CreateEndpointService(ctx context.Context, req *pb.CreateEndpointServiceRequest) (*pb.EndpointService, error) {
	return create(ctx, s.kernel, resource.EndpointServices, creation[*pb.EndpointService]{
		request: req, parent: req.GetParent(), id: req.GetEndpointServiceId(), requestID: req.GetRequestId(),
		field: "endpoint_service", value: req.GetEndpointService(), prepare: prepareEndpointService,
	})
}

func prepareEndpointService(ctx context.Context, c *change, service *pb.EndpointService) error {
	service.State = pb.EndpointService_PENDING
	if err := c.checkOffering(service); err != nil {
		return err
	}
	region, err := c.offer(ctx, service)
	if err != nil {
		return err
	}
	uid, err := c.uidAhead(resource.EndpointServices.Prefix)
	if err != nil {
		return err
	}
	if err := c.askProof(nil, service); err != nil {
		return err
	}
	service.Region, service.ServiceName = region, servicePrefix+region+"."+uid
	if service.GetOffering() == pb.EndpointService_PLATFORM {
		service.ServiceName = service.GetPlatformServiceName()
	}
	return nil
}

func (s *endpointServices) UpdateEndpointService(ctx context.Context, req *pb.UpdateEndpointServiceRequest) (*pb.EndpointService, error) {
	return update(ctx, s.kernel, resource.EndpointServices, alteration[*pb.EndpointService]{
		field: "endpoint_service", value: req.GetEndpointService(), mask: req.GetUpdateMask(),
		prepare: reviseEndpointService,
	})
}

// reviseEndpointService lets load balancers come and go within the service's region as long as no
// zone that endpoints use is lost.
func reviseEndpointService(ctx context.Context, c *change, before, after *pb.EndpointService) error {
	if err := c.checkOffering(after); err != nil {
		return err
	}
	region, err := c.offer(ctx, after)
	if err != nil {
		return err
	}
	if own := after.GetRegion(); region != own {
		c.wrong.Add(c.path("load_balancers"), "lie in region %s; the service stays in %s", region, own)
		return errViolations
	}
	if err := c.askProof(before, after); err != nil {
		return err
	}
	lost := slices.DeleteFunc(slices.Clone(before.GetAvailabilityZones()), func(zone string) bool {
		return slices.Contains(after.GetAvailabilityZones(), zone)
	})
	if len(lost) == 0 {
		return nil
	}
	return c.refuseLostZones(ctx, after, lost)
}

// refuseLostZones refuses to take away zones that endpoints need, of whatever account. Until the commit
// no endpoint comes to need one.
func (c *change) refuseLostZones(ctx context.Context, service *pb.EndpointService, lost []string) error {
	prefix := service.GetUid() + "/"
	claims, revision, err := c.store.Claims(ctx, resource.ClaimUse, prefix)
	if err != nil {
		return err
	}
	c.tx.RequireClaims(resource.ClaimUse, prefix, revision)
	var users []string
	for _, claim := range claims {
		uid, zones := resource.Use(claim.Key)
		if slices.ContainsFunc(zones, func(zone string) bool { return slices.Contains(lost, zone) }) {
			users = append(users, shownTo(c.name, claim.Owner, uid))
		}
	}
	if len(users) == 0 {
		return nil
	}
	return apierr.Precondition(reasonZoneInUse, resource.EndpointServices.Word, c.name,
		"would leave %s, where it is used by %s; keep a load balancer in each zone in use",
		strings.Join(lost, ", "), enumerate(slices.Sorted(slices.Values(users))))
}

// shownTo gives what the owner of a service is told an endpoint is called: its name, or the uid of
// another account's.
func shownTo(service, endpoint, uid string) string {
	if resource.Account(endpoint) == resource.Account(service) {
		return endpoint
	}
	return uid
}

// DeleteEndpointService refuses while endpoints use the service or wait for acceptance, and names
// them, unless it is to reject them first. The service's notifications go with it.
func (s *endpointServices) DeleteEndpointService(ctx context.Context, req *pb.DeleteEndpointServiceRequest) (*emptypb.Empty, error) {
	r, err := readRevocation(req.GetRevocation())
	switch {
	case err != nil:
		return nil, err
	case req.GetForce():
		err = s.rejectAll(ctx, req, r)
	case req.GetRevocation() != nil:
		err = apierr.Invalid("revocation", "is for a deletion with force only")
	}
	if err != nil {
		return nil, err
	}
	return removeWith(ctx, s.kernel, resource.EndpointServices, req.GetName(), req.GetEtag(),
		func(ctx context.Context, c *change, service store.Versioned[*pb.EndpointService], dependents []resource.Entry) error {
			endpoints := c.removeNotifications(dependents)
			if req.GetForce() {
				return c.rejectLate(ctx, service.Value, endpoints, r)
			}
			if len(endpoints) == 0 {
				return nil
			}
			blockers := make([]string, len(endpoints))
			for n, e := range endpoints {
				blockers[n] = shownTo(service.Name, e.Name, e.Message.GetUid())
			}
			return apierr.Precondition(reasonExistingConnections, resource.EndpointServices.Word, service.Name,
				"is in use; first delete or reject %s", enumerate(slices.Sorted(slices.Values(blockers))))
		})
}

// rejectAll rejects the endpoints of a service that is to be deleted.
func (s *endpointServices) rejectAll(ctx context.Context, req *pb.DeleteEndpointServiceRequest, r revocation) error {
	who, err := caller(ctx)
	if err != nil {
		return err
	}
	service, err := find(ctx, s.kernel, who, resource.EndpointServices, "name", req.GetName())
	switch {
	case err != nil:
		return err
	case stale(req.GetEtag(), service.Revision) && !resource.Deleting(service.Value):
		return apierr.EtagMismatch(resource.EndpointServices.Word, req.GetName())
	}
	return s.rejectEach(ctx, who, service.Name, r, func(*change, *pb.EndpointService, string) (bool, error) { return true, nil })
}

// rejectLate rejects, in the transaction of a deletion, the few endpoints that came after
// [endpointServices.rejectAll]. Nobody is notified: the notifications go in it, too.
func (c *change) rejectLate(ctx context.Context, service *pb.EndpointService, endpoints []resource.Entry, r revocation) error {
	for _, e := range endpoints {
		v := store.Versioned[*pb.Endpoint]{Name: e.Name, Value: e.Message.(*pb.Endpoint), Revision: e.Revision}
		if _, err := c.writeDecision(ctx, service, v, pb.Notification_EVENT_UNSPECIFIED, r.decide); err != nil {
			return err
		}
	}
	return nil
}

// enumerate names up to ten resources. The accounts of names are left out.
func enumerate(names []string) string {
	const most = 10
	var b strings.Builder
	for n, name := range names[:min(len(names), most)] {
		if n > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strings.TrimPrefix(name, resource.AccountName(resource.Account(name))+"/"))
	}
	if more := len(names) - most; more > 0 {
		fmt.Fprintf(&b, " and %d more", more)
	}
	return b.String()
}
