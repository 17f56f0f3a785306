package api

import (
	"cmp"
	"strings"
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
	defaultHTTPTimeout        = 6 * time.Second
	defaultPath               = "/"
	defaultMatcher            = "200-399"
	defaultHealthyThreshold   = 5
	defaultUnhealthyThreshold = 2
)

// fillHealthCheck completes a health check with the defaults. A timeout that is not given is no longer
// than the interval, so that a short interval may be given alone.
func fillHealthCheck(check *pb.HealthCheck) {
	if check.GetProtocol() == pb.HealthCheck_PROTOCOL_UNSPECIFIED {
		check.Protocol = pb.HealthCheck_TCP
	}
	if check.GetInterval() == nil {
		check.Interval = durationpb.New(defaultProbeInterval)
	}
	if check.GetTimeout() == nil {
		timeout := defaultProbeTimeout
		if check.GetProtocol() == pb.HealthCheck_HTTP {
			timeout = defaultHTTPTimeout
		}
		check.Timeout = durationpb.New(min(timeout, check.GetInterval().AsDuration()))
	}
	if check.GetProtocol() != pb.HealthCheck_TCP {
		check.Path = cmp.Or(check.GetPath(), defaultPath)
		check.Matcher = cmp.Or(check.GetMatcher(), defaultMatcher)
	}
	if check.GetHealthyThreshold() == 0 {
		check.HealthyThreshold = defaultHealthyThreshold
	}
	if check.GetUnhealthyThreshold() == 0 {
		check.UnhealthyThreshold = defaultUnhealthyThreshold
	}
}

// checkHealthCheck holds a complete health check against the rules that the schema cannot state.
func checkHealthCheck(check *pb.HealthCheck, wrong *apierr.Violations) {
	interval, timeout := check.GetInterval().AsDuration(), check.GetTimeout().AsDuration()
	if timeout > interval {
		wrong.Add("target_group.health_check.timeout", "%s is longer than the interval, %s; a probe ends before the next begins", timeout, interval)
	}
	if check.GetProtocol() == pb.HealthCheck_TCP {
		if check.GetPath() != "" {
			wrong.Add("target_group.health_check.path", "is for HTTP and HTTPS checks; leave it out for TCP")
		}
		if check.GetMatcher() != "" {
			wrong.Add("target_group.health_check.matcher", "is for HTTP and HTTPS checks; leave it out for TCP")
		}
		return
	}
	for r := range strings.SplitSeq(check.GetMatcher(), ",") {
		if first, last, isRange := strings.Cut(r, "-"); isRange && last < first {
			wrong.Add("target_group.health_check.matcher", "%s has the range %s, which ends before it begins", quote(check.GetMatcher()), r)
		}
	}
}
