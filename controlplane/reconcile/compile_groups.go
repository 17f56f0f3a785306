package reconcile

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"causeway/gateway/spec"
	pb "causeway/proto/causeway/v1"
)

var checkProtocols = map[pb.HealthCheck_Protocol]spec.Protocol{
	pb.HealthCheck_PROTOCOL_UNSPECIFIED: spec.TCP,
	pb.HealthCheck_TCP:                  spec.TCP,
	pb.HealthCheck_HTTP:                 spec.HTTP,
	pb.HealthCheck_HTTPS:                spec.HTTPS,
}

// What groups written before these fields existed mean, and what NLB's groups mean.
const (
	defaultDeregistrationDelay = 300 * time.Second
	defaultPath                = "/"
	defaultMatcher             = "200-399"
)

// checkRequest adds to a check what HTTP and HTTPS probes request and expect, and validates it whole.
func checkRequest(check *spec.HealthCheck, m *pb.HealthCheck) error {
	if check.Protocol != spec.HTTP && check.Protocol != spec.HTTPS {
		return check.Validate()
	}
	check.Path = cmp.Or(m.GetPath(), defaultPath)
	for text := range strings.SplitSeq(cmp.Or(m.GetMatcher(), defaultMatcher), ",") {
		codes, err := codeRange(text)
		if err != nil {
			return fmt.Errorf("matcher %q: %w", m.GetMatcher(), err)
		}
		check.Codes = append(check.Codes, codes)
	}
	return check.Validate()
}

func codeRange(text string) (spec.CodeRange, error) {
	low, high, isRange := strings.Cut(text, "-")
	if !isRange {
		high = low
	}
	first, err := strconv.Atoi(low)
	if err != nil {
		return spec.CodeRange{}, err
	}
	last, err := strconv.Atoi(high)
	return spec.CodeRange{First: first, Last: last}, err
}

// attributes adds to a group what its message says beside targets and health check.
func attributes(group *spec.TargetGroup, m *pb.TargetGroup) error {
	group.FailOpen = m.FailOpen == nil || m.GetFailOpen()
	group.CrossZone = m.GetCrossZone()
	group.Sticky = m.GetStickiness() == pb.TargetGroup_SOURCE_IP
	group.SlowStart = durationOr(m.GetSlowStart(), 0)
	group.DeregistrationDelay = durationOr(m.GetDeregistrationDelay(), defaultDeregistrationDelay)
	group.DeregistrationReset = m.GetConnectionTermination()
	group.UnhealthyReset = m.UnhealthyConnectionTermination == nil || m.GetUnhealthyConnectionTermination()
	group.ProxyProtocol = m.GetProxyProtocolV2()
	group.ProxyProtocolChecks = m.GetProxyProtocolV2HealthChecks()
	return group.Validate()
}
