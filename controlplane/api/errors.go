package api

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"causeway/controlplane/apierr"
	"causeway/controlplane/resource"
	"causeway/controlplane/store"
)

// Reasons of FAILED_PRECONDITION and RESOURCE_EXHAUSTED beside those of package apierr.
const (
	reasonBeingDeleted       = "BEING_DELETED"
	reasonCIDROverlap        = "CIDR_OVERLAP"
	reasonAccountPermanent   = "ACCOUNT_PERMANENT"
	reasonNotPending         = "NOT_PENDING"
	reasonPairPeered         = "PAIR_PEERED"
	reasonSiteConnected      = "SITE_CONNECTED"
	reasonLoadBalancerInUse  = "LOAD_BALANCER_IN_USE"
	reasonAddressesExhausted = "AZ_ADDRESSES_EXHAUSTED"
	reasonDefaultNetworkACL  = "DEFAULT_NETWORK_ACL"
)

// errViolations ends a check whose findings are in [change.wrong] already.
var errViolations = errors.New("request violates rules")

func notFound(kind *resource.Info, text string) error { return apierr.NotFound(kind.Word, text) }

func beingDeleted(kind *resource.Info, text string) error {
	return apierr.Precondition(reasonBeingDeleted, kind.Word, text, "is being deleted")
}

// hasChildren names resources that are in the way.
func hasChildren(kind *resource.Info, text string, blockers []string) error {
	if len(blockers) == 0 {
		return apierr.Precondition(apierr.ReasonHasChildren, kind.Word, text, "is in use by other accounts")
	}
	return apierr.Precondition(apierr.ReasonHasChildren, kind.Word, text, "is in use; first delete %s", some(blockers))
}

// namedBy names resources that refer to one and may do without it.
func namedBy(kind *resource.Info, text string, blockers []string) error {
	return apierr.Precondition(apierr.ReasonHasChildren, kind.Word, text, "is in use; first take it out of %s", some(blockers))
}

// some joins up to ten names.
func some(names []string) string {
	const most = 10
	named := strings.Join(names[:min(len(names), most)], ", ")
	if more := len(names) - most; more > 0 {
		named += fmt.Sprintf(" and %d more", more)
	}
	return named
}

// cidrOverlap names both prefixes and what has the other one.
func cidrOverlap(kind *resource.Info, name, prefix, other, otherPrefix string) error {
	return apierr.Precondition(reasonCIDROverlap, kind.Word, name, "cannot have %s: it overlaps %s of %s", prefix, otherPrefix, other)
}

// taken says what it means that another resource holds a claim. It names that resource only where
// the kind of claim makes sure that the caller sees it.
func taken(err error, kind *resource.Info, name string) error {
	failed, ok := errors.AsType[*store.ConditionError](err)
	if !ok {
		return err
	}
	claim := failed.Claim
	switch claim.Kind {
	case resource.ClaimKey:
		return apierr.InUse("public key", kind.Word, name)
	case resource.ClaimPort:
		return apierr.InUse("port", kind.Word, name)
	case resource.ClaimServiceName:
		return apierr.InUse("service name", kind.Word, name)
	case resource.ClaimPrivateName:
		return nameHeld(name, claim.Key[strings.LastIndexByte(claim.Key, '/')+1:], claim.Owner)
	case resource.ClaimForward:
		return domainHeld(name, claim.Owner)
	case resource.ClaimSubscription:
		return apierr.Exists(kind.Word, claim.Owner)
	case resource.ClaimPair:
		return apierr.Precondition(reasonPairPeered, kind.Word, name, "joins VPCs that %s joins already", claim.Owner)
	case resource.ClaimSite:
		return apierr.Precondition(reasonSiteConnected, kind.Word, name, "joins a customer gateway and a VPC that %s joins already", claim.Owner)
	case resource.ClaimService:
		return apierr.Precondition(reasonLoadBalancerInUse, kind.Word, name, "needs %s, which %s offers already", claim.Key, claim.Owner)
	}
	return err
}

// listError says of an argument of a list what was wrong with it.
func listError(err error) error {
	switch {
	case errors.Is(err, store.ErrPageToken):
		return apierr.Invalid("page_token", "was not issued for this list; leave it out to start again")
	case errors.Is(err, store.ErrCompacted):
		return apierr.Invalid("page_token", "is too old; leave it out to start again")
	case errors.Is(err, store.ErrInvalid):
		return apierr.Invalid("page_size", "must not be negative")
	}
	return err
}

// isNotFound says whether err is NOT_FOUND.
func isNotFound(err error) bool { return status.Code(err) == codes.NotFound }

// isExists says whether err is ALREADY_EXISTS.
func isExists(err error) bool { return status.Code(err) == codes.AlreadyExists }
