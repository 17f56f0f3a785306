// Package apierr is the one place where what goes wrong becomes a gRPC status.
//
// Every status it makes carries exactly one google.rpc.ErrorInfo (AIP-193) with the domain
// "causeway" and an UPPER_SNAKE reason, which is what programs test for, and at most one further
// detail: BadRequest, ResourceInfo, PreconditionFailure, QuotaFailure or RetryInfo. The message
// alone is enough for a person: what, where, and where it helps, what to do.
//
// User text in messages is cut and cleaned: no invalid UTF-8, no control or invisible characters.
// A whole status stays below 8 KiB on the wire, since it travels in HTTP/2 trailers.
//
// A handler returns what a builder here gives, or passes what the store gave through [FromStore];
// the outermost interceptor passes everything through [ToStatus], which lets nothing unknown out.
package apierr

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Domain is the domain of every ErrorInfo.
const Domain = "causeway"

// Reasons that do not depend on the kind of resource.
const (
	ReasonInvalidField     = "INVALID_FIELD"
	ReasonEtagMismatch     = "ETAG_MISMATCH"
	ReasonConflict         = "CONFLICT"
	ReasonHasChildren      = "HAS_CHILDREN"
	ReasonRequestIDReused  = "REQUEST_ID_REUSED"
	ReasonQuotaExceeded    = "QUOTA_EXCEEDED"
	ReasonRateLimited      = "RATE_LIMITED"
	ReasonTooLarge         = "TOO_LARGE"
	ReasonStoreFull        = "STORE_FULL"
	ReasonNotReady         = "NOT_READY"
	ReasonStoreUnavailable = "STORE_UNAVAILABLE"
	ReasonRevisionGone     = "REVISION_GONE"
	ReasonUnauthenticated  = "UNAUTHENTICATED"
	ReasonPermissionDenied = "PERMISSION_DENIED"
	ReasonUnimplemented    = "UNIMPLEMENTED"
	ReasonDeadlineExceeded = "DEADLINE_EXCEEDED"
	ReasonCanceled         = "CANCELED"
	ReasonInternal         = "INTERNAL"
)

// Metadata holds the variables of a message, by lowerCamel name.
type Metadata map[string]string

// NotFound says that a resource is absent: NOT_FOUND, reason "<KIND>_NOT_FOUND", ResourceInfo. kind
// is the word for it, as in "endpoint service"; name its resource name.
func NotFound(kind, name string) error {
	return resourceError(codes.NotFound, "_NOT_FOUND", kind, name, "not found")
}

// Exists says that a resource's id is taken: ALREADY_EXISTS, reason "<KIND>_EXISTS", ResourceInfo.
func Exists(kind, name string) error {
	return resourceError(codes.AlreadyExists, "_EXISTS", kind, name, "exists already")
}

// InUse says that something that must be unique is held by another resource, whose name is not
// given since it may be another tenant's: ALREADY_EXISTS, reason "<WHAT>_IN_USE", ResourceInfo of the
// resource that wants it. what is a word such as "public key".
func InUse(what, kind, name string) error {
	st := newStatus(codes.AlreadyExists, reason(what)+"_IN_USE",
		fmt.Sprintf("%s %q: its %s is in use by another resource", kind, name, what), named(kind, name))
	return withDetail(st, resourceInfo(kind, name, what+" in use"))
}

// Held is [InUse] where the caller sees the resource that holds what must be unique. The format gives what that is and
// whose, after "is".
func Held(what, kind, name, format string, args ...any) error {
	st := newStatus(codes.AlreadyExists, reason(what)+"_IN_USE",
		fmt.Sprintf("%s %q: its %s is %s", kind, name, what, fmt.Sprintf(format, args...)), named(kind, name))
	return withDetail(st, resourceInfo(kind, name, what+" in use"))
}

// Precondition says that a request conflicts with other state: FAILED_PRECONDITION with the given
// reason and a PreconditionFailure whose subject is the resource's name. The format gives what
// follows the resource: "is not pending acceptance".
func Precondition(why, kind, name, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	st := newStatus(codes.FailedPrecondition, why, fmt.Sprintf("%s %q %s", kind, name, text), named(kind, name))
	return withDetail(st, &errdetails.PreconditionFailure{
		Violations: []*errdetails.PreconditionFailure_Violation{{
			Type: why, Subject: clean(name, maxNameText), Description: clean(text, maxText),
		}},
	})
}

// EtagMismatch says that a resource changed since the caller read it: ABORTED, ETAG_MISMATCH.
func EtagMismatch(kind, name string) error {
	return newStatus(codes.Aborted, ReasonEtagMismatch,
		fmt.Sprintf("%s %q changed since it was read; read it again and retry", kind, name), named(kind, name)).Err()
}

// Conflict says that a request lost to a concurrent one and changed nothing: ABORTED, CONFLICT. It is
// safe to repeat.
func Conflict(kind, name string) error {
	return newStatus(codes.Aborted, ReasonConflict,
		fmt.Sprintf("%s %q: a concurrent change came first; retry", kind, name), named(kind, name)).Err()
}

// RequestIDReused says that a request id came again with other contents: INVALID_ARGUMENT,
// REQUEST_ID_REUSED, BadRequest.
func RequestIDReused(id string) error {
	text := "was used by a request with other contents; use a new one"
	st := newStatus(codes.InvalidArgument, ReasonRequestIDReused,
		fmt.Sprintf("request_id %q %s", id, text), Metadata{"requestId": id})
	return withDetail(st, &errdetails.BadRequest{
		FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "request_id", Description: text}},
	})
}

