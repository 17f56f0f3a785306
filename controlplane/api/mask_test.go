package api

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"causeway/controlplane/apierr"
	pb "causeway/proto/causeway/v1"
)

func TestMergeNestedFields(t *testing.T) {
	stored := func() *pb.TargetGroup {
		return &pb.TargetGroup{
			Name: "n", Port: 80, FailOpen: new(true),
			HealthCheck: &pb.HealthCheck{Port: 81, Interval: durationpb.New(30e9), HealthyThreshold: 5},
		}
	}
	cases := []struct {
		name  string
		in    *pb.TargetGroup
		paths []string
		want  func(*pb.TargetGroup)
		wrong int
	}{
		{"OK populated part", &pb.TargetGroup{HealthCheck: &pb.HealthCheck{Interval: durationpb.New(5e9)}}, nil,
			func(g *pb.TargetGroup) { g.HealthCheck.Interval = durationpb.New(5e9) }, 0},
		{"OK populated zero", &pb.TargetGroup{FailOpen: new(false)}, nil,
			func(g *pb.TargetGroup) { g.FailOpen = new(false) }, 0},
		{"OK empty part is nothing", &pb.TargetGroup{HealthCheck: &pb.HealthCheck{}}, nil, func(*pb.TargetGroup) {}, 0},
		{"OK named part", &pb.TargetGroup{HealthCheck: &pb.HealthCheck{Port: 9}}, []string{"health_check"},
			func(g *pb.TargetGroup) { g.HealthCheck = &pb.HealthCheck{Port: 9} }, 0},
		{"OK named within", &pb.TargetGroup{HealthCheck: &pb.HealthCheck{Port: 9, HealthyThreshold: 9}}, []string{"health_check.port"},
			func(g *pb.TargetGroup) { g.HealthCheck.Port = 9 }, 0},
		{"OK clear within", &pb.TargetGroup{}, []string{"health_check.port"}, func(g *pb.TargetGroup) { g.HealthCheck.Port = 0 }, 0},
		{"OK replace all but what is fixed", &pb.TargetGroup{Name: "x", Port: 80, TargetCount: 7}, []string{"*"},
			func(g *pb.TargetGroup) { g.FailOpen, g.HealthCheck = nil, nil }, 0},
		{"bad within", &pb.TargetGroup{}, []string{"health_check.colour", "health_check.interval.seconds", "port"},
			func(g *pb.TargetGroup) { g.Port = 0 }, 2},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			var wrong apierr.Violations
			got, want := stored(), stored()
			var mask *fieldmaskpb.FieldMask
			if tc.paths != nil {
				mask = &fieldmaskpb.FieldMask{Paths: tc.paths}
			}
			merge(got, tc.in, mask, &wrong)
			tc.want(want)
			if !proto.Equal(got, want) || wrong.Len() != tc.wrong {
				t.Errorf("merged to %v, want %v; %d paths wrong, want %d: %v", got, want, wrong.Len(), tc.wrong, wrong.Err())
			}
		})
	}
}

func TestClearWithinAbsentPartLeavesItAbsent(t *testing.T) {
	var wrong apierr.Violations
	got := &pb.TargetGroup{}
	merge(got, &pb.TargetGroup{}, &fieldmaskpb.FieldMask{Paths: []string{"health_check.port"}}, &wrong)
	if got.HealthCheck != nil || wrong.Len() != 0 {
		t.Errorf("merged to %v, %v", got, wrong.Err())
	}
}

// FuzzMerge holds that no path panics or reaches what users do not set.
func FuzzMerge(f *testing.F) {
	for _, path := range []string{"*", "health_check.port", "name", "state", "..", "health_check.", "target_count.x"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		var wrong apierr.Violations
		to := &pb.TargetGroup{Name: "n", State: pb.TargetGroup_AVAILABLE, TargetCount: 1, Etag: "1"}
		in := &pb.TargetGroup{Name: "m", State: pb.TargetGroup_FAILED, TargetCount: 2, Etag: "2", Port: 3}
		merge(to, in, &fieldmaskpb.FieldMask{Paths: []string{path}}, &wrong)
		if to.Name != "n" || to.State != pb.TargetGroup_AVAILABLE || to.TargetCount != 1 || to.Etag != "1" {
			t.Errorf("path %q changed what is fixed: %v", path, to)
		}
	})
}
