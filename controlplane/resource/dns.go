package resource

import pb "causeway/proto/causeway/v1"

// PrivateNames gives the private DNS names that an endpoint holds in its VPC. Of its DNS entries only these are stored.
func PrivateNames(e *pb.Endpoint) []string {
	var names []string
	for _, entry := range e.GetDnsEntries() {
		if entry.GetKind() == pb.DnsEntry_PRIVATE {
			names = append(names, entry.GetDnsName())
		}
	}
	return names
}

// ServiceNames gives the DNS names of a service that endpoints may hold: those that the operator has given a platform
// service, or the one of which the provider has chosen. Whether its ownership is proven stands with the service.
func ServiceNames(s *pb.EndpointService) []string {
	switch {
	case s.GetOffering() == pb.EndpointService_PLATFORM:
		return s.GetPublicDnsNames()
	case s.GetPrivateDnsName() != "":
		return []string{s.GetPrivateDnsName()}
	}
	return nil
}
