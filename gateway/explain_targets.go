package gateway

import (
	"fmt"
	"net/netip"

	"causeway/gateway/endpoint"
	"causeway/gateway/spec"
)

// flowKey is that of the connection, but for its number.
func (e *explainer) flowKey() endpoint.FlowKey {
	return endpoint.FlowKey{Consumer: e.question.Source, Exposure: e.question.Destination}
}

// targets goes through the targets as a connection does: it tries them until one is reached or none is left, and then the last
// one tells why.
func (e *explainer) targets(r *route) bool {
	group := r.group
	choice := spec.Check{
		Name: "target", Verdict: spec.Deny, Reason: endpoint.ReasonRefusedNoTarget.String(), Object: group.Name(),
		Detail: fmt.Sprintf("no target can be picked; %d of %d are healthy", group.Healthy(), len(group.Status())),
	}
	last := []spec.Check{choice}
	for tried := []netip.AddrPort(nil); ; {
		target, ok := r.pick(e.flowKey(), tried)
		if !ok {
			break
		}
		tried = append(tried, target)
		choice.Verdict, choice.Reason = spec.Pass, ""
		choice.Detail = fmt.Sprintf("%v is picked; %d of %d targets are healthy", target, group.Healthy(), len(group.Status()))
		last = append([]spec.Check{choice}, e.way(r, target)...)
		if last[len(last)-1].Verdict != spec.Deny {
			break
		}
	}
	more := true
	for _, c := range last {
		more = e.add(c)
	}
	return more
}

// way tells what a connection to a target would meet before it is dialled.
func (e *explainer) way(r *route, target netip.AddrPort) []spec.Check {
	group := r.group.Name()
	guard := spec.Check{Name: "target_guard", Verdict: spec.Pass, Object: group, Detail: fmt.Sprintf("%v may be dialled", target.Addr())}
	if err := r.check(target.Addr()); err != nil {
		guard.Verdict, guard.Reason, guard.Detail = spec.Deny, endpoint.ReasonRefusedTargetGuard.String(), err.Error()
		return []spec.Check{guard}
	}
	path := spec.Check{Name: "target_path", Verdict: spec.Pass, Object: group, Detail: "over the gateway's own network"}
	if !r.inside(target.Addr()) {
		return []spec.Check{guard, path}
	}
	err := r.reachable(target)
	switch {
	case err != nil:
		path.Verdict, path.Reason, path.Detail = spec.Deny, endpoint.ReasonRefusedTargetsFailed.String(), err.Error()
		return []spec.Check{guard, path}
	case r.dialer().Exhausted(target):
		path.Verdict, path.Reason, path.Detail = spec.Deny, endpoint.ReasonRefusedPortsExhausted.String(), endpoint.ErrPortsExhausted.Error()
		return []spec.Check{guard, path}
	}
	peer, _ := r.provider.PeerOf(target.Addr())
	path.Detail = "inside the provider's VPC, held by " + peer.Name
	list := append([]spec.Check{guard, path}, r.provider.ExplainTarget(r.sources[0], target)...)
	for i := range list {
		if list[i].Object == "" {
			list[i].Object = group // all of it is the provider's to know
		}
	}
	return list
}
