package api

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	pb "causeway/proto/causeway/v1"
)

func TestListenerDefaults(t *testing.T) {
	s := newShop(t)
	_, err := s.loadBalancer("orders", "vpcs/partner/subnets/a")
	must(t, err)
	group := s.targetGroup("orders", "vpcs/partner")
	listener, err := s.listener("loadBalancers/orders", 443, group.GetUid())
	must(t, err)
	want := &pb.Listener{
		Name: s.full("loadBalancers/orders/listeners/tcp-443"), Uid: listener.GetUid(), Port: 443, Protocol: pb.Listener_TCP,
		TargetGroup: group.GetName(), IdleTimeout: durationpb.New(350 * time.Second), State: pb.Listener_PENDING,
		Etag: listener.GetEtag(), CreateTime: listener.GetCreateTime(), UpdateTime: listener.GetUpdateTime(),
	}
	if !proto.Equal(listener, want) {
		t.Errorf("created %v, want %v", listener, want)
	}
}

func TestCreateListenerRules(t *testing.T) {
	s := newShop(t)
	_, err := s.loadBalancer("orders", "vpcs/partner/subnets/a")
	must(t, err)
	s.targetGroup("orders", "vpcs/partner")
	s.targetGroup("other", "vpcs/prod")
	_, err = s.listener("loadBalancers/orders", 443, "targetGroups/orders")
	must(t, err)
	sound := func() *pb.Listener {
		return &pb.Listener{Port: 80, Protocol: pb.Listener_TCP, TargetGroup: "targetGroups/orders"}
	}
	tests := []struct {
		name   string
		change func(*pb.Listener)
		code   codes.Code
		reason string
		texts  []string
	}{
		{"bad port taken", func(l *pb.Listener) { l.Port = 443 }, codes.AlreadyExists, "PORT_IN_USE", nil},
		{"bad port zero", func(l *pb.Listener) { l.Port = 0 }, codes.InvalidArgument, "INVALID_FIELD", []string{"listener.port"}},
		{"bad port", func(l *pb.Listener) { l.Port = 65536 }, codes.InvalidArgument, "INVALID_FIELD", []string{"listener.port"}},
		{"bad protocol", func(l *pb.Listener) { l.Protocol = 0 }, codes.InvalidArgument, "INVALID_FIELD", []string{"listener.protocol"}},
		{"bad idle", func(l *pb.Listener) { l.IdleTimeout = durationpb.New(59 * time.Second) }, codes.InvalidArgument, "INVALID_FIELD", []string{"listener.idle_timeout"}},
		{"bad idle", func(l *pb.Listener) { l.IdleTimeout = durationpb.New(6001 * time.Second) }, codes.InvalidArgument, "INVALID_FIELD", []string{"listener.idle_timeout"}},
		{"bad group absent", func(l *pb.Listener) { l.TargetGroup = "targetGroups/none" }, codes.NotFound, "TARGET_GROUP_NOT_FOUND", nil},
		{"bad group of another VPC", func(l *pb.Listener) { l.TargetGroup = "targetGroups/other" }, codes.InvalidArgument, "INVALID_FIELD", []string{"listener.target_group", "vpcs/prod", "vpcs/partner"}},
		{"OK shortest", func(l *pb.Listener) { l.IdleTimeout = durationpb.New(time.Minute); l.Port = 1 }, codes.OK, "", nil},
		{"OK longest", func(l *pb.Listener) { l.IdleTimeout = durationpb.New(6000 * time.Second); l.Port = 65535 }, codes.OK, "", nil},
	}
	for n, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			listener := sound()
			tt.change(listener)
			_, err := s.lbs.CreateListener(s.ctx, &pb.CreateListenerRequest{Parent: "loadBalancers/orders", ListenerId: fmt.Sprintf("l%d", n), Listener: listener})
			if tt.code == codes.OK {
				must(t, err)
				return
			}
			wantError(t, err, tt.code, tt.reason, tt.texts...)
		})
	}
}

