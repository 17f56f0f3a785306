package apierr

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"causeway/controlplane/store"
)

const (
	kind = "endpoint service"
	name = "accounts/a/endpointServices/orders"
)

// outcome is everything about a status that a client can see.
type outcome struct {
	Code     codes.Code
	Message  string
	Reason   string
	Metadata map[string]string
	Detail   proto.Message
}

// observe takes a status apart and checks what holds for all: one ErrorInfo of our domain, at most
// one other detail, and a size that fits trailers.
func observe(t *testing.T, st *status.Status) outcome {
	t.Helper()
	out := outcome{Code: st.Code(), Message: st.Message()}
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			if out.Reason != "" || info.GetDomain() != Domain {
				t.Errorf("second ErrorInfo, or of domain %q", info.GetDomain())
			}
			out.Reason, out.Metadata = info.GetReason(), info.GetMetadata()
			continue
		}
		if out.Detail != nil {
			t.Errorf("more than one further detail: %v", detail)
		}
		out.Detail = detail.(proto.Message)
	}
	if out.Reason == "" {
		t.Error("no ErrorInfo")
	}
	if size := wireSize(t, st); size >= 8<<10 {
		t.Errorf("%d bytes in trailers", size)
	}
	return out
}

// wireSize is what the status takes in trailers: base64 of its message form, and its text with
// everything but ASCII percent-encoded.
func wireSize(t *testing.T, st *status.Status) int {
	t.Helper()
	raw, err := proto.Marshal(st.Proto())
	if err != nil {
		t.Fatal(err)
	}
	size := base64.StdEncoding.EncodedLen(len(raw))
	for _, b := range []byte(st.Message()) {
		if b >= utf8.RuneSelf {
			size += 2
		}
		size++
	}
	return size
}

