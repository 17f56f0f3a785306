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
	reasonExistingConnections = "EXISTING_ENDPOINT_CONNECTIONS"
	reasonZoneInUse           = "ZONE_IN_USE"
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
	c.refuseAcceptance(service)
	region, err := c.offer(ctx, service)
	if err != nil {
		return err
	}
	uid, err := c.uidAhead(resource.EndpointServices.Prefix)
	if err != nil {
		return err
	}
	service.ServiceName = servicePrefix + region + "." + uid
	return nil
}

func (c *change) refuseAcceptance(service *pb.EndpointService) {
	if service.GetAcceptanceRequired() {
		c.wrong.Add(c.path("acceptance_required"), "must be false: consent to each endpoint is not offered yet")
	}
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
	c.refuseAcceptance(after)
	region, err := c.offer(ctx, after)
	if err != nil {
		return err
	}
	if own := serviceRegion(after); region != own {
		c.wrong.Add(c.path("load_balancers"), "lie in region %s; the service stays in %s", region, own)
		return errViolations
	}
	lost := slices.DeleteFunc(slices.Clone(before.GetAvailabilityZones()), func(zone string) bool {
		return slices.Contains(after.GetAvailabilityZones(), zone)
	})
	if len(lost) == 0 {
		return nil
	}
	return c.refuseLostZones(ctx, after, lost)
}

// refuseLostZones refuses to take away zones in which endpoints have network interfaces. Until the
// commit no endpoint gets one there.
func (c *change) refuseLostZones(ctx context.Context, service *pb.EndpointService, lost []string) error {
	account := resource.AccountName(resource.Account(c.name))
	all, revision, err := resource.Endpoints.ReadAll(ctx, c.store, account)
	if err != nil {
		return err
	}
	resource.Endpoints.RequireUnchanged(c.tx, account, revision)
	var users []string
	for _, e := range all {
		endpoint := e.Message.(*pb.Endpoint)
		if endpoint.GetServiceName() != service.GetServiceName() || resource.Deleting(endpoint) {
			continue
		}
		for _, eni := range endpoint.GetNetworkInterfaces() {
			if slices.Contains(lost, eni.GetAvailabilityZone()) {
				users = append(users, e.Name)
				break
			}
		}
	}
	if len(users) == 0 {
		return nil
	}
	return apierr.Precondition(reasonZoneInUse, resource.EndpointServices.Word, c.name,
		"would leave %s, where it is used by %s; keep a load balancer in each zone in use",
		strings.Join(lost, ", "), enumerate(users))
}

// DeleteEndpointService refuses while endpoints use the service, and names them. The service's
// notifications go with it.
func (s *endpointServices) DeleteEndpointService(ctx context.Context, req *pb.DeleteEndpointServiceRequest) (*emptypb.Empty, error) {
	return removeWith(ctx, s.kernel, resource.EndpointServices, req.GetName(), req.GetEtag(),
		func(_ context.Context, c *change, service store.Versioned[*pb.EndpointService], dependents []resource.Entry) error {
			endpoints := c.removeNotifications(dependents)
			if len(endpoints) == 0 {
				return nil
			}
			return apierr.Precondition(reasonExistingConnections, resource.EndpointServices.Word, service.Name,
				"is in use; first delete %s", enumerate(names(endpoints)))
		})
}

// enumerate names up to ten resources of one account, which is left out.
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
