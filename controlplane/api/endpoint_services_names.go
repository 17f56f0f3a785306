package api

import (
	"context"
	"encoding/base32"
	"fmt"
	"io"
	"strings"

	"causeway/controlplane/apierr"
	"causeway/controlplane/dnsname"
	"causeway/controlplane/proof"
	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

// checkNames notes what is wrong with the DNS names of a service.
func (c *change) checkNames(service *pb.EndpointService) {
	platform := service.GetOffering() == pb.EndpointService_PLATFORM
	switch name := service.GetPrivateDnsName(); {
	case name == "":
	case platform:
		c.wrong.Add(c.path("private_dns_name"), "is not for PLATFORM services; use public_dns_names")
	default:
		if err := dnsname.CheckPrivate(name, c.dnsSuffix); err != nil {
			c.wrong.Add(c.path("private_dns_name"), "%s %v", quote(name), err)
		}
	}
	for n, name := range service.GetPublicDnsNames() {
		field := c.path(fmt.Sprintf("public_dns_names[%d]", n))
		if !platform {
			c.wrong.Add(field, "is for PLATFORM services only")
		} else if err := dnsname.CheckPrivate(name, c.dnsSuffix); err != nil {
			c.wrong.Add(field, "%s %v", quote(name), err)
		}
	}
}

// askProof gives a service whose private DNS name lies in another domain than before a proof to bring.
func (c *change) askProof(before, after *pb.EndpointService) error {
	domain := dnsname.Domain(after.GetPrivateDnsName())
	switch {
	case domain == "":
		after.PrivateDnsNameVerification = nil
		return nil
	case before.GetPrivateDnsNameVerification().GetDomain() == domain:
		return nil
	}
	label, value, err := c.newProof()
	if err != nil {
		return err
	}
	after.PrivateDnsNameVerification = &pb.PrivateDnsNameVerification{
		State: pb.PrivateDnsNameVerification_PENDING_VERIFICATION, Domain: domain,
		RecordName: label + "." + domain, RecordValue: value,
	}
	return nil
}

// newProof makes the first label and the value of a TXT record, in AWS's form.
func (k *kernel) newProof() (label, value string, err error) {
	var b [25]byte
	if _, err := io.ReadFull(k.random, b[:]); err != nil {
		return "", "", fmt.Errorf("read randomness for a proof: %w", err)
	}
	label = "_" + strings.ToLower(base32.StdEncoding.EncodeToString(b[:10]))
	return label, "vpce:" + base32.StdEncoding.EncodeToString(b[10:]), nil
}

// VerifyPrivateDnsName looks for the proof without holding anything, and notes what it found unless the name has
// become another meanwhile.
func (s *endpointServices) VerifyPrivateDnsName(ctx context.Context, req *pb.VerifyPrivateDnsNameRequest) (*pb.EndpointService, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	kind := resource.EndpointServices
	service, err := find(ctx, s.kernel, who, kind, "name", req.GetName())
	asked := service.Value.GetPrivateDnsNameVerification()
	switch {
	case err != nil:
		return nil, err
	case resource.Deleting(service.Value):
		return nil, beingDeleted(kind.Info, req.GetName())
	case asked == nil:
		return nil, apierr.Precondition(reasonNoPrivateName, kind.Word, service.Name, "has no private_dns_name to verify")
	}
	// One after another, since each makes some questions of one.
	done, err := s.turns.take(ctx, "verify/"+service.Name)
	if err != nil {
		return nil, err
	}
	defer done()
	found := proof.Look(ctx, s.txt, asked)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return s.revise(ctx, req.GetName(), func(service *pb.EndpointService) error {
		now := service.GetPrivateDnsNameVerification()
		if !proof.Same(now, asked) {
			return apierr.Conflict(kind.Word, service.GetName())
		}
		found.Note(now, s.now())
		return nil
	})
}
