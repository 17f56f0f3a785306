package api

import (
	"context"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"

	"causeway/controlplane/apierr"
	"causeway/controlplane/dnsname"
	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

// TXTResolver looks for TXT records. It is safe for concurrent use; [net.Resolver] is one.
type TXTResolver interface {
	// LookupTXT gives the values at a name that ends in a dot. An error that is no [net.DNSError] with IsNotFound
	// leaves open what is there.
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// verifyTimeout bounds how long the proof of a name is looked for.
const verifyTimeout = 5 * time.Second

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
	switch proof := service.Value.GetPrivateDnsNameVerification(); {
	case err != nil:
		return nil, err
	case resource.Deleting(service.Value):
		return nil, beingDeleted(kind.Info, req.GetName())
	case proof == nil:
		return nil, apierr.Precondition(reasonNoPrivateName, kind.Word, service.Name, "has no private_dns_name to verify")
	}
	// One after another, since each makes some questions of one.
	done, err := s.turns.take(ctx, "verify/"+service.Name)
	if err != nil {
		return nil, err
	}
	defer done()
	asked := service.Value.GetPrivateDnsNameVerification()
	found := s.lookForProof(ctx, asked)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return s.revise(ctx, req.GetName(), func(service *pb.EndpointService) error {
		proof := service.GetPrivateDnsNameVerification()
		if proof.GetRecordName() != asked.GetRecordName() || proof.GetRecordValue() != asked.GetRecordValue() {
			return apierr.Conflict(kind.Word, service.GetName())
		}
		found.note(proof)
		proof.LastAttemptTime = timestamppb.New(s.now())
		return nil
	})
}

// finding is what came of looking for a proof.
type finding struct {
	proven bool
	// open says that servers failed, so that the proof may well be there.
	open    bool
	message string
}

// note brings a proof into the state that a finding means. What was proven stays so while nobody can tell.
func (f finding) note(proof *pb.PrivateDnsNameVerification) {
	proof.StateMessage = f.message
	switch {
	case f.proven:
		proof.State = pb.PrivateDnsNameVerification_VERIFIED
	case !f.open:
		proof.State = pb.PrivateDnsNameVerification_FAILED
	}
}

// lookForProof asks for the TXT record at all names at once where it may be.
func (k *kernel) lookForProof(ctx context.Context, proof *pb.PrivateDnsNameVerification) finding {
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	label, _, _ := strings.Cut(proof.GetRecordName(), ".")
	var names []string
	for _, domain := range dnsname.Proving(proof.GetDomain()) {
		names = append(names, label+"."+domain, domain)
	}
	findings := make([]finding, len(names))
	var looking errgroup.Group
	for n, name := range names {
		looking.Go(func() error {
			findings[n] = k.lookAt(ctx, name, proof.GetRecordValue())
			return nil
		})
	}
	_ = looking.Wait() // none of them fails
	best := findings[0]
	for _, f := range findings[1:] {
		if f.proven || f.open && !best.proven && !best.open {
			best = f
		}
	}
	return best
}

// lookAt looks for a value at one name. What it says of failures is not what the servers say: their addresses are the
// operator's.
func (k *kernel) lookAt(ctx context.Context, name, value string) finding {
	values, err := k.txt.LookupTXT(ctx, name+".")
	failed, _ := errors.AsType[*net.DNSError](err)
	switch {
	case slices.Contains(values, value):
		return finding{proven: true}
	case err == nil:
		return finding{message: fmt.Sprintf("there are %d TXT records at %s, none of them %s; upper and lower case count", len(values), name, value)}
	case failed != nil && failed.IsNotFound:
		return finding{message: "there is no TXT record at " + name}
	case failed != nil && failed.IsTimeout || errors.Is(err, context.DeadlineExceeded):
		return finding{open: true, message: "no DNS server answered in time for " + name}
	}
	return finding{open: true, message: "the DNS servers failed to answer for " + name}
}
