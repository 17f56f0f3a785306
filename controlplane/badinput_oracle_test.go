package controlplane_test

import (
	"bytes"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"causeway/controlplane/apierr"
	pb "causeway/proto/causeway/v1"
)

// refusals are the codes of requests that are wrong, or right and in conflict with what there is.
var refusals = []codes.Code{
	codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition, codes.Aborted,
	codes.PermissionDenied, codes.ResourceExhausted,
}

// expected gives the codes that a mutation may end in.
func expected(one mutation) []codes.Code {
	switch {
	case one.kind == undecodable:
		return []codes.Code{codes.InvalidArgument}
	case one.ignored:
		return []codes.Code{codes.OK}
	case one.kind == invalid:
		return []codes.Code{codes.InvalidArgument}
	case one.kind == invisible:
		return []codes.Code{codes.InvalidArgument, codes.NotFound}
	case one.kind == wrong:
		return refusals
	}
	return append([]codes.Code{codes.OK}, refusals...)
}

// traces are of what goes on inside.
var traces = regexp.MustCompile(`goroutine \d|panic|\.go:\d|runtime error|etcdserver|/causeway/v1|rpc error|0x[0-9a-f]{8}`)

const maxStatus = 8 << 10

// domainFaults says what is wrong with a refusal by our own code: AIP-193, sizes, and what it tells.
func domainFaults(m *method, wire []byte, st *status.Status) []string {
	faults := statusFaults(wire, st)
	if m.access != pb.Access_OPERATE && strings.Contains(st.Proto().String(), ghost) && !bytes.Contains(wire, []byte(ghost)) {
		faults = append(faults, "tells another account's names")
	}
	var infos, others int
	for _, detail := range st.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			infos++
			if d.GetDomain() != apierr.Domain || !reasonForm.MatchString(d.GetReason()) {
				faults = append(faults, "ErrorInfo "+d.String())
			}
			for key, value := range d.GetMetadata() {
				if !printable(value) {
					faults = append(faults, "metadata "+key+" has what cannot be printed")
				}
			}
		case *errdetails.BadRequest:
			others++
			for _, v := range d.GetFieldViolations() {
				if !isPath(m.input.Descriptor(), v.GetField()) && v.GetField() != "request" {
					faults = append(faults, "violation of "+strconv.Quote(v.GetField())+", which is no field")
				}
			}
		case error:
			faults = append(faults, "undecodable detail: "+d.Error())
		default:
			others++
		}
	}
	if infos != 1 || others > 1 {
		faults = append(faults, strconv.Itoa(infos)+" ErrorInfo and "+strconv.Itoa(others)+" other details")
	}
	if st.Code() == codes.InvalidArgument && others != 1 {
		faults = append(faults, "no BadRequest")
	}
	return faults
}

var reasonForm = regexp.MustCompile(`^[A-Z][A-Z0-9_]*[A-Z0-9]$`)

// statusFaults says what is wrong with a refusal by whomever.
func statusFaults(wire []byte, st *status.Status) []string {
	var faults []string
	text := st.Proto().String()
	switch {
	case st.Message() == "":
		faults = append(faults, "no message")
	case !utf8.ValidString(st.Message()):
		faults = append(faults, "message is not UTF-8")
	case !printable(st.Message()):
		faults = append(faults, "message has what cannot be printed")
	}
	if size := proto.Size(st.Proto()); size*4/3+3*len(st.Message()) > maxStatus {
		faults = append(faults, "status of "+strconv.Itoa(size)+" bytes")
	}
	if found := traces.FindString(text); found != "" && !bytes.Contains(wire, []byte(found)) {
		faults = append(faults, "tells "+strconv.Quote(found))
	}
	if slices.Contains([]codes.Code{codes.Internal, codes.Unknown, codes.DataLoss}, st.Code()) {
		faults = append(faults, "code "+st.Code().String())
	}
	return faults
}

func printable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

var index = regexp.MustCompile(`\[\d+\]$`)

// isPath says whether text is the path of a field: "endpoint.subnets[1]".
func isPath(m protoreflect.MessageDescriptor, text string) bool {
	for part := range strings.SplitSeq(text, ".") {
		if m == nil {
			return false
		}
		f := m.Fields().ByName(protoreflect.Name(index.ReplaceAllString(part, "")))
		if f == nil || index.MatchString(part) && !f.IsList() {
			return false
		}
		m = f.Message()
	}
	return true
}
