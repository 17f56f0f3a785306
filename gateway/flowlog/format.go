package flowlog

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"causeway/gateway/spec"
)

// DefaultFormat has the fields of VPC Flow Logs version 2, which is AWS's default.
const DefaultFormat = "${version} ${account-id} ${interface-id} ${srcaddr} ${dstaddr} ${srcport} ${dstport} ${protocol} " +
	"${packets} ${bytes} ${start} ${end} ${action} ${log-status}"

// maxFields bounds the length of a line.
const maxFields = 64

// Format says which fields a line has. Make one with [ParseFormat].
type Format struct {
	fields  []field
	version int
}

// ParseFormat reads a custom format as AWS writes it: fields such as ${srcaddr} with one space between. The error
// says which field is not known, and which are.
func ParseFormat(text string) (Format, error) {
	f := Format{version: 2}
	if text == "" {
		return f, errors.New("no fields")
	}
	seen := map[string]bool{}
	for word := range strings.SplitSeq(text, " ") {
		name, opened := strings.CutPrefix(word, "${")
		name, closed := strings.CutSuffix(name, "}")
		known, ok := fields[name]
		switch {
		case !opened || !closed:
			return Format{}, fmt.Errorf("%.40q is no field; write ${name}, with one space between fields", word)
		case !ok:
			return Format{}, fmt.Errorf("%.40q is not known; fields are %s", name, strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
		case seen[name]:
			return Format{}, fmt.Errorf("%q is there twice", name)
		case len(f.fields) == maxFields:
			return Format{}, fmt.Errorf("more than %d fields", maxFields)
		}
		seen[name] = true
		f.version = max(f.version, known.version)
		f.fields = append(f.fields, known)
	}
	return f, nil
}

// AppendRecord appends the line of a connection that ended.
func (f *Format) AppendRecord(b []byte, r *spec.FlowRecord) []byte {
	return f.append(b, &line{FlowRecord: r, version: f.version, status: "OK"})
}

// appendSkipped appends the line that tells of records lost between two times.
func (f *Format) appendSkipped(b []byte, lost *spec.FlowRecord) []byte {
	return f.append(b, &line{FlowRecord: lost, version: f.version, status: "SKIPDATA"})
}

func (f *Format) append(b []byte, l *line) []byte {
	for i, field := range f.fields {
		if i > 0 {
			b = append(b, ' ')
		}
		start := len(b)
		if b = field.append(b, l); len(b) == start {
			b = append(b, '-')
		}
	}
	return append(b, '\n')
}
