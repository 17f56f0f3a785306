package api

import (
	"strings"

	"causeway/controlplane/apierr"
	pb "causeway/proto/causeway/v1"
)

// checkOffering refuses what does not go with a service's offering. PLATFORM services are the
// operator's.
func (c *change) checkOffering(service *pb.EndpointService) error {
	platform := service.GetOffering() == pb.EndpointService_PLATFORM
	marketplace := service.GetOffering() == pb.EndpointService_MARKETPLACE
	if platform && !c.caller.Operator {
		return apierr.PermissionDenied()
	}
	switch name := service.GetPlatformServiceName(); {
	case !platform && name != "":
		c.wrong.Add(c.path("platform_service_name"), "is for PLATFORM services only")
	case platform && (!isServiceName(name) || strings.HasPrefix(name, servicePrefix)):
		c.wrong.Add(c.path("platform_service_name"),
			"%s is no name of a platform service: use labels of lower-case letters, digits and hyphens, joined by dots, that do not begin with %s",
			quote(name), servicePrefix)
	}
	c.checkNames(service)
	switch given := service.GetListing() != nil; {
	case marketplace && !given:
		c.wrong.Add(c.path("listing"), "is missing: a MARKETPLACE service says what it is")
	case !marketplace && given:
		c.wrong.Add(c.path("listing"), "is for MARKETPLACE services only")
	}
	return nil
}
