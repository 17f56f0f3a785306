package api

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"causeway/controlplane/apierr"
	pb "causeway/proto/causeway/v1"
)

// Defaults of Network Load Balancers:
// https://docs.aws.amazon.com/elasticloadbalancing/latest/network/target-group-health-checks.html
const (
	defaultProbeInterval      = 30 * time.Second
	defaultProbeTimeout       = 10 * time.Second
	defaultHealthyThreshold   = 5
	defaultUnhealthyThreshold = 2
)

// fillTargetGroup completes a group with the defaults. A timeout that is not given is no longer than
// the interval, so that a short interval may be given alone.
func fillTargetGroup(group *pb.TargetGroup) {
	if group.FailOpen == nil {
		group.FailOpen = new(true)
	}
	if group.GetHealthCheck() == nil {
		group.HealthCheck = &pb.HealthCheck{}
	}
	check := group.GetHealthCheck()
	if check.GetProtocol() == pb.HealthCheck_PROTOCOL_UNSPECIFIED {
		check.Protocol = pb.HealthCheck_TCP
	}
	if check.GetInterval() == nil {
		check.Interval = durationpb.New(defaultProbeInterval)
	}
	if check.GetTimeout() == nil {
		check.Timeout = durationpb.New(min(defaultProbeTimeout, check.GetInterval().AsDuration()))
	}
	if check.GetHealthyThreshold() == 0 {
		check.HealthyThreshold = defaultHealthyThreshold
	}
	if check.GetUnhealthyThreshold() == 0 {
		check.UnhealthyThreshold = defaultUnhealthyThreshold
	}
}

// checkHealthCheck holds a complete health check against the rule that the schema cannot state.
func checkHealthCheck(check *pb.HealthCheck, wrong *apierr.Violations) {
	interval, timeout := check.GetInterval().AsDuration(), check.GetTimeout().AsDuration()
	if timeout > interval {
		wrong.Add("target_group.health_check.timeout", "%s is longer than the interval, %s; a probe ends before the next begins", timeout, interval)
	}
}
