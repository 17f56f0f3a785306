package api

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

func seconds(n int) *durationpb.Duration { return durationpb.New(time.Duration(n) * time.Second) }

func TestTargetGroupDefaults(t *testing.T) {
	s := newShop(t)
	group := s.targetGroup("orders", "vpcs/partner")
	want := &pb.TargetGroup{
		Name: s.full("targetGroups/orders"), Uid: group.GetUid(), Vpc: s.full("vpcs/partner"), Port: 8080,
		HealthCheck: &pb.HealthCheck{
			Protocol: pb.HealthCheck_TCP, Interval: seconds(30), Timeout: seconds(10), HealthyThreshold: 5, UnhealthyThreshold: 2,
		},
		FailOpen: new(true), CrossZone: new(false), Stickiness: pb.TargetGroup_NONE,
		SlowStart: seconds(0), DeregistrationDelay: seconds(300), ConnectionTermination: new(false), UnhealthyConnectionTermination: new(true),
		ProxyProtocolV2: new(false), ProxyProtocolV2HealthChecks: new(false), State: pb.TargetGroup_PENDING,
		Etag: group.GetEtag(), CreateTime: group.GetCreateTime(), UpdateTime: group.GetUpdateTime(),
	}
	if !proto.Equal(group, want) {
		t.Errorf("created %v, want %v", group, want)
	}
	after, err := s.lbs.UpdateTargetGroup(s.ctx, &pb.UpdateTargetGroupRequest{TargetGroup: &pb.TargetGroup{
		Name: group.GetUid(), FailOpen: new(false), HealthCheck: &pb.HealthCheck{UnhealthyThreshold: 3},
	}})
	must(t, err)
	want.FailOpen, want.HealthCheck.UnhealthyThreshold = new(false), 3
	want.Etag, want.UpdateTime = after.GetEtag(), after.GetUpdateTime()
	if !proto.Equal(after, want) {
		t.Errorf("updated %v, want %v", after, want)
	}
}

func TestHealthCheckRules(t *testing.T) {
	s := newShop(t)
	tests := []struct {
		name    string
		check   *pb.HealthCheck
		timeout time.Duration
		field   string
	}{
		{"OK short interval alone", &pb.HealthCheck{Interval: seconds(5)}, 5 * time.Second, ""},
		{"OK equal", &pb.HealthCheck{Interval: seconds(20), Timeout: seconds(20)}, 20 * time.Second, ""},
		{"OK HTTP", &pb.HealthCheck{Protocol: pb.HealthCheck_HTTP}, 6 * time.Second, ""},
		{"OK HTTPS", &pb.HealthCheck{Protocol: pb.HealthCheck_HTTPS, Path: "/health?full=1", Matcher: "200,204-299,401"}, 10 * time.Second, ""},
		{"bad protocol", &pb.HealthCheck{Protocol: 9}, 0, "target_group.health_check.protocol"},
		{"bad path of TCP", &pb.HealthCheck{Path: "/"}, 0, "target_group.health_check.path"},
		{"bad matcher of TCP", &pb.HealthCheck{Matcher: "200"}, 0, "target_group.health_check.matcher"},
		{"bad path", &pb.HealthCheck{Protocol: pb.HealthCheck_HTTP, Path: "health"}, 0, "target_group.health_check.path"},
		{"bad URL for path", &pb.HealthCheck{Protocol: pb.HealthCheck_HTTP, Path: "http://10.0.0.1/"}, 0, "target_group.health_check.path"},
		{"bad user for path", &pb.HealthCheck{Protocol: pb.HealthCheck_HTTP, Path: "@10.0.0.1/"}, 0, "target_group.health_check.path"},
		{"bad path with header", &pb.HealthCheck{Protocol: pb.HealthCheck_HTTP, Path: "/ HTTP/1.1\r\nHost: x"}, 0, "target_group.health_check.path"},
		{"bad path length", &pb.HealthCheck{Protocol: pb.HealthCheck_HTTP, Path: "/" + strings.Repeat("a", 1024)}, 0, "target_group.health_check.path"},
		{"bad matcher", &pb.HealthCheck{Protocol: pb.HealthCheck_HTTP, Matcher: "199"}, 0, "target_group.health_check.matcher"},
		{"bad matcher", &pb.HealthCheck{Protocol: pb.HealthCheck_HTTP, Matcher: "200-600"}, 0, "target_group.health_check.matcher"},
		{"bad matcher", &pb.HealthCheck{Protocol: pb.HealthCheck_HTTP, Matcher: "2xx"}, 0, "target_group.health_check.matcher"},
		{"bad range", &pb.HealthCheck{Protocol: pb.HealthCheck_HTTP, Matcher: "200,399-300"}, 0, "target_group.health_check.matcher"},
		{"OK port", &pb.HealthCheck{Port: 9090}, 10 * time.Second, ""},
		{"bad timeout over interval", &pb.HealthCheck{Interval: seconds(20), Timeout: seconds(21)}, 0, "target_group.health_check.timeout"},
		{"bad timeout over default interval", &pb.HealthCheck{Timeout: seconds(31)}, 0, "target_group.health_check.timeout"},
		{"bad interval", &pb.HealthCheck{Interval: seconds(4)}, 0, "target_group.health_check.interval"},
		{"bad interval", &pb.HealthCheck{Interval: seconds(301)}, 0, "target_group.health_check.interval"},
		{"bad interval of nothing", &pb.HealthCheck{Interval: seconds(0)}, 0, "target_group.health_check.interval"},
		{"bad interval of 1 ms", &pb.HealthCheck{Interval: durationpb.New(time.Millisecond)}, 0, "target_group.health_check.interval"},
		{"bad interval of a year", &pb.HealthCheck{Interval: seconds(365 * 24 * 3600)}, 0, "target_group.health_check.interval"},
		{"bad huge threshold", &pb.HealthCheck{HealthyThreshold: 1_000_000}, 0, "target_group.health_check.healthy_threshold"},
		{"bad negative threshold", &pb.HealthCheck{UnhealthyThreshold: -1}, 0, "target_group.health_check.unhealthy_threshold"},
		{"bad timeout", &pb.HealthCheck{Timeout: seconds(1)}, 0, "target_group.health_check.timeout"},
		{"bad threshold", &pb.HealthCheck{HealthyThreshold: 11}, 0, "target_group.health_check.healthy_threshold"},
		{"bad threshold", &pb.HealthCheck{UnhealthyThreshold: 1}, 0, "target_group.health_check.unhealthy_threshold"},
		{"bad port", &pb.HealthCheck{Port: 65536}, 0, "target_group.health_check.port"},
	}
	for n, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			group, err := s.lbs.CreateTargetGroup(s.ctx, &pb.CreateTargetGroupRequest{
				TargetGroupId: fmt.Sprintf("g%d", n), TargetGroup: &pb.TargetGroup{Vpc: "vpcs/partner", Port: 80, HealthCheck: tt.check},
			})
			if tt.field != "" {
				wantField(t, err, tt.field)
				return
			}
			must(t, err)
			if got := group.GetHealthCheck().GetTimeout().AsDuration(); got != tt.timeout {
				t.Errorf("timeout %v, want %v", got, tt.timeout)
			}
		})
	}
}

