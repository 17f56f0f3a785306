package apierr

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"causeway/controlplane/store"
)

const (
	// storeRetry is when a client should try again after the store did not answer: by then a cluster
	// has elected a leader.
	storeRetry = 2 * time.Second
	// fullRetry is when it should after the store was full.
	fullRetry = 30 * time.Second
)

// FromStore gives the status for an error of the store about a request for the resource name of a
// kind ("endpoint service"). Errors it has no particular status for come back wrapped, for
// [ToStatus] to treat. nil stays nil.
func FromStore(err error, kind, name string) error {
	if err == nil {
		return nil
	}
	if failed, ok := errors.AsType[*store.ConditionError](err); ok {
		return fromCondition(failed, kind, name)
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return NotFound(kind, name)
	case errors.Is(err, store.ErrExists):
		return Exists(kind, name)
	case errors.Is(err, store.ErrConflict):
		return EtagMismatch(kind, name)
	case errors.Is(err, store.ErrClaimed):
		return InUse("name", kind, name)
	case errors.Is(err, store.ErrNotEmpty):
		return Precondition(ReasonHasChildren, kind, name, "still has resources below it or in use of it")
	}
	return fmt.Errorf("%s %q: %w", kind, name, err)
}

// fromCondition is FromStore for a transaction, whose failed condition may concern another resource
// than the one requested, such as its parent.
func fromCondition(failed *store.ConditionError, kind, name string) error {
	own := failed.Name == name
	switch {
	case errors.Is(failed.Err, store.ErrClaimed):
		return InUse(failed.Claim.Kind, kind, name)
	case errors.Is(failed.Err, store.ErrNotEmpty):
		return Precondition(ReasonHasChildren, kind, name, "still has %q; delete that first", failed.Name)
	case errors.Is(failed.Err, store.ErrNotFound) && own:
		return NotFound(kind, name)
	case errors.Is(failed.Err, store.ErrNotFound):
		return NotFound("resource", failed.Name)
	case errors.Is(failed.Err, store.ErrExists) && own:
		return Exists(kind, name)
	case errors.Is(failed.Err, store.ErrExists):
		return Exists("resource", failed.Name)
	case errors.Is(failed.Err, store.ErrConflict) && own:
		return EtagMismatch(kind, name)
	}
	return Conflict(kind, name)
}

// ToStatus gives the status to send for whatever a handler returned. Statuses of this package pass
// unchanged, also wrapped. Of anything else nothing but its kind gets out: the cause is returned
// apart, for the log, and is nil if there is nothing to log. An INTERNAL status names requestID, so
// that the two can be brought together.
func ToStatus(err error, requestID string) (st *status.Status, cause error) {
	if err == nil {
		return status.New(codes.OK, ""), nil
	}
	if carrier, ok := errors.AsType[statusError](err); ok {
		st := carrier.GRPCStatus()
		if Reason(st) != "" {
			return st, nil
		}
		if st.Code() == codes.Unimplemented {
			return newStatus(codes.Unimplemented, ReasonUnimplemented, st.Message(), nil), nil
		}
	}
	return fromUnknown(err, requestID)
}

// statusError is what the errors of gRPC have in common.
type statusError interface {
	error
	GRPCStatus() *status.Status
}

func fromUnknown(err error, requestID string) (*status.Status, error) {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return newStatus(codes.DeadlineExceeded, ReasonDeadlineExceeded,
			"the deadline passed; whether anything was changed is not known", nil), nil
	case errors.Is(err, context.Canceled):
		return newStatus(codes.Canceled, ReasonCanceled, "the request was cancelled", nil), nil
	case errors.Is(err, store.ErrUnavailable):
		return addDetail(newStatus(codes.Unavailable, ReasonStoreUnavailable,
			"the store does not answer; retry, with the same request_id if this was a change", nil),
			retryInfo(storeRetry)), err
	case errors.Is(err, store.ErrExhausted):
		return addDetail(newStatus(codes.ResourceExhausted, ReasonStoreFull,
			"the store is full; delete resources that are no longer needed, then retry", nil), retryInfo(fullRetry)), err
	case errors.Is(err, store.ErrTooLarge):
		text := "the resource, or what the request changes in one step, is too large"
		return addDetail(newStatus(codes.ResourceExhausted, ReasonTooLarge, text, nil),
			&errdetails.QuotaFailure{Violations: []*errdetails.QuotaFailure_Violation{{
				Subject: "request", Description: text,
			}}}), nil
	case errors.Is(err, store.ErrCompacted):
		return status.Convert(OutOfRange("the state this refers to is no longer kept; start again from the first page")), nil
	case errors.Is(err, store.ErrPageToken):
		return status.Convert(Invalid("page_token", "was not issued for this list; leave it out to start again")), nil
	case errors.Is(err, store.ErrInvalid):
		return status.Convert(Invalid("name", "is not well formed: %v", err)), nil
	case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrRequestSeen):
		return status.Convert(Conflict("resource", "")), nil
	}
	return newStatus(codes.Internal, ReasonInternal,
		fmt.Sprintf("internal error; quote request id %s", requestID), Metadata{"requestId": requestID}), err
}

// Reason gives the reason of a status made by this package, or "".
func Reason(st *status.Status) string {
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == Domain {
			return info.GetReason()
		}
	}
	return ""
}
