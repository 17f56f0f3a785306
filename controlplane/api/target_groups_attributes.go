package api

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"causeway/controlplane/apierr"
	pb "causeway/proto/causeway/v1"
)

// Attributes of Network Load Balancers' target groups:
// https://docs.aws.amazon.com/elasticloadbalancing/latest/network/edit-target-group-attributes.html
const (
	defaultDeregistrationDelay = 300 * time.Second
	slowStartLeast             = 30 * time.Second
)

// completeTargetGroup fills in what was not given of a group and checks what may change of it.
func completeTargetGroup(group *pb.TargetGroup, wrong *apierr.Violations) {
	fillAttributes(group)
	if group.GetHealthCheck() == nil {
		group.HealthCheck = &pb.HealthCheck{}
	}
	fillHealthCheck(group.GetHealthCheck())
	checkHealthCheck(group.GetHealthCheck(), wrong)
	checkAttributes(group, wrong)
}

// fillAttributes completes the attributes with NLB's defaults.
func fillAttributes(group *pb.TargetGroup) {
	for _, attribute := range []struct {
		field **bool
		unset bool
	}{
		{&group.FailOpen, true},
		{&group.CrossZone, false},
		{&group.ConnectionTermination, false},
		{&group.UnhealthyConnectionTermination, true},
		{&group.ProxyProtocolV2, false},
		{&group.ProxyProtocolV2HealthChecks, false},
	} {
		if *attribute.field == nil {
			*attribute.field = new(attribute.unset)
		}
	}
	if group.GetStickiness() == pb.TargetGroup_STICKINESS_UNSPECIFIED {
		group.Stickiness = pb.TargetGroup_NONE
	}
	if group.GetSlowStart() == nil {
		group.SlowStart = durationpb.New(0)
	}
	if group.GetDeregistrationDelay() == nil {
		group.DeregistrationDelay = durationpb.New(defaultDeregistrationDelay)
	}
}

// checkAttributes holds complete attributes against the rules that the schema cannot state.
func checkAttributes(group *pb.TargetGroup, wrong *apierr.Violations) {
	if slow := group.GetSlowStart().AsDuration(); slow != 0 && slow < slowStartLeast {
		wrong.Add("target_group.slow_start", "%s is neither 0s nor 30s to 900s", slow)
	}
	if group.GetProxyProtocolV2HealthChecks() && !group.GetProxyProtocolV2() {
		wrong.Add("target_group.proxy_protocol_v2_health_checks", "needs proxy_protocol_v2: targets would see the header in health checks alone")
	}
}