func (s *shop) register(group string, targets ...*pb.Target) ([]*pb.Target, error) {
	resp, err := s.lbs.RegisterTargets(s.ctx, &pb.RegisterTargetsRequest{Name: group, Targets: targets})
	return resp.GetTargets(), err
}

func (s *shop) deregister(group string, targets ...*pb.Target) ([]*pb.Target, error) {
	resp, err := s.lbs.DeregisterTargets(s.ctx, &pb.DeregisterTargetsRequest{Name: group, Targets: targets})
	return resp.GetTargets(), err
}

func at(address string, port int32) *pb.Target { return &pb.Target{IpAddress: address, Port: port} }

func weighing(weight int32, target *pb.Target) *pb.Target {
	target.Weight = new(weight)
	return target
}

func (s *shop) wantTargets(got []*pb.Target, want ...*pb.Target) {
	s.t.Helper()
	for _, target := range want {
		if target.Weight == nil {
			target.Weight = new(int32(1))
		}
	}
	if !proto.Equal(&pb.RegisterTargetsRequest{Targets: got}, &pb.RegisterTargetsRequest{Targets: want}) {
		s.t.Errorf("targets %v, want %v", got, want)
	}
	group, err := s.lbs.GetTargetGroup(s.ctx, &pb.GetTargetGroupRequest{Name: "targetGroups/orders"})
	must(s.t, err)
	if int(group.GetTargetCount()) != len(want) {
		s.t.Errorf("target_count %d, want %d", group.GetTargetCount(), len(want))
	}
}

