package controlplane_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

// value is a bad value for a field or an element of it.
type value struct {
	what    string
	mutator string
	kind    mutationKind
	make    func(empty protoreflect.Value) protoreflect.Value
}

func scalar(kind mutationKind, v any) value {
	return named(fmt.Sprintf("%.60q", fmt.Sprint(v)), kind, v)
}

// named is scalar for a value that the world decides.
func named(mutator string, kind mutationKind, v any) value {
	made := protoreflect.ValueOf(v)
	return value{fmt.Sprint(v), mutator, kind, func(protoreflect.Value) protoreflect.Value { return made }}
}

// values gives the bad values of a field of a type.
func (w *world) values(m *method, f protoreflect.FieldDescriptor, good string, ignored bool) []value {
	switch f.Kind() {
	case protoreflect.StringKind:
		return w.texts(m, f, good, ignored)
	case protoreflect.BoolKind:
		return []value{scalar(maybe, false), scalar(maybe, true)}
	case protoreflect.EnumKind:
		return enums(f)
	case protoreflect.Int32Kind, protoreflect.Int64Kind:
		return ints(f)
	case protoreflect.DoubleKind:
		var all []value
		for _, n := range badFloats {
			all = append(all, scalar(maybe, n))
		}
		return all
	case protoreflect.BytesKind:
		var all []value
		for _, n := range []int{0, 1, 31, 32, 33, 900 << 10} {
			all = append(all, scalar(maybe, make([]byte, n)))
		}
		return all
	case protoreflect.MessageKind:
		return w.messages(m, f)
	}
	w.t.Fatalf("%s: no mutations for %v", f.FullName(), f.Kind())
	return nil
}

func ints(f protoreflect.FieldDescriptor) []value {
	var all []value
	for _, n := range badInts {
		kind := maybe
		each := n == -1 && strings.HasPrefix(string(f.Name()), "icmp_")
		if n < 0 && !each && !strings.HasSuffix(string(f.Name()), "_bytes") {
			kind = invalid // nothing else that users give is negative
		}
		switch {
		case f.Kind() == protoreflect.Int64Kind:
			all = append(all, scalar(kind, n))
		case n >= math.MinInt32 && n <= math.MaxInt32:
			all = append(all, scalar(kind, int32(n)))
		}
	}
	return all
}

// enums gives the values of an enum and some that it does not have.
func enums(f protoreflect.FieldDescriptor) []value {
	var all []value
	for n := range f.Enum().Values().Len() {
		all = append(all, scalar(maybe, f.Enum().Values().Get(n).Number()))
	}
	for _, n := range []protoreflect.EnumNumber{-1, 9999, math.MaxInt32, math.MinInt32} {
		all = append(all, scalar(invalid, n))
	}
	return all
}

// messages gives bad values of the well-known types, and an empty one of others.
func (w *world) messages(m *method, f protoreflect.FieldDescriptor) []value {
	empty := value{"empty", "empty", maybe, func(v protoreflect.Value) protoreflect.Value { return v }}
	all := []value{empty}
	switch f.Message().FullName() {
	case "google.protobuf.Timestamp", "google.protobuf.Duration":
		for _, at := range badTimes {
			all = append(all, value{fmt.Sprint(at), fmt.Sprint(at), maybe, func(v protoreflect.Value) protoreflect.Value {
				fields := v.Message().Descriptor().Fields()
				v.Message().Set(fields.ByName("seconds"), protoreflect.ValueOfInt64(at.seconds))
				v.Message().Set(fields.ByName("nanos"), protoreflect.ValueOfInt32(at.nanos))
				return v
			}})
		}
	case "google.protobuf.FieldMask":
		all = append(all, w.masks(m)...)
	default:
		if f.Message().ParentFile().Package() != "causeway.v1" {
			w.t.Fatalf("%s: no mutations for %s", f.FullName(), f.Message().FullName())
		}
	}
	return all
}

