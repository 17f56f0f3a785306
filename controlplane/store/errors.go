package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The errors of this package. Test for them with errors.Is: what is returned is wrapped and, for a
// transaction's failed condition, a [*ConditionError]. Errors of the caller's context pass through.
var (
	// ErrNotFound says that a resource or claim is absent.
	ErrNotFound = errors.New("not found")
	// ErrExists says that a resource to be created is already there.
	ErrExists = errors.New("already exists")
	// ErrConflict says that a resource changed after the revision the writer had read.
	ErrConflict = errors.New("changed since it was read")
	// ErrClaimed says that a claim is held by another owner.
	ErrClaimed = errors.New("claimed by another resource")
	// ErrNotEmpty says that resources exist where none may.
	ErrNotEmpty = errors.New("not empty")
	// ErrRequestSeen says that a request id is already recorded.
	ErrRequestSeen = errors.New("request id already used")
	// ErrUnavailable says that etcd did not answer. A write may or may not have happened.
	ErrUnavailable = errors.New("store unavailable")
	// ErrExhausted says that etcd has no space left for writes.
	ErrExhausted = errors.New("store has no space left")
	// ErrCompacted says that the revision asked for is no longer, or not yet, available.
	ErrCompacted = errors.New("revision not available any more")
	// ErrTooLarge says that a value or a transaction exceeds its limit.
	ErrTooLarge = errors.New("too large")
	// ErrInvalid says that a name, key, revision or page size is not well formed.
	ErrInvalid = errors.New("invalid argument")
	// ErrPageToken says that a page token was not issued for the list it is used with.
	ErrPageToken = errors.New("invalid page token")
	// ErrCorrupt says that a stored value does not decode.
	ErrCorrupt = errors.New("stored value does not decode")
	// ErrDamaged says that the files of an embedded store do not hold together.
	ErrDamaged = errors.New("store is damaged")
	// ErrLocked says that another process has the store's directory open.
	ErrLocked = errors.New("in use by another process")
	// ErrForeign says that a directory or key space holds something other than a Causeway store, or
	// one written by a later version.
	ErrForeign = errors.New("not a store of this version")

	// errLeaseGone says that the lease for request records is no more; Commit takes a new one.
	errLeaseGone = errors.New("lease not found")
)

// ConditionError names the first condition of a transaction that did not hold. Nothing was written.
// It unwraps to the sentinel in Err.
type ConditionError struct {
	// Err is ErrExists, ErrNotFound, ErrConflict, ErrNotEmpty, ErrClaimed or ErrRequestSeen.
	Err error
	// Collection and Name give the resource concerned. For ErrNotEmpty, and for ErrConflict of
	// RequireUnchanged, it is the first resource found, not the parent. Empty for claims and requests.
	Collection, Name string
	// Claim is what was claimed; its Owner holds it at present. Zero unless Err is ErrClaimed, or
	// ErrConflict of RequireClaims.
	Claim Claim
	// RequestID is set if Err is ErrRequestSeen.
	RequestID string
	// Want is the revision the transaction required, Have the one found; 0 is absent.
	Want, Have int64
}

// Error describes the condition with the resource or claim it concerns.
func (e *ConditionError) Error() string {
	switch {
	case errors.Is(e.Err, ErrClaimed):
		return fmt.Sprintf("%s %q: %v %q", e.Claim.Kind, e.Claim.Key, e.Err, e.Claim.Owner)
	case errors.Is(e.Err, ErrRequestSeen):
		return fmt.Sprintf("request %q: %v", e.RequestID, e.Err)
	case errors.Is(e.Err, ErrConflict):
		return fmt.Sprintf("%s %q: %v: revision %d, expected %d", e.Collection, e.Name, e.Err, e.Have, e.Want)
	}
	return fmt.Sprintf("%s %q: %v", e.Collection, e.Name, e.Err)
}

// Unwrap gives the sentinel.
func (e *ConditionError) Unwrap() error { return e.Err }

// translate turns what the etcd client gave for a request under ctx into this package's errors.
// The text of the original stays, the chain does not: no caller may depend on etcd's types.
func translate(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause := ctx.Err(); cause != nil {
		return cause
	}
	if kind := classify(err); kind != nil {
		return fmt.Errorf("%w: %s", kind, rpctypes.ErrorDesc(err))
	}
	return err
}

func classify(err error) error {
	switch {
	case errors.Is(err, rpctypes.ErrCompacted), errors.Is(err, rpctypes.ErrFutureRev):
		return ErrCompacted
	case errors.Is(err, rpctypes.ErrNoSpace):
		return ErrExhausted
	case errors.Is(err, rpctypes.ErrRequestTooLarge), errors.Is(err, rpctypes.ErrTooManyOps):
		return ErrTooLarge
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return errLeaseGone
	}
	code := status.Code(err)
	if server, ok := errors.AsType[rpctypes.EtcdError](err); ok {
		code = server.Code()
	}
	switch code {
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.OutOfRange, codes.Unimplemented:
		return nil // a mistake of ours in the request; repeating it does not help
	case codes.ResourceExhausted:
		if strings.Contains(err.Error(), "larger than max") {
			return ErrTooLarge // said by gRPC itself, with no other mark
		}
	}
	// What is left is etcd's own trouble. Not all of it carries a code: a member that is being
	// stopped says Unknown.
	return ErrUnavailable
}
