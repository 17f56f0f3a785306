package controlplane

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"causeway/controlplane/api"
)

// requestIDHeader carries the id of a call, from a caller that has one and back to every caller.
const requestIDHeader = "x-request-id"

var requestIDPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// record is what becomes known of a call on its way in. It is written before the handler runs and
// read after, by the call's goroutine.
type record struct {
	id     string
	caller api.Caller
}

type recordKey struct{}

// recordOf gives the record that identify has made.
func recordOf(ctx context.Context) *record {
	if r, ok := ctx.Value(recordKey{}).(*record); ok {
		return r
	}
	return &record{}
}

// identify gives the call an id and a record.
func identify(ctx context.Context, _ string, _ any, next func(context.Context) error) error {
	r := &record{id: requestID(ctx)}
	// Without a stream to set it on, which is in no call of grpc-go, the caller just does not learn it.
	_ = grpc.SetHeader(ctx, metadata.Pairs(requestIDHeader, r.id))
	return next(context.WithValue(ctx, recordKey{}, r))
}

func requestID(ctx context.Context) string {
	if given := metadata.ValueFromIncomingContext(ctx, requestIDHeader); len(given) == 1 && requestIDPattern.MatchString(given[0]) {
		return given[0]
	}
	var b [8]byte
	rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}

// logger takes what go-grpc-middleware logs: the end of each call.
func (c *chain) logger() logging.Logger {
	return logging.LoggerFunc(func(ctx context.Context, level logging.Level, _ string, fields ...any) {
		c.log.Log(ctx, slog.Level(level), "api call ended", fields...)
	})
}

func logOptions() []logging.Option {
	return []logging.Option{
		logging.WithLogOnEvents(logging.FinishCall),
		logging.WithLevels(logLevel),
		logging.WithFieldsFromContext(func(ctx context.Context) logging.Fields {
			return logging.Fields{"request_id", recordOf(ctx).id}
		}),
	}
}

// logLevel keeps what callers do wrong out of the log; the audit has it.
func logLevel(code codes.Code) logging.Level {
	switch code {
	case codes.Internal, codes.Unknown, codes.DataLoss:
		return logging.LevelError
	case codes.Unavailable, codes.DeadlineExceeded:
		return logging.LevelWarn
	}
	return logging.LevelDebug
}

// auditCall writes one line for every call: who asked what of which resource and what came of it.
// Nothing of the request but names is in it.
func (c *chain) auditCall(ctx context.Context, method string, request any, next func(context.Context) error) error {
	start := time.Now()
	err := next(ctx)
	level := slog.LevelInfo
	if c.access[method] == anonymous {
		level = slog.LevelDebug // probes
	}
	r := recordOf(ctx)
	c.audit.Log(ctx, level, "api call",
		"caller", r.caller.Name,
		"account", r.caller.Account,
		"method", method,
		"resource", resourceName(request),
		"code", status.Code(err).String(),
		"duration", time.Since(start),
		"request_id", r.id,
	)
	return err
}

// maxLoggedName is longer than any name that a schema allows.
const maxLoggedName = 512

// resourceName gives the name of what a request is about: its name, that of the resource in it, or
// the parent and the id of a new one.
func resourceName(request any) string {
	m, ok := request.(proto.Message)
	if !ok {
		return ""
	}
	r := m.ProtoReflect()
	name, parent := text(r, "name"), text(r, "parent")
	for field, value := range r.Range {
		switch {
		case isID(field):
			name = path.Join(parent, value.String())
		case name == "" && field.Message() != nil && !field.IsList() && !field.IsMap():
			name = text(value.Message(), "name")
		}
	}
	if name == "" {
		name = parent
	}
	return name[:min(len(name), maxLoggedName)]
}

// isID tells the field that has the last part of a new resource's name.
func isID(field protoreflect.FieldDescriptor) bool {
	return field.Kind() == protoreflect.StringKind && !field.IsList() &&
		strings.HasSuffix(string(field.Name()), "_id") && field.Name() != "request_id"
}

func text(r protoreflect.Message, name protoreflect.Name) string {
	field := r.Descriptor().Fields().ByName(name)
	if field == nil || field.Kind() != protoreflect.StringKind || field.IsList() {
		return ""
	}
	return r.Get(field).String()
}
