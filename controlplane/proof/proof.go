// Package proof looks for the TXT records by which providers prove that DNS names are theirs: when they ask for it,
// and again and again after that.
package proof

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"

	"causeway/controlplane/dnsname"
	pb "causeway/proto/causeway/v1"
)

// Resolver looks for TXT records. It is safe for concurrent use; [net.Resolver] is one.
type Resolver interface {
	// LookupTXT gives the values at a name that ends in a dot. An error that is no [net.DNSError] with IsNotFound
	// leaves open what is there.
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// timeout bounds how long a proof is looked for.
const timeout = 5 * time.Second

// Finding is what came of looking for a proof.
type Finding struct {
	proven bool
	// open says that servers failed, so that the proof may well be there.
	open    bool
	message string
}

// Note brings a proof into the state that a finding means. What was proven stays so while nobody can tell.
func (f Finding) Note(p *pb.PrivateDnsNameVerification, now time.Time) {
	p.StateMessage, p.LastAttemptTime = f.message, timestamppb.New(now)
	switch {
	case f.proven:
		p.State = pb.PrivateDnsNameVerification_VERIFIED
	case !f.open:
		p.State = pb.PrivateDnsNameVerification_FAILED
	}
}

// Same says whether two proofs ask for the same record. A name that has become another one has another record.
func Same(a, b *pb.PrivateDnsNameVerification) bool {
	return a.GetRecordName() == b.GetRecordName() && a.GetRecordValue() == b.GetRecordValue()
}

// Look asks for the TXT record of a proof at all names at once where it may be. It takes a few seconds at most.
func Look(ctx context.Context, r Resolver, p *pb.PrivateDnsNameVerification) Finding {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	label, _, _ := strings.Cut(p.GetRecordName(), ".")
	var names []string
	for _, domain := range dnsname.Proving(p.GetDomain()) {
		names = append(names, label+"."+domain, domain)
	}
	findings := make([]Finding, len(names))
	var looking errgroup.Group
	for n, name := range names {
		looking.Go(func() error {
			findings[n] = lookAt(ctx, r, name, p.GetRecordValue())
			return nil
		})
	}
	_ = looking.Wait() // none of them fails
	return best(findings)
}

// best gives the finding that decides: one that proves, or else one that leaves it open, or else the first.
func best(findings []Finding) Finding {
	var best Finding
	for n, f := range findings {
		if n == 0 || f.proven || f.open && !best.proven && !best.open {
			best = f
		}
	}
	return best
}

// lookAt looks for a value at one name. What it says of failures is not what the servers say: their addresses are the
// operator's.
func lookAt(ctx context.Context, r Resolver, name, value string) Finding {
	values, err := r.LookupTXT(ctx, name+".")
	failed, _ := errors.AsType[*net.DNSError](err)
	switch {
	case slices.Contains(values, value):
		return Finding{proven: true}
	case err == nil:
		return Finding{message: fmt.Sprintf("there are %d TXT records at %s, none of them %s; upper and lower case count", len(values), name, value)}
	case failed != nil && failed.IsNotFound:
		return Finding{message: "there is no TXT record at " + name}
	case failed != nil && failed.IsTimeout || errors.Is(err, context.DeadlineExceeded):
		return Finding{open: true, message: "no DNS server answered in time for " + name}
	}
	return Finding{open: true, message: "the DNS servers failed to answer for " + name}
}
