package api

import (
	"fmt"
	"regexp"
	"strings"

	"causeway/controlplane/apierr"
	pb "causeway/proto/causeway/v1"
)

// labelPattern is a label of a DNS name as hosts have them (RFC 1123 section 2.1).
var labelPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

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
	for n, name := range service.GetPublicDnsNames() {
		field := c.path(fmt.Sprintf("public_dns_names[%d]", n))
		switch {
		case !platform:
			c.wrong.Add(field, "is for PLATFORM services only")
		case !isPublicName(name):
			c.wrong.Add(field, "%s is no DNS name of a service: use two labels at least of lower-case letters, digits and hyphens, none of them localhost or local", quote(name))
		}
	}
	switch given := service.GetListing() != nil; {
	case marketplace && !given:
		c.wrong.Add(c.path("listing"), "is missing: a MARKETPLACE service says what it is")
	case !marketplace && given:
		c.wrong.Add(c.path("listing"), "is for MARKETPLACE services only")
	}
	return nil
}

// isPublicName says whether text is a DNS name that consumers may know a service by: no wildcard, no
// top-level domain, nothing that is a host's own.
func isPublicName(text string) bool {
	labels := strings.Split(text, ".")
	for _, label := range labels {
		if !labelPattern.MatchString(label) {
			return false
		}
	}
	top := labels[len(labels)-1]
	return len(text) <= 253 && len(labels) >= 2 && top != "localhost" && top != "local" && strings.ContainsAny(top, "abcdefghijklmnopqrstuvwxyz")
}