// Exhausted says that a pool is used up: RESOURCE_EXHAUSTED with the given reason
// (AZ_ADDRESSES_EXHAUSTED) and a QuotaFailure. subject names what the limit belongs
// to: an account, a subnet.
func Exhausted(why, subject, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	st := newStatus(codes.ResourceExhausted, why, text, Metadata{"subject": subject})
	return withDetail(st, &errdetails.QuotaFailure{
		Violations: []*errdetails.QuotaFailure_Violation{{
			Subject: clean(subject, maxNameText), Description: clean(text, maxText),
		}},
	})
}

// QuotaExceeded says that a request would take subject beyond what it may have: RESOURCE_EXHAUSTED,
// QUOTA_EXCEEDED, with a QuotaFailure. quota is the quota's id, unit what the limit counts: "endpoints
// per VPC".
func QuotaExceeded(quota, subject string, limit int32, unit string) error {
	text := fmt.Sprintf("%q would exceed its quota of %d %s; the operator can raise %s", subject, limit, unit, quota)
	most := strconv.Itoa(int(limit))
	st := newStatus(codes.ResourceExhausted, ReasonQuotaExceeded, text, Metadata{"quota": quota, "limit": most, "unit": unit, "scope": subject})
	return withDetail(st, &errdetails.QuotaFailure{
		Violations: []*errdetails.QuotaFailure_Violation{{
			Subject: clean(subject, maxNameText), Description: clean(text, maxText),
			QuotaId: quota, QuotaValue: int64(limit),
		}},
	})
}

// RateLimited says that the caller sends too much: RESOURCE_EXHAUSTED, RATE_LIMITED, RetryInfo.
func RateLimited(retry time.Duration) error {
	st := newStatus(codes.ResourceExhausted, ReasonRateLimited,
		fmt.Sprintf("too many requests; retry in %v", retry), nil)
	return withDetail(st, retryInfo(retry))
}

// NotReady says that the data plane, or what else a request needs, is not up yet: UNAVAILABLE,
// NOT_READY, RetryInfo.
func NotReady(retry time.Duration, format string, args ...any) error {
	st := newStatus(codes.Unavailable, ReasonNotReady, fmt.Sprintf(format, args...), nil)
	return withDetail(st, retryInfo(retry))
}

// OutOfRange says that a revision is not, or not any more, available: OUT_OF_RANGE, REVISION_GONE.
func OutOfRange(format string, args ...any) error {
	return newStatus(codes.OutOfRange, ReasonRevisionGone, fmt.Sprintf(format, args...), nil).Err()
}

// Unauthenticated says that a caller gave no or no good credentials: UNAUTHENTICATED. The text does
// not say which, so that nobody can probe tokens.
func Unauthenticated() error {
	return newStatus(codes.Unauthenticated, ReasonUnauthenticated,
		"no valid credentials; send \"authorization: Bearer <token>\"", nil).Err()
}

// PermissionDenied says that a caller may not do what it asked: PERMISSION_DENIED. The text is the
// same whether or not the resource exists.
func PermissionDenied() error {
	return newStatus(codes.PermissionDenied, ReasonPermissionDenied,
		"the caller may not do this, or what it names does not exist", nil).Err()
}

func resourceError(code codes.Code, suffix, kind, name, text string) error {
	st := newStatus(code, reason(kind)+suffix, fmt.Sprintf("%s %q %s", kind, name, text), named(kind, name))
	return withDetail(st, resourceInfo(kind, name, text))
}

func newStatus(code codes.Code, why, message string, meta Metadata) *status.Status {
	info := &errdetails.ErrorInfo{Reason: why, Domain: Domain}
	for key, value := range meta {
		if info.Metadata == nil {
			info.Metadata = make(map[string]string, len(meta))
		}
		info.Metadata[key] = clean(value, maxNameText)
	}
	return addDetail(status.New(code, clean(message, maxMessage)), info)
}

func withDetail(st *status.Status, detail protoadapt.MessageV1) error {
	return addDetail(st, detail).Err()
}

// addDetail cannot fail for the codes and details of this package; were it to, the status without
// the detail still says what happened.
func addDetail(st *status.Status, detail protoadapt.MessageV1) *status.Status {
	if with, err := st.WithDetails(detail); err == nil {
		return with
	}
	return st
}

func resourceInfo(kind, name, text string) *errdetails.ResourceInfo {
	return &errdetails.ResourceInfo{
		ResourceType: clean(kind, maxNameText),
		ResourceName: clean(name, maxNameText),
		Description:  clean(text, maxText),
	}
}

func retryInfo(after time.Duration) *errdetails.RetryInfo {
	return &errdetails.RetryInfo{RetryDelay: durationpb.New(after)}
}

func named(kind, name string) Metadata {
	return Metadata{"resourceType": kind, "resourceName": name}
}

// reason turns a word into UPPER_SNAKE: "endpoint service" and "public-key" into ENDPOINT_SERVICE
// and PUBLIC_KEY.
func reason(word string) string {
	return strings.ToUpper(strings.Map(func(r rune) rune {
		if r == ' ' || r == '-' {
			return '_'
		}
		return r
	}, word))
}