func TestRegisterAndDeregister(t *testing.T) {
	s := newShop(t)
	s.targetGroup("orders", "vpcs/partner")
	got, err := s.register("targetGroups/orders", at("192.168.7.10", 0), at("10.1.1.9", 9000))
	must(t, err)
	s.wantTargets(got, at("10.1.1.9", 9000), at("192.168.7.10", 8080))
	got, err = s.register("targetGroups/orders", at("192.168.7.10", 8080), at("192.168.7.9", 0))
	must(t, err)
	s.wantTargets(got, at("10.1.1.9", 9000), at("192.168.7.9", 8080), at("192.168.7.10", 8080))
	_, err = s.deregister("targetGroups/orders", at("192.168.7.10", 0), at("192.168.7.11", 0))
	wantError(t, err, codes.NotFound, "TARGET_NOT_FOUND", "192.168.7.11:8080")
	got, err = s.deregister("targetGroups/orders", at("192.168.7.10", 0), at("10.1.1.9", 9000))
	must(t, err)
	s.wantTargets(got, at("192.168.7.9", 8080))
	got, err = s.deregister("targetGroups/orders", at("192.168.7.9", 0))
	must(t, err)
	s.wantTargets(got)
}

func TestWeights(t *testing.T) {
	s := newShop(t)
	s.targetGroup("orders", "vpcs/partner")
	got, err := s.register("targetGroups/orders", weighing(0, at("192.168.7.10", 0)), weighing(999, at("192.168.7.11", 0)))
	must(t, err)
	s.wantTargets(got, weighing(0, at("192.168.7.10", 8080)), weighing(999, at("192.168.7.11", 8080)))
	got, err = s.register("targetGroups/orders", at("192.168.7.10", 0), weighing(5, at("192.168.7.11", 0)))
	must(t, err)
	s.wantTargets(got, weighing(0, at("192.168.7.10", 8080)), weighing(5, at("192.168.7.11", 8080)))
	for _, weight := range []int32{-1, 1000, math.MaxInt32} {
		_, err = s.register("targetGroups/orders", weighing(weight, at("192.168.7.10", 0)))
		wantField(t, err, "targets[0].weight")
	}
}

func TestAttributeRules(t *testing.T) {
	s := newShop(t)
	s.targetGroup("orders", "vpcs/partner")
	for _, tt := range []struct {
		name  string
		group *pb.TargetGroup
		field string
	}{
		{"OK slow start", &pb.TargetGroup{SlowStart: seconds(30)}, ""},
		{"OK no slow start", &pb.TargetGroup{SlowStart: seconds(0)}, ""},
		{"bad slow start", &pb.TargetGroup{SlowStart: seconds(29)}, "target_group.slow_start"},
		{"bad slow start", &pb.TargetGroup{SlowStart: seconds(901)}, "target_group.slow_start"},
		{"OK delay", &pb.TargetGroup{DeregistrationDelay: seconds(0)}, ""},
		{"OK delay", &pb.TargetGroup{DeregistrationDelay: seconds(3600)}, ""},
		{"bad delay", &pb.TargetGroup{DeregistrationDelay: seconds(3601)}, "target_group.deregistration_delay"},
		{"bad delay", &pb.TargetGroup{DeregistrationDelay: seconds(-1)}, "target_group.deregistration_delay"},
		{"OK sticky", &pb.TargetGroup{Stickiness: pb.TargetGroup_SOURCE_IP}, ""},
		{"bad stickiness", &pb.TargetGroup{Stickiness: 3}, "target_group.stickiness"},
		{"bad header in checks alone", &pb.TargetGroup{ProxyProtocolV2HealthChecks: new(true)}, "target_group.proxy_protocol_v2_health_checks"},
		{"OK header in checks", &pb.TargetGroup{ProxyProtocolV2: new(true), ProxyProtocolV2HealthChecks: new(true)}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.group.Name = "targetGroups/orders"
			after, err := s.lbs.UpdateTargetGroup(s.ctx, &pb.UpdateTargetGroupRequest{TargetGroup: tt.group})
			if tt.field != "" {
				wantField(t, err, tt.field)
				return
			}
			must(t, err)
			kept, err := s.lbs.GetTargetGroup(s.ctx, &pb.GetTargetGroupRequest{Name: tt.group.GetName()})
			must(t, err)
			if !proto.Equal(after, kept) {
				t.Errorf("answered %v, kept %v", after, kept)
			}
		})
	}
}

func TestRegisterTargetsRules(t *testing.T) {
	s := newShop(t)
	s.targetGroup("orders", "vpcs/partner")
	_, err := s.register("targetGroups/orders", at("10.1.1.9", 0), at("127.0.0.1", 0), at("::ffff:10.0.0.1", 0), at("localhost", 0), at("10.1.1.9", 8080))
	wantField(t, err, "targets[1].ip_address", "targets[2].ip_address", "targets[3].ip_address", "targets[4]")
	_, err = s.register("targetGroups/orders", at("10.1.1.9", 65536))
	wantField(t, err, "targets[0].port")
	_, err = s.register("targetGroups/orders")
	wantField(t, err, "targets")
	_, err = s.register("targetGroups/none", at("10.1.1.9", 0))
	wantError(t, err, codes.NotFound, "TARGET_GROUP_NOT_FOUND")
	if targets, err := s.lbs.ListTargetHealth(s.ctx, &pb.ListTargetHealthRequest{Name: "targetGroups/orders"}); err != nil || len(targets.GetTargetHealth()) != 0 {
		t.Errorf("after refusals only: %v, %v", targets, err)
	}
}