func TestStatuses(t *testing.T) {
	about := map[string]string{"resourceType": kind, "resourceName": name}
	info := func(text string) proto.Message {
		return &errdetails.ResourceInfo{ResourceType: kind, ResourceName: name, Description: text}
	}
	retry := func(d time.Duration) proto.Message {
		return &errdetails.RetryInfo{RetryDelay: durationpb.New(d)}
	}
	field := func(field, text string) proto.Message {
		return &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
			{Field: field, Description: text},
		}}
	}
	quota := func(subject, text string) proto.Message {
		return &errdetails.QuotaFailure{Violations: []*errdetails.QuotaFailure_Violation{
			{Subject: subject, Description: text},
		}}
	}
	precondition := func(why, text string) proto.Message {
		return &errdetails.PreconditionFailure{Violations: []*errdetails.PreconditionFailure_Violation{
			{Type: why, Subject: name, Description: text},
		}}
	}
	tests := []struct {
		name string
		err  error
		want outcome
	}{
		{"one bad field", Invalid("vpc.cidr_block", "has host bits set; use %q", "10.0.0.0/16"), outcome{
			codes.InvalidArgument, `vpc.cidr_block has host bits set; use "10.0.0.0/16"`, "INVALID_FIELD",
			map[string]string{"field": "vpc.cidr_block"},
			field("vpc.cidr_block", `has host bits set; use "10.0.0.0/16"`)}},
		{"absent", NotFound(kind, name), outcome{
			codes.NotFound, `endpoint service "` + name + `" not found`, "ENDPOINT_SERVICE_NOT_FOUND",
			about, info("not found")}},
		{"id taken", Exists(kind, name), outcome{
			codes.AlreadyExists, `endpoint service "` + name + `" exists already`, "ENDPOINT_SERVICE_EXISTS",
			about, info("exists already")}},
		{"unique thing taken", InUse("public-key", kind, name), outcome{
			codes.AlreadyExists, `endpoint service "` + name + `": its public-key is in use by another resource`,
			"PUBLIC_KEY_IN_USE", about, info("public-key in use")}},
		{"wrong state", Precondition("NOT_PENDING", kind, name, "is %s, not pending", "active"), outcome{
			codes.FailedPrecondition, `endpoint service "` + name + `" is active, not pending`, "NOT_PENDING",
			about, precondition("NOT_PENDING", "is active, not pending")}},
		{"stale etag", EtagMismatch(kind, name), outcome{
			codes.Aborted, `endpoint service "` + name + `" changed since it was read; read it again and retry`,
			"ETAG_MISMATCH", about, nil}},
		{"lost race", Conflict(kind, name), outcome{
			codes.Aborted, `endpoint service "` + name + `": a concurrent change came first; retry`,
			"CONFLICT", about, nil}},
		{"request id reused", RequestIDReused("r1"), outcome{
			codes.InvalidArgument, `request_id "r1" was used by a request with other contents; use a new one`,
			"REQUEST_ID_REUSED", map[string]string{"requestId": "r1"},
			field("request_id", "was used by a request with other contents; use a new one")}},
		{"no free address", Exhausted("AZ_ADDRESSES_EXHAUSTED", "subnets/a", "no free address in %q", "subnets/a"), outcome{
			codes.ResourceExhausted, `no free address in "subnets/a"`, "AZ_ADDRESSES_EXHAUSTED",
			map[string]string{"subject": "subnets/a"}, quota("subnets/a", `no free address in "subnets/a"`)}},
		{"too many requests", RateLimited(time.Second), outcome{
			codes.ResourceExhausted, "too many requests; retry in 1s", "RATE_LIMITED", nil, retry(time.Second)}},
		{"not up", NotReady(time.Second, "no gateway serves %q yet", "us-east-1a"), outcome{
			codes.Unavailable, `no gateway serves "us-east-1a" yet`, "NOT_READY", nil, retry(time.Second)}},
		{"revision gone", OutOfRange("revision %d is gone", 7), outcome{
			codes.OutOfRange, "revision 7 is gone", "REVISION_GONE", nil, nil}},
		{"no credentials", Unauthenticated(), outcome{
			codes.Unauthenticated, `no valid credentials; send "authorization: Bearer <token>"`,
			"UNAUTHENTICATED", nil, nil}},
		{"not allowed", PermissionDenied(), outcome{
			codes.PermissionDenied, "the caller may not do this, or what it names does not exist",
			"PERMISSION_DENIED", nil, nil}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st, cause := ToStatus(fmt.Errorf("handle request: %w", tt.err), "r")
			if cause != nil {
				t.Errorf("to be logged: %v", cause)
			}
			if diff := cmp.Diff(tt.want, observe(t, st), protocmp.Transform()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFromStore(t *testing.T) {
	condition := func(c store.ConditionError) error { return fmt.Errorf("commit: %w", &c) }
	tests := []struct {
		name   string
		err    error
		code   codes.Code
		reason string
	}{
		{"absent", store.ErrNotFound, codes.NotFound, "ENDPOINT_SERVICE_NOT_FOUND"},
		{"there", store.ErrExists, codes.AlreadyExists, "ENDPOINT_SERVICE_EXISTS"},
		{"changed", store.ErrConflict, codes.Aborted, "ETAG_MISMATCH"},
		{"claimed", store.ErrClaimed, codes.AlreadyExists, "NAME_IN_USE"},
		{"not empty", store.ErrNotEmpty, codes.FailedPrecondition, "HAS_CHILDREN"},
		{"own condition: absent", condition(store.ConditionError{Err: store.ErrNotFound, Name: name}),
			codes.NotFound, "ENDPOINT_SERVICE_NOT_FOUND"},
		{"own condition: there", condition(store.ConditionError{Err: store.ErrExists, Name: name}),
			codes.AlreadyExists, "ENDPOINT_SERVICE_EXISTS"},
		{"own condition: changed", condition(store.ConditionError{Err: store.ErrConflict, Name: name}),
			codes.Aborted, "ETAG_MISMATCH"},
		{"other's condition: absent", condition(store.ConditionError{Err: store.ErrNotFound, Name: "vpcs/x"}),
			codes.NotFound, "RESOURCE_NOT_FOUND"},
		{"other's condition: there", condition(store.ConditionError{Err: store.ErrExists, Name: "vpcs/x"}),
			codes.AlreadyExists, "RESOURCE_EXISTS"},
		{"other's condition: changed", condition(store.ConditionError{Err: store.ErrConflict, Name: "vpcs/x"}),
			codes.Aborted, "CONFLICT"},
		{"claim", condition(store.ConditionError{Err: store.ErrClaimed, Claim: store.Claim{Kind: "public-key"}}),
			codes.AlreadyExists, "PUBLIC_KEY_IN_USE"},
		{"children", condition(store.ConditionError{Err: store.ErrNotEmpty, Name: name + "/x/y"}),
			codes.FailedPrecondition, "HAS_CHILDREN"},
		{"duplicate", condition(store.ConditionError{Err: store.ErrRequestSeen}), codes.Aborted, "CONFLICT"},
		{"unavailable", store.ErrUnavailable, codes.Unavailable, "STORE_UNAVAILABLE"},
		{"full", store.ErrExhausted, codes.ResourceExhausted, "STORE_FULL"},
		{"compacted", store.ErrCompacted, codes.OutOfRange, "REVISION_GONE"},
		{"too large", store.ErrTooLarge, codes.ResourceExhausted, "TOO_LARGE"},
		{"bad token", store.ErrPageToken, codes.InvalidArgument, "INVALID_FIELD"},
		{"bad name", store.ErrInvalid, codes.InvalidArgument, "INVALID_FIELD"},
		{"corrupt", store.ErrCorrupt, codes.Internal, "INTERNAL"},
		{"deadline", context.DeadlineExceeded, codes.DeadlineExceeded, "DEADLINE_EXCEEDED"},
		{"cancelled", context.Canceled, codes.Canceled, "CANCELED"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st, _ := ToStatus(FromStore(fmt.Errorf("read: %w", tt.err), kind, name), "r")
			got := observe(t, st)
			if got.Code != tt.code || got.Reason != tt.reason {
				t.Errorf("got %v %s, want %v %s", got.Code, got.Reason, tt.code, tt.reason)
			}
		})
	}
	if err := FromStore(nil, kind, name); err != nil {
		t.Errorf("nil became %v", err)
	}
}

func TestClaimDoesNotShowItsOwner(t *testing.T) {
	err := FromStore(&store.ConditionError{
		Err:   store.ErrClaimed,
		Claim: store.Claim{Kind: "public-key", Key: "secret key", Owner: "accounts/other/secret"},
	}, kind, name)
	if text := status.Convert(err).Proto().String(); strings.Contains(text, "secret") {
		t.Errorf("shows another tenant's resource: %s", text)
	}
}

func TestToStatusOfAnythingElse(t *testing.T) {
	tests := []struct {
		name   string
		err    error
		code   codes.Code
		logged bool
	}{
		{"unknown", errors.New("dial 10.1.2.3: secret"), codes.Internal, true},
		{"a foreign status", status.Error(codes.NotFound, "etcdserver: secret"), codes.Internal, true},
		{"a foreign status with our kind of detail", foreign(t), codes.Internal, true},
		{"not implemented", status.Error(codes.Unimplemented, "method X not implemented"), codes.Unimplemented, false},
		{"store unavailable", fmt.Errorf("secret: %w", store.ErrUnavailable), codes.Unavailable, true},
		{"store full", fmt.Errorf("secret: %w", store.ErrExhausted), codes.ResourceExhausted, true},
		{"deadline", fmt.Errorf("secret: %w", context.DeadlineExceeded), codes.DeadlineExceeded, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st, cause := ToStatus(tt.err, "req-17")
			if got := observe(t, st); got.Code != tt.code {
				t.Errorf("got %v, want %v", got.Code, tt.code)
			}
			if (cause != nil) != tt.logged {
				t.Errorf("to be logged: %v", cause)
			}
			text := st.Proto().String()
			if strings.Contains(text, "secret") {
				t.Errorf("the cause got out: %s", text)
			}
			if st.Code() == codes.Internal && !strings.Contains(st.Message(), "req-17") {
				t.Errorf("%q does not name the request", st.Message())
			}
		})
	}
	if st, cause := ToStatus(nil, ""); st.Code() != codes.OK || cause != nil {
		t.Errorf("nil became %v, %v", st, cause)
	}
}

func foreign(t *testing.T) error {
	t.Helper()
	st, err := status.New(codes.NotFound, "secret").WithDetails(&errdetails.ErrorInfo{Reason: "X", Domain: "other"})
	if err != nil {
		t.Fatal(err)
	}
	return st.Err()
}

func TestViolations(t *testing.T) {
	var v Violations
	if v.Err() != nil {
		t.Error("nothing noted is an error")
	}
	for i := range 25 {
		v.Add(fmt.Sprintf("targets[%d].port", i), "must be 1 to 65535")
	}
	got := observe(t, status.Convert(v.Err()))
	if want := "targets[0].port must be 1 to 65535 (and 24 more)"; got.Message != want {
		t.Errorf("got %q, want %q", got.Message, want)
	}
	if n := len(got.Detail.(*errdetails.BadRequest).GetFieldViolations()); n != 10 || v.Len() != 25 {
		t.Errorf("%d violations listed of %d", n, v.Len())
	}
}

func TestHostileText(t *testing.T) {
	for _, text := range []string{
		"a\xff\xfeb", "\x1b[31mred", "line\nline", "\u202egnp", "nul\x00", "\u200b",
		strings.Repeat("\xff", 1<<16), strings.Repeat("é", 1<<16), strings.Repeat("\U0001F600", 1<<16),
		strings.Repeat("x", 1<<20),
	} {
		var v Violations
		for range 20 {
			v.Add(text, "%s", text)
		}
		for _, err := range []error{
			v.Err(), NotFound(kind, text), InUse("name", kind, text), RequestIDReused(text),
			Precondition("WHY", kind, text, "%s", text), Exhausted("WHY", text, "%s", text),
			NotReady(time.Second, "%s", text), OutOfRange("%s", text),
		} {
			st := status.Convert(err)
			observe(t, st)
			for _, bad := range []string{"\x1b", "\n", "\u202e", "\x00", "\u200b"} {
				if strings.Contains(st.Message(), bad) {
					t.Errorf("%q lets %q through", st.Message(), bad)
				}
			}
			if !utf8.ValidString(st.Message()) {
				t.Errorf("%q is not UTF-8", st.Message())
			}
		}
	}
}

func TestClean(t *testing.T) {
	tests := []struct{ in, want string }{
		{"plain", "plain"},
		{"żółw 東京", "żółw 東京"},
		{"a\xffb", "a\uFFFDb"},
		{strings.Repeat("é", 20), strings.Repeat("é", 6) + "…"},
	}
	for _, tt := range tests {
		if got := clean(tt.in, 16); got != tt.want {
			t.Errorf("clean(%q) gave %q, want %q", tt.in, got, tt.want)
		}
	}
}