// masks gives masks of what should and should not be in one.
func (w *world) masks(m *method) []value {
	paths := append([][]string{}, badPaths...)
	mutator := func(n int) string {
		if n < len(badPaths) {
			return fmt.Sprintf("mask %.60q", badPaths[n])
		}
		return "mask of a field"
	}
	resource := w.main[m.noun].ProtoReflect().Descriptor().Fields()
	for n := range resource.Len() {
		paths = append(paths, []string{string(resource.Get(n).Name())})
	}
	many := make([]string, 100_000)
	for n := range many {
		many[n] = "nothing"
	}
	paths = append(paths, many)
	var all []value
	for n, path := range paths {
		filled := make([]string, len(path))
		for k := range path {
			filled[k] = strings.ReplaceAll(path[k], "%s", string(resource.Get(resource.Len()/2).Name()))
		}
		all = append(all, value{"mask " + strings.Join(filled[:min(len(filled), 3)], ","), mutator(n), maybe, func(v protoreflect.Value) protoreflect.Value {
			list := v.Message().Mutable(v.Message().Descriptor().Fields().ByName("paths")).List()
			for _, p := range filled {
				list.Append(protoreflect.ValueOfString(p))
			}
			return v
		}})
	}
	return append(all, value{"mask not UTF-8", "mask not UTF-8", undecodable, func(v protoreflect.Value) protoreflect.Value {
		v.Message().Mutable(v.Message().Descriptor().Fields().ByName("paths")).List().Append(protoreflect.ValueOfString(placeholder))
		return v
	}})
}

// addressLike are the names of fields that hold addresses, prefixes or hosts.
var addressLike = regexp.MustCompile(`cidr|address|route|prefix|host|upstream|server|_ips?$`)

// nameLike are the names of fields that hold names of resources.
var nameLike = func() map[protoreflect.Name]bool {
	all := map[protoreflect.Name]bool{"name": true, "parent": true, "subnet": true, "service_name": true, "endpoints": true, "endpoint": true, "endpoint_service": true, "source_group": true,
		"source": true, "destination": true}
	for _, kind := range resource.All() {
		for field := range kind.References {
			all[field] = true
		}
	}
	return all
}()

// texts gives the bad texts of a field. Those of fields that nobody sets are few.
func (w *world) texts(m *method, f protoreflect.FieldDescriptor, good string, ignored bool) []value {
	broken := scalar(undecodable, placeholder)
	if ignored {
		return []value{broken, scalar(maybe, ""), scalar(maybe, "\x00"), scalar(maybe, "accounts/ghost/vpcs/ghost")}
	}
	all := []value{broken, scalar(maybe, ""), scalar(maybe, "a"), scalar(maybe, strings.Repeat("a", 63))}
	add := func(kind mutationKind, texts ...string) {
		for _, text := range texts {
			all = append(all, scalar(kind, text))
		}
	}
	for _, text := range strangeTexts {
		add(textKind(m, f, text), text)
	}
	for n, text := range spoiled(good) {
		if text != good {
			all = append(all, named(fmt.Sprint("spoiled ", n), textKind(m, f, text), text))
		}
	}
	name := string(f.Name())
	switch {
	case inside(m, f) && m.verb == "Create" && name == "name": // ignored
	case nameLike[f.Name()]:
		all = append(all, w.strangers(m, f, good)...)
	case addressLike.MatchString(name) && name != "server_name":
		for _, text := range badAddresses {
			add(addressKind(f, text), text)
		}
		add(maybe, "10.0.1.0/24", "10.0.1.128/25", "10.0.1.4", "10.0.1.255", "10.0.1.0")
	case name == "url":
		add(wrong, badURLs...)
	case strings.HasSuffix(name, "public_key"):
		add(wrong, badKeys...)
		all = append(all, named("their key", wrong, w.theirs["Attachment"].(*pb.Attachment).GetPublicKey()),
			named("own key", wrong, w.spare["CustomerGateway"].(*pb.CustomerGateway).GetPublicKey()))
	case name == "etag":
		all = append(all, named("etag of a VPC", maybe, w.main["Vpc"].(*pb.Vpc).GetEtag()))
	}
	return all
}

