package apierr

import (
	"errors"
	"fmt"
	"strings"

	"buf.build/go/protovalidate"
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

// AddRules notes what the rules in the schema find: err is what a protovalidate.Validator gave for
// the message that the request calls field, "" for the request itself. nil is no violation. Any
// other error, such as a rule that does not compile, is returned.
func (v *Violations) AddRules(field string, err error) error {
	if err == nil {
		return nil
	}
	var found *protovalidate.ValidationError
	if !errors.As(err, &found) {
		return fmt.Errorf("check rules of %q: %w", field, err)
	}
	for _, violation := range found.Violations {
		path := protovalidate.FieldPathString(violation.Proto.GetField())
		v.Add(join(field, path), "%s", ruleText(violation))
	}
	return nil
}

// ruleText reads well after the field's name: "is required", "must be at most 63 characters".
func ruleText(violation *protovalidate.Violation) string {
	text := violation.Proto.GetMessage()
	if text == "" {
		return "violates rule " + violation.Proto.GetRuleId()
	}
	return strings.TrimPrefix(text, "value ")
}

func join(field, path string) string {
	if field == "" || path == "" {
		return field + path
	}
	return field + "." + path
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
