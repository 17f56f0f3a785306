package apierr

import (
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
)

// Violations collects everything that is wrong with one request. The zero value is empty and ready.
// It is used by one goroutine.
type Violations struct {
	list  []*errdetails.BadRequest_FieldViolation
	total int
}

// Add notes what is wrong with a field, given by its proto path from the request
// ("endpoint.subnets[1]"). The format gives what follows the field's name: "has host bits set; use
// %q".
func (v *Violations) Add(field, format string, args ...any) {
	v.total++
	if len(v.list) == maxViolations {
		return
	}
	v.list = append(v.list, &errdetails.BadRequest_FieldViolation{
		Field:       clean(field, maxFieldText),
		Description: clean(fmt.Sprintf(format, args...), maxText),
	})
}

// Len gives the number of violations noted, including those beyond the ten that are kept.
func (v *Violations) Len() int { return v.total }

// Err gives nil if nothing was noted, and otherwise INVALID_ARGUMENT, INVALID_FIELD, with a
// BadRequest of the first ten violations. The message is the first, "(and N more)".
func (v *Violations) Err() error {
	if v.total == 0 {
		return nil
	}
	first := v.list[0]
	message := strings.TrimPrefix(first.GetField()+" "+first.GetDescription(), " ")
	if v.total > 1 {
		message = fmt.Sprintf("%s (and %d more)", message, v.total-1)
	}
	st := newStatus(codes.InvalidArgument, ReasonInvalidField, message, Metadata{"field": first.GetField()})
	return withDetail(st, &errdetails.BadRequest{FieldViolations: v.list})
}

// Invalid is a request with one violation, see [Violations.Add].
func Invalid(field, format string, args ...any) error {
	var v Violations
	v.Add(field, format, args...)
	return v.Err()
}