// addressKind says what comes of a text in a field that holds addresses. Rules may name any prefix, and
// host bits do not count there.
func addressKind(f protoreflect.FieldDescriptor, text string) mutationKind {
	prefix, err := netip.ParsePrefix(text)
	if strings.HasSuffix(string(f.Parent().Name()), "Rule") && err == nil && prefix.Addr().Is4() {
		return maybe
	}
	return wrong
}

// categoryForm is of the categories of listings.
var categoryForm = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)

// forwardedForm is of domains that may have a forward rule, top-level ones included.
var forwardedForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9_.-]{0,61}[a-z0-9])?$`)

// textKind says what comes of strange text in a field.
func textKind(m *method, f protoreflect.FieldDescriptor, text string) mutationKind {
	name := string(f.Name())
	switch {
	case name == "display_name", name == "title", name == "description", inside(m, f) && m.verb == "Create" && (name == "name" || name == "etag"):
		return maybe
	case strings.Contains(text, "-----"), name == "path" && strings.HasPrefix(text, "/"), name == "alpn_protocols":
		return maybe // PEM may stand among other text; a path and a protocol are whoever's who gives them
	case name == "protocol" && isProtocol(text), name == "policy" && json.Valid([]byte(text)) && strings.Contains(text, "Statement"):
		return maybe
	case name == "destination", name == "server_name":
		return maybe // domain names
	case name == "url" && strings.HasPrefix(strings.ToLower(text), "https://hooks"):
		return maybe // the path is the receiver's
	case name == "domain_name" && forwardedForm.MatchString(text):
		return maybe
	case name == "categories" && categoryForm.MatchString(text):
		return maybe
	case name == "principals" && text == "*" && m.name == "RemovePrincipals":
		return maybe
	case strings.EqualFold(text, requestID), name == "public_key" && len(text) == 44, strings.HasSuffix(name, "_id") && resource.IsID(text):
		return maybe
	case name == "page_token", strings.HasSuffix(name, "_id"):
		return invalid
	}
	return wrong
}

// isProtocol says whether rules take a text for a protocol.
func isProtocol(text string) bool {
	_, ok := resource.ParseProtocol(text)
	return ok
}

// inside says whether a field is one of the resource in a request and not of the request itself.
func inside(m *method, f protoreflect.FieldDescriptor) bool {
	return f.Parent() != m.input.Descriptor()
}

// strangers are names and uids of what a field cannot name: own resources of another kind, what has
// been deleted, and what is another account's. Any VPC may be asked for a peering, and the operator
// sees everything.
func (w *world) strangers(m *method, f protoreflect.FieldDescriptor, good string) []value {
	var all []value
	add := func(mutator string, kind mutationKind, name, uid string) {
		same := collection(name) == collection(good) || !strings.Contains(good, "/")
		if kind == wrong && same || f.Name() == "peer_vpc" || m.access == pb.Access_OPERATE {
			kind = maybe
		}
		all = append(all, named(mutator, kind, name))
		if uid != "" {
			all = append(all, named(mutator+"'s uid", kind, uid))
		}
	}
	for _, noun := range slices.Sorted(maps.Keys(w.theirs)) {
		theirs := w.theirs[noun].(resource.Message)
		add("their "+string(noun), invisible, theirs.GetName(), theirs.GetUid())
		if own, ok := w.main[noun].(resource.Message); ok {
			kind := wrong
			if m.name == "Explain" && f.Name() == "source" && noun == "VpnConnection" {
				kind = maybe // a connection may come from either
			}
			add("own "+string(noun), kind, own.GetName(), own.GetUid())
		}
	}
	for _, noun := range slices.Sorted(maps.Keys(w.gone)) {
		name, uid := w.gone[noun][0], w.gone[noun][1]
		if noun == m.noun && m.name == "CreateSecurityGroup" {
			add("itself", maybe, name, "") // the name is that of the one to be made
			name = uid
		}
		add("deleted "+string(noun), invisible, name, uid)
	}
	return all
}

// collection gives the last but one segment of a name.
func collection(name string) string { return path.Base(path.Dir(name)) }