func TestUpdateListener(t *testing.T) {
	s := newShop(t)
	_, err := s.loadBalancer("orders", "vpcs/partner/subnets/a")
	must(t, err)
	s.targetGroup("orders", "vpcs/partner")
	s.targetGroup("blue", "vpcs/partner")
	s.targetGroup("other", "vpcs/prod")
	listener, err := s.listener("loadBalancers/orders", 443, "targetGroups/orders")
	must(t, err)
	change := func(l *pb.Listener, paths ...string) (*pb.Listener, error) {
		l.Name = listener.GetName()
		return s.lbs.UpdateListener(s.ctx, &pb.UpdateListenerRequest{Listener: l, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
	}
	after, err := change(&pb.Listener{TargetGroup: "targetGroups/blue", IdleTimeout: durationpb.New(time.Minute)})
	must(t, err)
	if after.GetTargetGroup() != s.full("targetGroups/blue") || after.GetIdleTimeout().AsDuration() != time.Minute {
		t.Errorf("after the change: %v", after)
	}
	if after, err = change(&pb.Listener{}, "idle_timeout"); err != nil || after.GetIdleTimeout().AsDuration() != 350*time.Second {
		t.Errorf("cleared idle_timeout gives %v, want the default (%v)", after.GetIdleTimeout().AsDuration(), err)
	}
	_, err = change(&pb.Listener{Port: 80})
	wantField(t, err, "listener.port")
	_, err = change(&pb.Listener{TargetGroup: "targetGroups/other"})
	wantField(t, err, "listener.target_group")
	_, err = s.lbs.DeleteTargetGroup(s.ctx, &pb.DeleteTargetGroupRequest{Name: "targetGroups/blue"})
	wantError(t, err, codes.FailedPrecondition, "HAS_CHILDREN", "listeners/tcp-443")
	_, err = s.lbs.DeleteTargetGroup(s.ctx, &pb.DeleteTargetGroupRequest{Name: "targetGroups/orders"})
	must(t, err)
	_, err = change(&pb.Listener{TargetGroup: "targetGroups/orders"})
	wantError(t, err, codes.FailedPrecondition, "BEING_DELETED", "targetGroups/orders")
}

func TestOneOfTwoListenersGetsThePort(t *testing.T) {
	s := newShop(t)
	_, err := s.loadBalancer("orders", "vpcs/partner/subnets/a")
	must(t, err)
	s.targetGroup("orders", "vpcs/partner")
	const callers = 10
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for n := range callers {
		wg.Go(func() {
			_, errs[n] = s.lbs.CreateListener(s.ctx, &pb.CreateListenerRequest{Parent: "loadBalancers/orders", ListenerId: fmt.Sprintf("l%d", n),
				Listener: &pb.Listener{Port: 443, Protocol: pb.Listener_TCP, TargetGroup: "targetGroups/orders"}})
		})
	}
	wg.Wait()
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
			continue
		}
		if status.Code(err) != codes.AlreadyExists {
			t.Errorf("loser got %v", err)
		}
	}
	if made != 1 {
		t.Errorf("%d listeners have port 443, want 1", made)
	}
}

func TestListenerQuota(t *testing.T) {
	s := newShop(t)
	_, err := s.loadBalancer("orders", "vpcs/partner/subnets/a")
	must(t, err)
	s.targetGroup("orders", "vpcs/partner")
	const callers = 50 + 10
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for n := range callers {
		wg.Go(func() { _, errs[n] = s.listener("loadBalancers/orders", int32(n+1), "targetGroups/orders") })
	}
	wg.Wait()
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
			continue
		}
		wantError(t, err, codes.ResourceExhausted, "QUOTA_EXCEEDED", "50 listeners per load balancer")
	}
	if made != 50 {
		t.Errorf("%d listeners, want %d", made, 50)
	}
}
