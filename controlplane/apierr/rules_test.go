package apierr

import (
	"errors"
	"strings"
	"testing"
	"time"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "causeway/proto/causeway/v1"
)

func TestRules(t *testing.T) {
	const good = "loadBalancers/orders"
	listener := func(change func(*pb.Listener)) proto.Message {
		l := &pb.Listener{Port: 443, Protocol: pb.Listener_TCP, TargetGroup: "targetGroups/orders"}
		change(l)
		return &pb.CreateListenerRequest{Parent: good, ListenerId: "https", Listener: l}
	}
	tests := []struct {
		name    string
		request proto.Message
		want    []string
	}{
		{"nothing", listener(func(*pb.Listener) {}), nil},
		{"duration", listener(func(l *pb.Listener) { l.IdleTimeout = durationpb.New(59 * time.Second) }),
			[]string{"listener.idle_timeout must be 60s to 6000s, is 59s"}},
		{"duration with a fraction", listener(func(l *pb.Listener) { l.IdleTimeout = durationpb.New(1500 * time.Millisecond) }),
			[]string{"listener.idle_timeout must be 60s to 6000s, is 1.5s"}},
		{"number", listener(func(l *pb.Listener) { l.Port = 70000 }),
			[]string{"listener.port must be 1 to 65535, is 70000"}},
		{"no enum", listener(func(l *pb.Listener) { l.Protocol = 0 }), []string{"listener.protocol is required"}},
		{"unknown enum", listener(func(l *pb.Listener) { l.Protocol = 77 }),
			[]string{"listener.protocol must be one of the defined enum values, is 77"}},
		{"length", listener(func(l *pb.Listener) { l.Etag = strings.Repeat("é", 2000) }),
			[]string{"listener.etag must be at most 128 characters, is 2000 characters long"}},
		{"negative", &pb.ListListenersRequest{Parent: good, PageSize: -1}, []string{"page_size must be at least 0, is -1"}},
		{"id", &pb.CreateVpcRequest{VpcId: "Not\x1b[31m An Id", Vpc: &pb.Vpc{Region: "us-east-1", CidrBlock: "10.0.0.0/16"}},
			[]string{"vpc_id must be a lower-case letter, then lower-case letters, digits and hyphens, at most 63 and no hyphen last, " +
				"is \"Not\uFFFD[31m An Id\""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var v Violations
			if err := v.AddRules("", protovalidate.Validate(tt.request)); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, violation := range v.list {
				got = append(got, violation.GetField()+" "+violation.GetDescription())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRulesOfAPartOfARequest(t *testing.T) {
	var v Violations
	if err := v.AddRules("request.vpc", protovalidate.Validate(&pb.Vpc{Etag: strings.Repeat("x", 2000)})); err != nil {
		t.Fatal(err)
	}
	fields := make(map[string]bool)
	for _, violation := range v.list {
		fields[violation.GetField()] = true
	}
	if !fields["request.vpc.etag"] {
		t.Errorf("found the fields %v", fields)
	}
	broken := errors.New("rule does not compile")
	if err := v.AddRules("vpc", broken); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// TestRulesDoNotRepeatSecrets refuses the same value of a field that may be shown and of one that
// may not.
func TestRulesDoNotRepeatSecrets(t *testing.T) {
	fields := (&pb.Token{}).ProtoReflect().Descriptor().Fields()
	for name, want := range map[protoreflect.Name]string{
		"secret": "does not fit",
		"etag":   `does not fit, is "hunter2"`,
	} {
		got := ruleText(&protovalidate.Violation{
			Proto:           &validate.Violation{RuleId: new("string.in"), Message: new("does not fit")},
			FieldValue:      protoreflect.ValueOfString("hunter2"),
			FieldDescriptor: fields.ByName(name),
		})
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