func TestTargetQuota(t *testing.T) {
	s := newShop(t)
	s.targetGroup("orders", "vpcs/partner")
	var many []*pb.Target
	for n := range 1000 {
		many = append(many, at(fmt.Sprintf("10.77.%d.%d", n/250, 1+n%250), 0))
	}
	_, err := s.register("targetGroups/orders", many...)
	must(t, err)
	_, err = s.register("targetGroups/orders", many[:500]...)
	must(t, err)
	_, err = s.register("targetGroups/orders", at("10.78.0.1", 0))
	wantError(t, err, codes.ResourceExhausted, "QUOTA_EXCEEDED", "1000 targets per target group")
}

func TestConcurrentRegistrationsAllCount(t *testing.T) {
	s := newShop(t)
	s.targetGroup("orders", "vpcs/partner")
	const callers = 20
	var wg sync.WaitGroup
	for n := range callers {
		wg.Go(func() {
			if _, err := s.register("targetGroups/orders", at(fmt.Sprintf("10.77.0.%d", n+1), 0)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	group, err := s.lbs.GetTargetGroup(s.ctx, &pb.GetTargetGroupRequest{Name: "targetGroups/orders"})
	must(t, err)
	if group.GetTargetCount() != callers {
		t.Errorf("%d targets, want %d", group.GetTargetCount(), callers)
	}
}

func TestDeletedTargetGroupHasNoTargets(t *testing.T) {
	s := newShop(t)
	group := s.targetGroup("orders", "vpcs/partner")
	_, err := s.register("targetGroups/orders", at("10.1.1.9", 0))
	must(t, err)
	_, err = s.lbs.DeleteTargetGroup(s.ctx, &pb.DeleteTargetGroupRequest{Name: group.GetUid()})
	must(t, err)
	_, err = s.register("targetGroups/orders", at("10.1.1.9", 0))
	wantError(t, err, codes.FailedPrecondition, "BEING_DELETED")
	if kept, err := resource.Targets.Get(t.Context(), sharedStore, group.GetName()); err == nil {
		t.Errorf("targets kept: %v", kept.Value)
	}
}

// prober knows the health of a registered target, of one that was never there and of one that drains.
type prober struct{ *lab }

func (p prober) TargetHealth(context.Context, string) []*pb.TargetHealth {
	return []*pb.TargetHealth{
		{Target: at("10.1.1.9", 8080), State: pb.TargetHealth_UNHEALTHY, Reason: "Target.FailedHealthChecks", Description: "connection refused"},
		{Target: at("10.1.1.8", 8080), State: pb.TargetHealth_HEALTHY},
		{Target: at("10.1.1.95", 8080), State: pb.TargetHealth_DRAINING, Reason: "Target.DeregistrationInProgress"},
	}
}

func TestListTargetHealth(t *testing.T) {
	s := newShop(t)
	s.api.kernel.observer = prober{s.lab}
	s.targetGroup("orders", "vpcs/partner")
	_, err := s.register("targetGroups/orders", at("10.1.1.10", 0), at("10.1.1.9", 0))
	must(t, err)
	health := func() []*pb.TargetHealth {
		t.Helper()
		resp, err := s.lbs.ListTargetHealth(s.ctx, &pb.ListTargetHealthRequest{Name: "targetGroups/orders"})
		must(t, err)
		return resp.GetTargetHealth()
	}
	for _, h := range health() {
		if h.GetState() != pb.TargetHealth_UNUSED || h.GetReason() != "Target.NotInUse" {
			t.Errorf("without a listener: %v", h)
		}
	}
	_, err = s.loadBalancer("orders", "vpcs/partner/subnets/a")
	must(t, err)
	_, err = s.listener("loadBalancers/orders", 443, "targetGroups/orders")
	must(t, err)
	got := health()
	if len(got) != 3 || got[2].GetState() != pb.TargetHealth_DRAINING || got[2].GetTarget().GetIpAddress() != "10.1.1.95" {
		t.Fatalf("with a target that drains: %v", got)
	}
	if got[0].GetState() != pb.TargetHealth_UNHEALTHY || got[0].GetTarget().GetIpAddress() != "10.1.1.9" ||
		got[0].GetReason() != "Target.FailedHealthChecks" || got[1].GetState() != pb.TargetHealth_INITIAL {
		t.Errorf("with a listener: %v", got)
	}
}
